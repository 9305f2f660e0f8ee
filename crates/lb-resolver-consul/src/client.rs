//! One agent and at most one connection to it.
//!
//! HTTP/1.1 by hyper, driven by the caller's own future: there is no task, no pool and no queue, so dropping the client closes the
//! socket at once, in the middle of a request too. The connection is kept between requests; if a kept one turns out to be dead the
//! request is sent again on a fresh one, once, unless it is one that waits (every request made here may be repeated). Headers are
//! bounded by hyper, bodies by the configuration, and every step by time. Redirects are not followed.

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use bytes::Bytes;
use bytes::BytesMut;
use http::HeaderMap;
use http::Method;
use http::Request;
use http::StatusCode;
use http::header;
use http_body_util::BodyExt;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::time::timeout;

use crate::agent::Agent;
use crate::failure::Failure;
use crate::setup::Setup;

/// Of what an agent says with an error, so much is for people.
const ERROR_TEXT: usize = 512;

/// What it is asked with.
const TOKEN_HEADER: &str = "x-consul-token";

type Sender = http1::SendRequest<Full<Bytes>>;
type Driver = Pin<Box<dyn Future<Output = hyper::Result<()>> + Send>>;

/// A request: method, path with query, JSON.
#[derive(Debug, Clone)]
pub(crate) struct Ask {
    pub(crate) method: Method,
    pub(crate) path: String,
    pub(crate) body: Bytes,
    /// How long the agent may hold the answer back on purpose.
    pub(crate) wait: Duration,
    /// Whether status 404 is an answer too: there is no such thing, and its headers say until when.
    pub(crate) may_be_missing: bool,
}

/// An answer with status 200, or 404 where that is one.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    pub(crate) missing: bool,
}

/// A client of one agent.
pub(crate) struct Client {
    setup: Setup,
    agent: Agent,
    connection: Option<Connection>,
}

struct Connection {
    sender: Sender,
    driver: Driver,
}

impl Ask {
    pub(crate) fn get(path: String) -> Self {
        Self { method: Method::GET, path, body: Bytes::new(), wait: Duration::ZERO, may_be_missing: false }
    }

    pub(crate) fn send(method: Method, path: String, body: impl Into<Bytes>) -> Self {
        Self { method, path, body: body.into(), wait: Duration::ZERO, may_be_missing: false }
    }
}

impl Client {
    pub(crate) fn new(setup: Setup, agent: Agent) -> Self {
        Self { setup, agent, connection: None }
    }

    pub(crate) fn agent(&self) -> &Agent {
        &self.agent
    }

    /// Closes the connection, if there is one.
    pub(crate) fn disconnect(&mut self) {
        self.connection = None;
    }

    /// Asks and reads the answer. Cancel safe: what was dropped on the way takes its connection with it.
    pub(crate) async fn ask(&mut self, ask: &Ask) -> Result<Answer, Failure> {
        let kept = self.connection.is_some();
        let outcome = self.ask_once(ask).await;
        match outcome {
            // A query that waited may have waited for something that a server come back will never reach: that is for the caller to see.
            Err(failure) if kept && failure.is_broken() && ask.wait.is_zero() => self.ask_once(ask).await,
            outcome => outcome,
        }
    }

    async fn ask_once(&mut self, ask: &Ask) -> Result<Answer, Failure> {
        let token = self.setup.token().await?;
        let request = self.request(ask, token.as_deref())?;
        // Taken out, so that a connection is kept only by a request that came to its end.
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => connect(&self.setup, &self.agent).await?,
        };
        let limit = self.setup.config().max_response;
        let patience = self.setup.config().timeout;
        let (status, headers, body) = connection.exchange(request, patience, ask.wait, limit).await?;
        let missing = ask.may_be_missing && status == StatusCode::NOT_FOUND;
        if missing {
            self.connection = Some(connection);
            return Ok(Answer { headers, body: Bytes::new(), missing });
        }
        let answer = answered(status, headers, body)?;
        self.connection = Some(connection);
        Ok(answer)
    }

    fn request(&self, ask: &Ask, token: Option<&str>) -> Result<Request<Full<Bytes>>, Failure> {
        let builder = Request::builder()
            .method(ask.method.clone())
            .uri(&ask.path)
            .header(header::HOST, self.agent.authority())
            .header(header::USER_AGENT, concat!("evenkeel/", env!("CARGO_PKG_VERSION")));
        let builder = match token {
            Some(token) => builder.header(TOKEN_HEADER, token),
            None => builder,
        };
        builder
            .body(Full::new(ask.body.clone()))
            .map_err(|error| Failure::Token(format!("no request can be made of this: {error}")))
    }
}

