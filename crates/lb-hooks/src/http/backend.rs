//! How a backend is reached.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use lb_core::ConfigError;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

use super::error::HookError;
use super::tls::Tls;
use super::url::Url;

/// A hook is told again later; what takes longer than this is better given up.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Shorter is no time for a network, longer would hold a queue up for nothing.
const TIMEOUTS: std::ops::RangeInclusive<Duration> = Duration::from_millis(10)..=Duration::from_secs(300);

/// A token larger than this is another file.
const LONGEST_TOKEN: u64 = 16 * 1024;

/// A stream of bytes to a backend.
pub(crate) trait Io: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

/// Where an HTTP backend is, and how it is asked. Cheap to clone.
#[derive(Debug, Clone)]
pub struct HttpBackend {
    pub(crate) url: Url,
    pub(crate) timeout: Duration,
    token: Option<Token>,
    tls: Tls,
}

#[derive(Clone)]
enum Token {
    Text(String),
    File(PathBuf),
}

impl fmt::Debug for Token {
    /// Tokens are not printed.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(_) => f.write_str("(a token)"),
            Self::File(path) => path.fmt(f),
        }
    }
}

impl HttpBackend {
    /// A backend at an `http` or `https` URL without user and password.
    ///
    /// # Errors
    /// Not such a URL; `https` without a feature for TLS. Trust anchors that are missing are an error of connecting.
    pub fn new(url: &str) -> Result<Self, ConfigError> {
        let url = Url::parse(url)?;
        if url.tls {
            Tls::compiled()?;
        }
        Ok(Self { url, timeout: TIMEOUT, token: None, tls: Tls::platform() })
    }

    /// How long a request may take, connecting and the whole answer included: 10 ms to 300 s; default 5 s.
    pub fn timeout(mut self, timeout: Duration) -> Result<Self, ConfigError> {
        if !TIMEOUTS.contains(&timeout) {
            return Err(ConfigError::new("hooks.timeout", format!("{timeout:?}"), "10ms to 300s"));
        }
        self.timeout = timeout;
        Ok(self)
    }

    /// Sends `authorization: Bearer` with this token; default none.
    #[must_use]
    pub fn bearer_token(mut self, token: impl Into<String>) -> Self {
        self.token = Some(Token::Text(token.into()));
        self
    }

    /// The same with what is in a file, which is read for every request: a rotated token counts at once. An empty file means no token.
    #[must_use]
    pub fn bearer_token_file(mut self, path: impl AsRef<Path>) -> Self {
        self.token = Some(Token::File(path.as_ref().to_owned()));
        self
    }

    /// Trusts these authorities alone, certificates in PEM; default those of the features `tls-native-roots` and `tls-webpki-roots`.
    pub fn ca_certificate(mut self, pem: impl AsRef<[u8]>) -> Result<Self, ConfigError> {
        self.tls = Tls::trusting(pem.as_ref())?;
        Ok(self)
    }

    pub(crate) async fn token(&self) -> Result<Option<String>, HookError> {
        match &self.token {
            None => Ok(None),
            Some(Token::Text(token)) => Ok(Some(token.clone())),
            Some(Token::File(path)) => {
                let path = path.clone();
                let read = tokio::task::spawn_blocking(move || read_token(&path)).await;
                read.map_err(|error| HookError::Token(error.to_string()))?.map_err(HookError::Token)
            }
        }
    }

    pub(crate) async fn dial(&self) -> Result<Box<dyn Io>, HookError> {
        let refused = |error: std::io::Error| HookError::Connect(error.to_string());
        let stream = TcpStream::connect((self.url.host.as_str(), self.url.port)).await.map_err(refused)?;
        stream.set_nodelay(true).map_err(refused)?;
        if self.url.tls { self.tls.handshake(&self.url.host, stream).await } else { Ok(Box::new(stream)) }
    }
}

fn read_token(path: &Path) -> Result<Option<String>, String> {
    let error = |why: String| format!("the file {} {why}", path.display());
    let length = path.metadata().map_err(|why| error(format!("cannot be read: {why}")))?.len();
    if length > LONGEST_TOKEN {
        return Err(error(format!("holds {length} bytes, allowed are {LONGEST_TOKEN}")));
    }
    let text = std::fs::read_to_string(path).map_err(|why| error(format!("cannot be read: {why}")))?;
    Ok(Some(text.trim().to_owned()).filter(|token| !token.is_empty()))
}
