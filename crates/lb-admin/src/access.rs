//! Who may come in, and with what.
//!
//! Every request passes here, in this order: the browser's rules, the token, the role, the size and time of its body. A request that may
//! change something then runs to its end, whether or not its sender waits for it, and leaves its [line](audit).
//!
//! **Without a token** the server is on loopback, where every program of the machine may talk to it. A page from elsewhere that a browser
//! shows must not, though browsers let it send requests to loopback: so the request's `Host` must be loopback by name or number (a foreign
//! name that leads here is somebody's trick), and a request that changes something must come from a page of this server, if from any.
//!
//! **With tokens** everything but what is public asks for one, in `Authorization: Bearer`. Which one it is is found in constant time.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::header::{
    ALLOW, AUTHORIZATION, CACHE_CONTROL, CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, HOST, ORIGIN, RETRY_AFTER, WWW_AUTHENTICATE,
};
use http::uri::Authority;
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use http_body_util::{BodyExt, LengthLimitError, Limited};

use crate::app::{App, Shared};
use crate::audit;
use crate::dashboard;
use crate::problem::{PROBLEM, Problem};
use crate::token::{self, Role};

/// Paths that need no token, beside the files of the [dashboard]: whether the server lives.
const PUBLIC: &[&str] = &["/health"];

/// Below this path bodies are questions.
const EXPLAIN: &str = "/api/v1/loadbalancer/explain/";

/// Who sent a request; in its extensions.
#[derive(Debug, Clone)]
pub(crate) struct Caller {
    /// The name of the token, if one is asked for.
    pub(crate) name: Option<Arc<str>>,
    /// What it may do, unless the server is read-only.
    pub(crate) role: Role,
    /// Where it comes from.
    pub(crate) peer: Option<SocketAddr>,
}

/// The door; see the module's essay.
pub(crate) async fn guard(State(app): State<Shared>, mut request: Request, next: Next) -> Response {
    let head = *request.method() == Method::HEAD;
    let caller = match identify(&app, &request) {
        Ok(caller) => caller,
        Err(refused) => return finish(refused.into_response(), head),
    };
    request.extensions_mut().insert(caller.clone());
    let response = if changes(&request) { change(&app, caller, request, next).await } else { look(&app, request, next).await };
    finish(response, head)
}

async fn look(app: &App, request: Request, next: Next) -> Response {
    match take_body(app, request).await {
        Ok(request) => next.run(request).await,
        Err(refused) => refused.into_response(),
    }
}

/// In a task of its own: a sender that goes away must not leave half a change, nor one that nobody has written down.
async fn change(app: &Shared, caller: Caller, request: Request, next: Next) -> Response {
    let Ok(place) = Arc::clone(&app.changing).try_acquire_owned() else {
        let problem = Problem::new(StatusCode::TOO_MANY_REQUESTS, "too many changes are being made");
        return problem.with(RETRY_AFTER, HeaderValue::from_static("1")).into_response();
    };
    let (app, method, path) = (Arc::clone(app), request.method().clone(), request.uri().path().to_owned());
    let task = tokio::spawn(async move {
        let response = match may_change(&app, &caller) {
            Ok(()) => look(&app, request, next).await,
            Err(refused) => refused.into_response(),
        };
        audit::line(&caller, &method, &path, &response);
        drop(place);
        response
    });
    // It panicked, or the runtime ends.
    let failed = |_| Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "the change was not completed").into_response();
    task.await.unwrap_or_else(failed)
}

fn may_change(app: &App, caller: &Caller) -> Result<(), Problem> {
    if app.read_only {
        return Err(Problem::new(StatusCode::FORBIDDEN, "this server is read-only"));
    }
    match (&caller.name, caller.role) {
        (Some(name), Role::Reader) => {
            Err(Problem::new(StatusCode::FORBIDDEN, format!("`{name}` may look but not change anything")))
        }
        _ => Ok(()),
    }
}

fn identify(app: &App, request: &Request) -> Result<Caller, Problem> {
    let peer = request.extensions().get::<SocketAddr>().copied();
    if app.tokens.is_empty() {
        from_this_machine(request).map_err(|why| Problem::new(StatusCode::FORBIDDEN, why))?;
        return Ok(Caller { name: None, role: Role::Operator, peer });
    }
    let path = request.uri().path();
    let found = bearer(request.headers()).and_then(|secret| token::find(&app.tokens, secret));
    match found {
        Some(token) => Ok(Caller { name: Some(Arc::clone(token.name())), role: token.role(), peer }),
        None if PUBLIC.contains(&path) || dashboard::is_public(path) => Ok(Caller { name: None, role: Role::Reader, peer }),
        None => {
            app.refuse_token().into_iter().for_each(|count| audit::no_token(peer, request.method(), path, count));
            Err(unauthorized(request.headers()))
        }
    }
}