async fn connect(setup: &Setup, agent: &Agent) -> Result<Connection, Failure> {
    let patience = setup.config().timeout;
    let io = timeout(patience, setup.dial(agent)).await;
    let io = io.map_err(|_| Failure::Timeout("accept a connection", patience))??;
    let handshake = http1::handshake(TokioIo::new(io)).await;
    let (sender, driver) = handshake.map_err(|error| Failure::Connect(chain(&error)))?;
    Ok(Connection { sender, driver: Box::pin(driver) })
}

impl Connection {
    async fn exchange(
        &mut self,
        request: Request<Full<Bytes>>,
        patience: Duration,
        wait: Duration,
        limit: usize,
    ) -> Result<(StatusCode, HeaderMap, Bytes), Failure> {
        let Self { sender, driver } = self;
        // Consul holds a blocking query up to a sixteenth longer than asked, by chance.
        let held = patience + wait + wait / 16;
        let work = async {
            let head = async {
                sender.ready().await?;
                sender.send_request(request).await
            };
            let head = timeout(held, head).await.map_err(|_| Failure::Timeout("answer", held))?;
            let (head, body) = head.map_err(|error| broken(&error))?.into_parts();
            let body = timeout(patience, read(body, head.status, limit)).await;
            let body = body.map_err(|_| Failure::Timeout("finish its answer", patience))??;
            Ok((head.status, head.headers, body))
        };
        driven(work, driver).await
    }
}

/// Runs `work` with the connection beneath it. Once the connection has ended it is dropped, so that `work` is not left waiting for an
/// answer that cannot come; what came before is still read.
async fn driven<T>(work: impl Future<Output = T>, driver: &mut Driver) -> T {
    let mut work = Box::pin(work);
    tokio::select! {
        biased;
        result = &mut work => return result,
        _ = &mut *driver => {}
    }
    *driver = Box::pin(std::future::ready(Ok(())));
    work.await
}

/// The whole body, or the beginning of one that explains an error.
async fn read(mut body: Incoming, status: StatusCode, limit: usize) -> Result<Bytes, Failure> {
    let explains = status != StatusCode::OK;
    let mut read = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| broken(&error))?;
        let Ok(data) = frame.into_data() else { continue };
        if !explains && read.len() + data.len() > limit {
            return Err(Failure::TooLarge(limit));
        }
        read.extend_from_slice(&data);
        if explains && read.len() >= ERROR_TEXT {
            break;
        }
    }
    Ok(read.freeze())
}

fn answered(status: StatusCode, headers: HeaderMap, body: Bytes) -> Result<Answer, Failure> {
    if status == StatusCode::OK {
        return Ok(Answer { headers, body, missing: false });
    }
    if status.is_redirection() {
        let location = headers.get(header::LOCATION).map_or_else(String::new, |to| text(to.as_bytes()));
        return Err(Failure::Redirect(status, location));
    }
    Err(Failure::Status(status, text(&body)))
}

/// What somebody else wrote, as one line that is safe to print.
fn text(bytes: &[u8]) -> String {
    let bytes = &bytes[..bytes.len().min(ERROR_TEXT)];
    let text: String = String::from_utf8_lossy(bytes).chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    text.trim().to_owned()
}

fn broken(error: &hyper::Error) -> Failure {
    if error.is_parse() { Failure::Unreadable(chain(error)) } else { Failure::Broken(chain(error)) }
}

/// An error with its causes, which hyper does not print by itself.
fn chain(error: &dyn std::error::Error) -> String {
    let mut told = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        told = format!("{told}: {error}");
        cause = error.source();
    }
    told
}
