//! What every client of one configuration shares: the configuration, the token, the way to dial.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use lb_core::ConfigError;
use socket2::SockRef;
use socket2::TcpKeepalive;
use tokio::io::AsyncRead;
use tokio::io::AsyncWrite;
use tokio::net::TcpStream;

use crate::agent::Agent;
use crate::config::ConsulConfig;
use crate::config::Token;
use crate::failure::Failure;
use crate::tls::Tls;

/// A machine that is gone does not close its connections. The kernel asks after this long without traffic, …
const KEEPALIVE_AFTER: Duration = Duration::from_secs(15);

/// … and again so often; with its usual count of tries a dead agent is found in about a minute.
const KEEPALIVE_EVERY: Duration = Duration::from_secs(5);

/// A token is 36 bytes; a file larger than this is another file.
const LONGEST_TOKEN: u64 = 4096;

/// A stream of bytes to an agent.
pub(crate) trait Io: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

/// Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Setup(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    config: ConsulConfig,
    agents: Vec<Agent>,
    tls: Tls,
}

impl Setup {
    pub(crate) fn new(config: ConsulConfig) -> Result<Self, ConfigError> {
        let agents = config.agents.iter().map(|text| Agent::parse(text, config.https)).collect::<Result<Vec<_>, _>>()?;
        let agents = if agents.is_empty() { vec![Agent { tls: false, ..Agent::local() }] } else { agents };
        let tls = Tls::new(&config.tls)?;
        if agents.iter().any(|agent| agent.tls) {
            tls.ensure()?;
        }
        Ok(Self(Arc::new(Inner { config, agents, tls })))
    }

    pub(crate) fn config(&self) -> &ConsulConfig {
        &self.0.config
    }

    /// Those of the configuration; at least one.
    pub(crate) fn agents(&self) -> &[Agent] {
        &self.0.agents
    }

    /// An error unless agents can be asked over TLS.
    pub(crate) fn ensure_tls(&self) -> Result<(), ConfigError> {
        self.0.tls.ensure()
    }

    /// The token as it is now: a file is read every time, so that a rotated one counts from the next request.
    pub(crate) async fn token(&self) -> Result<Option<String>, Failure> {
        match &self.0.config.token {
            None => Ok(None),
            Some(Token::Text(token)) => Ok(Some(token.clone())),
            Some(Token::File(path)) => {
                let path = path.clone();
                let read = tokio::task::spawn_blocking(move || read_token(&path)).await;
                read.map_err(|error| Failure::Token(error.to_string()))?.map_err(Failure::Token)
            }
        }
    }

    pub(crate) async fn dial(&self, agent: &Agent) -> Result<Box<dyn Io>, Failure> {
        let refused = |error: std::io::Error| Failure::Connect(error.to_string());
        let stream = TcpStream::connect((agent.host.as_str(), agent.port)).await.map_err(refused)?;
        let keepalive = TcpKeepalive::new().with_time(KEEPALIVE_AFTER).with_interval(KEEPALIVE_EVERY);
        SockRef::from(&stream).set_tcp_keepalive(&keepalive).map_err(refused)?;
        stream.set_nodelay(true).map_err(refused)?;
        if agent.tls { self.0.tls.handshake(&agent.host, stream).await } else { Ok(Box::new(stream)) }
    }
}

/// An empty file means no token.
fn read_token(path: &Path) -> Result<Option<String>, String> {
    let error = |why: String| format!("the token file {} {why}", path.display());
    let length = path.metadata().map_err(|why| error(format!("cannot be read: {why}")))?.len();
    if length > LONGEST_TOKEN {
        return Err(error(format!("holds {length} bytes, allowed are {LONGEST_TOKEN}")));
    }
    let text = std::fs::read_to_string(path).map_err(|why| error(format!("cannot be read: {why}")))?;
    let token = text.trim();
    if token.chars().any(char::is_control) {
        return Err(error("holds more than a token".to_owned()));
    }
    Ok(Some(token.to_owned()).filter(|token| !token.is_empty()))
}
