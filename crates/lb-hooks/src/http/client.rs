//! At most one connection to a backend.
//!
//! HTTP/1.1 by hyper, driven by the caller's own future: no task, no pool, no queue, so dropping the client closes the socket at once,
//! in the middle of a request too. A connection is kept between requests and looked at before it is used again; what a backend closed
//! meanwhile is not used. Bodies are bounded, and a whole request by time.

use std::future::Future;
use std::pin::Pin;
use std::time::{Duration, SystemTime};

use bytes::{Bytes, BytesMut};
use futures_util::FutureExt;
use http::header::{AUTHORIZATION, CONTENT_TYPE, HOST, USER_AGENT};
use http::response::Parts;
use http::{HeaderValue, Method, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::time::timeout;

use super::backend::HttpBackend;
use super::error::HookError;
use super::retry_after;

/// Of what a backend says with an error, so much is for people.
const ERROR_TEXT: usize = 512;

type Driver = Pin<Box<dyn Future<Output = hyper::Result<()>> + Send>>;

/// A request with JSON, or without a body.
#[derive(Debug, Clone)]
pub(crate) struct Ask {
    pub(crate) method: Method,
    pub(crate) headers: Vec<(&'static str, String)>,
    pub(crate) body: Bytes,
    /// The largest answer that is read.
    pub(crate) limit: usize,
}

/// A client of one backend.
pub(crate) struct Client {
    backend: HttpBackend,
    connection: Option<Connection>,
    /// How long the last answer asks to be left alone.
    wait: Option<Duration>,
}

struct Connection {
    sender: http1::SendRequest<Full<Bytes>>,
    driver: Driver,
}

impl Client {
    pub(crate) fn new(backend: HttpBackend) -> Self {
        Self { backend, connection: None, wait: None }
    }

    /// For how long the last answer asks not to be asked again, if it was no success.
    pub(crate) fn asked_to_wait(&self) -> Option<Duration> {
        self.wait
    }

    /// Asks and reads the answer, which is a success. Cancel safe: what was dropped on the way takes its connection with it.
    pub(crate) async fn ask(&mut self, ask: &Ask) -> Result<Bytes, HookError> {
        self.wait = None;
        let limit = self.backend.timeout;
        timeout(limit, self.ask_slowly(ask)).await.unwrap_or(Err(HookError::Timeout(limit)))
    }

    async fn ask_slowly(&mut self, ask: &Ask) -> Result<Bytes, HookError> {
        let request = request(&self.backend, ask).await?;
        // Taken out, so that a connection is kept only by a request that came to its end.
        let mut connection = match self.connection.take().and_then(Connection::alive) {
            Some(connection) => connection,
            None => connect(&self.backend).await?,
        };
        let (Parts { status, headers, .. }, body) = connection.exchange(request, ask.limit).await?;
        if !status.is_success() {
            self.wait = retry_after::read(&headers, SystemTime::now());
            return Err(HookError::Status(status, text(&body)));
        }
        self.connection = Some(connection);
        Ok(body)
    }
}

async fn request(backend: &HttpBackend, ask: &Ask) -> Result<Request<Full<Bytes>>, HookError> {
    let url = &backend.url;
    let mut builder = Request::builder()
        .method(ask.method.clone())
        .uri(&url.path)
        .header(HOST, &url.authority)
        .header(USER_AGENT, concat!("evenkeel/", env!("CARGO_PKG_VERSION")));
    if !ask.body.is_empty() {
        builder = builder.header(CONTENT_TYPE, "application/json");
    }
    if let Some(token) = backend.token().await? {
        let value = HeaderValue::try_from(format!("Bearer {token}"));
        let mut value = value.map_err(|_| HookError::Token("it holds characters that no header may".to_owned()))?;
        value.set_sensitive(true);
        builder = builder.header(AUTHORIZATION, value);
    }
    for (name, value) in &ask.headers {
        builder = builder.header(*name, value);
    }
    builder.body(Full::new(ask.body.clone())).map_err(|error| HookError::Broken(error.to_string()))
}

async fn connect(backend: &HttpBackend) -> Result<Connection, HookError> {
    let io = backend.dial().await?;
    let handshake = http1::handshake(TokioIo::new(io)).await;
    let (sender, driver) = handshake.map_err(|error| HookError::Connect(chain(&error)))?;
    Ok(Connection { sender, driver: Box::pin(driver) })
}

impl Connection {
    /// The connection, unless it has ended meanwhile.
    fn alive(mut self) -> Option<Self> {
        let ended = (&mut self.driver).now_or_never().is_some();
        (!ended && !self.sender.is_closed()).then_some(self)
    }

    async fn exchange(&mut self, request: Request<Full<Bytes>>, limit: usize) -> Result<(Parts, Bytes), HookError> {
        let Self { sender, driver } = self;
        let work = async {
            sender.ready().await.map_err(|error| broken(&error))?;
            let (head, body) = sender.send_request(request).await.map_err(|error| broken(&error))?.into_parts();
            let body = read(body, head.status, limit).await?;
            Ok((head, body))
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
async fn read(mut body: Incoming, status: StatusCode, limit: usize) -> Result<Bytes, HookError> {
    let mut read = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| broken(&error))?;
        let Ok(data) = frame.into_data() else { continue };
        if status.is_success() && read.len() + data.len() > limit {
            return Err(HookError::TooLarge(limit));
        }
        read.extend_from_slice(&data);
        if !status.is_success() && read.len() >= ERROR_TEXT {
            break;
        }
    }
    Ok(read.freeze())
}

/// What somebody else wrote, as one line that is safe to print.
fn text(bytes: &[u8]) -> String {
    let bytes = &bytes[..bytes.len().min(ERROR_TEXT)];
    let text: String = String::from_utf8_lossy(bytes).chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    text.trim().to_owned()
}

fn broken(error: &hyper::Error) -> HookError {
    HookError::Broken(chain(error))
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