/// Whether a request may change something.
fn changes(request: &Request) -> bool {
    let method = request.method();
    let looks = method == Method::GET || method == Method::HEAD || method == Method::OPTIONS;
    // A question that is too long for a path.
    let asks = method == Method::POST && request.uri().path().starts_with(EXPLAIN);
    !looks && !asks
}

fn bearer(headers: &HeaderMap) -> Option<&[u8]> {
    let value = headers.get(AUTHORIZATION)?.as_bytes();
    let (scheme, secret) = value.split_at_checked("Bearer ".len())?;
    scheme.eq_ignore_ascii_case(b"Bearer ").then(|| secret.trim_ascii())
}

fn unauthorized(headers: &HeaderMap) -> Problem {
    let (detail, challenge) = if headers.contains_key(AUTHORIZATION) {
        ("this is not a token of this server", r#"Bearer realm="evenkeel", error="invalid_token""#)
    } else {
        ("a token is needed: `Authorization: Bearer …`", r#"Bearer realm="evenkeel""#)
    };
    Problem::new(StatusCode::UNAUTHORIZED, detail).with(WWW_AUTHENTICATE, HeaderValue::from_static(challenge))
}

fn from_this_machine(request: &Request) -> Result<(), &'static str> {
    let host = request.headers().get(HOST).map(HeaderValue::as_bytes);
    // Without a name there is no trick with names.
    if !host.is_none_or(|host| authority(host).is_some_and(|host| is_loopback(&host))) {
        return Err("without a token only this machine is served, and `Host` names another");
    }
    let origin = request.headers().get(ORIGIN).map(HeaderValue::as_bytes);
    let own = |origin: &[u8]| host.is_some_and(|host| origin.strip_prefix(b"http://") == Some(host));
    if changes(request) && !origin.is_none_or(own) {
        return Err("without a token pages of other origins may not change anything");
    }
    Ok(())
}

fn authority(host: &[u8]) -> Option<Authority> {
    Authority::try_from(host).ok()
}

fn is_loopback(host: &Authority) -> bool {
    let name = host.host().trim_start_matches('[').trim_end_matches(']');
    name.eq_ignore_ascii_case("localhost") || name.parse::<IpAddr>().is_ok_and(|ip| ip.to_canonical().is_loopback())
}

/// Reads the body whole, so that no handler has to fear it.
async fn take_body(app: &App, request: Request) -> Result<Request, Problem> {
    let limits = &app.limits;
    let (head, body) = request.into_parts();
    let announced = head.headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
    if announced.is_some_and(|length| length > limits.body_bytes as u64) {
        return Err(too_large(app));
    }
    match tokio::time::timeout(limits.body, Limited::new(body, limits.body_bytes).collect()).await {
        Ok(Ok(body)) => Ok(Request::from_parts(head, Body::from(body.to_bytes()))),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(too_large(app)),
        Ok(Err(_)) => Err(last(Problem::new(StatusCode::BAD_REQUEST, "the body ended early"))),
        Err(_) => {
            let detail = format!("the body took longer than {} s", limits.body.as_secs_f64());
            Err(last(Problem::new(StatusCode::REQUEST_TIMEOUT, detail)))
        }
    }
}

fn too_large(app: &App) -> Problem {
    last(Problem::new(StatusCode::PAYLOAD_TOO_LARGE, format!("the body has more than {} bytes", app.limits.body_bytes)))
}

/// The last answer on its connection: what is left of the request is not worth reading.
fn last(problem: Problem) -> Problem {
    problem.with(CONNECTION, HeaderValue::from_static("close"))
}

/// Every error becomes a problem document, those of the router too; and nobody keeps or misreads an answer.
fn finish(response: Response, head: bool) -> Response {
    let mut response = describe(response, head);
    let headers = response.headers_mut();
    headers.entry(CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    headers.insert("x-content-type-options", HeaderValue::from_static("nosniff"));
    response
}

fn describe(response: Response, head: bool) -> Response {
    let status = response.status();
    let described = response.headers().get(CONTENT_TYPE).is_some_and(|kind| kind == PROBLEM);
    if !(status.is_client_error() || status.is_server_error()) || described || head {
        return response;
    }
    let detail = match status {
        StatusCode::NOT_FOUND => "there is nothing at this path",
        StatusCode::METHOD_NOT_ALLOWED => "this path has other methods: see `Allow`",
        StatusCode::BAD_REQUEST => "the path or the query cannot be read",
        _ => "",
    };
    let problem = Problem::new(status, detail);
    match response.headers().get(ALLOW) {
        Some(allow) => problem.with(ALLOW, allow.clone()),
        None => problem,
    }
    .into_response()
}
