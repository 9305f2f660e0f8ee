//! How an echo server is set up.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tonic::transport::Server;
use tonic::transport::server::Router;
use tonic_health::pb::health_server::HealthServer;

use super::EchoServer;
use super::control::{EchoControl, Latency};
use super::serve::{Place, Running};
use super::service::EchoService;
use crate::cut::Connections;
use crate::ledger::Pen;
use crate::pb::echo_server::{Echo, EchoServer as EchoGrpc};
use crate::port::ReservedPort;

/// How an [`EchoServer`] is set up. The default is an unnamed plaintext server on a free port of 127.0.0.1, with a
/// health service, without latency, limits or keepalive.
#[derive(Debug)]
pub struct EchoServerBuilder {
    name: Option<String>,
    bind: Bind,
    latency: Latency,
    seed: u64,
    health: bool,
    record_requests: bool,
    ledger: Option<PathBuf>,
    server: Server,
}

#[derive(Debug)]
enum Bind {
    Tcp(SocketAddr),
    Unix(PathBuf),
}

impl Default for EchoServerBuilder {
    fn default() -> Self {
        Self {
            name: None,
            bind: Bind::Tcp((Ipv4Addr::LOCALHOST, 0).into()),
            latency: Latency::None,
            seed: 1,
            health: true,
            record_requests: false,
            ledger: None,
            server: Server::builder(),
        }
    }
}

impl EchoServerBuilder {
    /// The name in its replies; its address unless set.
    #[must_use]
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// Listens here; port 0 means any free port.
    #[must_use]
    pub fn bind(mut self, addr: SocketAddr) -> Self {
        self.bind = Bind::Tcp(addr);
        self
    }

    /// Listens on a Unix socket; a file that is in the way is removed.
    #[must_use]
    pub fn unix(mut self, path: impl Into<PathBuf>) -> Self {
        self.bind = Bind::Unix(path.into());
        self
    }

    /// How long it thinks before each answer.
    #[must_use]
    pub fn latency(mut self, latency: Latency) -> Self {
        self.latency = latency;
        self
    }

    /// The seed of its random latencies; 1 unless set.
    #[must_use]
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// Whether it has a health service; without one, asking for health is UNIMPLEMENTED.
    #[must_use]
    pub fn health(mut self, on: bool) -> Self {
        self.health = on;
        self
    }

    /// Keeps the head of the latest call for [`EchoControl::last_request`]; costs a copy of the headers per call.
    #[must_use]
    pub fn record_requests(mut self) -> Self {
        self.record_requests = true;
        self
    }

    /// Notes every call that has a [`CALL_ID`](crate::CALL_ID) in this [`Ledger`](crate::Ledger).
    #[must_use]
    pub fn ledger(mut self, path: impl Into<PathBuf>) -> Self {
        self.ledger = Some(path.into());
        self
    }

    /// The `SETTINGS_MAX_CONCURRENT_STREAMS` it announces.
    #[must_use]
    pub fn max_concurrent_streams(mut self, limit: u32) -> Self {
        self.server = self.server.max_concurrent_streams(limit);
        self
    }

    /// Pings clients this often and drops those that do not answer in time.
    #[must_use]
    pub fn http2_keepalive(mut self, interval: Duration, timeout: Duration) -> Self {
        self.server = self.server.http2_keepalive_interval(Some(interval)).http2_keepalive_timeout(Some(timeout));
        self
    }

    /// Sends GOAWAY on a connection this old.
    #[must_use]
    pub fn max_connection_age(mut self, age: Duration) -> Self {
        self.server = self.server.max_connection_age(age);
        self
    }

    /// Any other option of tonic's server.
    #[must_use]
    pub fn configure(mut self, change: impl FnOnce(Server) -> Server) -> Self {
        self.server = change(self.server);
        self
    }

    /// Speaks TLS.
    #[cfg(feature = "tls")]
    pub fn tls(mut self, config: tonic::transport::ServerTlsConfig) -> Result<Self, tonic::transport::Error> {
        self.server = self.server.tls_config(config)?;
        Ok(self)
    }

    /// The echo service alone, with its control, for a server of the test's own; where it listens is the test's to say then.
    pub fn service(self) -> (EchoControl, EchoGrpc<impl Echo + Clone>) {
        let control = EchoControl::new(self.name.unwrap_or_default(), self.latency, self.seed, None);
        (control.clone(), EchoGrpc::new(EchoService(control)).max_decoding_message_size(usize::MAX))
    }

    /// Starts it; it listens when this returns.
    pub async fn start(self) -> io::Result<EchoServer> {
        let place = match self.bind {
            Bind::Tcp(addr) => Place::Tcp(ReservedPort::at(addr)?),
            Bind::Unix(path) => Place::Unix(path),
        };
        let name = self.name.unwrap_or_else(|| match &place {
            Place::Tcp(port) => port.addr().to_string(),
            Place::Unix(path) => path.display().to_string(),
        });
        let pen = self.ledger.as_deref().map(Pen::open).transpose()?;
        let control = EchoControl::new(name, self.latency, self.seed, pen);
        let router = router(self.server, &control, self.health, self.record_requests);
        let connections = Arc::<Connections>::default();
        let running = Some(Running::start(&place, router.clone(), &connections)?);
        Ok(EchoServer { control, router, connections, running, place })
    }
}

fn router(mut server: Server, control: &EchoControl, health: bool, record: bool) -> Router {
    if record {
        let control = control.clone();
        // tonic lends the whole head to this hook; nowhere else does a service see the authority.
        server = server.trace_fn(move |request| {
            control.record(request);
            tracing::Span::none()
        });
    }
    // Size limits are the client's to test.
    let echo = EchoGrpc::new(EchoService(control.clone())).max_decoding_message_size(usize::MAX);
    server.add_service(echo).add_optional_service(health.then(|| HealthServer::new(control.health().clone())))
}
