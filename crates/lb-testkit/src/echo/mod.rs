//! A tonic server in this process that echoes, and misbehaves on request.
//!
//! The server is a real one: real sockets, tonic's own HTTP/2. Its [`EchoControl`] changes at run time how it answers, and the
//! server itself can send GOAWAY, stop, die as if killed, and come back on the same port. Everything it started ends when it is dropped: tasks
//! within a few polls of the runtime, the port at once.

mod control;
mod health;
mod serve;
mod service;

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::ops::Deref;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use lb_core::{Address, Endpoint};
use tonic::transport::Server;
use tonic::transport::server::Router;
use tonic_health::pb::health_server::HealthServer;

use self::serve::{Place, Running};
use self::service::EchoService;
use crate::cut::Connections;
use crate::pb::echo_server::EchoServer as EchoGrpc;
use crate::port::ReservedPort;

pub use self::control::{EchoControl, Latency, RequestHead};
pub use self::health::{HealthControl, HealthFault, ServingStatus};

/// A running echo server; dereferences to its [`EchoControl`].
#[derive(Debug)]
pub struct EchoServer {
    control: EchoControl,
    router: Router,
    connections: Arc<Connections>,
    running: Option<Running>,
    place: Place,
}

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
    server: Server,
}

#[derive(Debug)]
enum Bind {
    Tcp(SocketAddr),
    Unix(PathBuf),
}

impl EchoServer {
    /// A builder with the defaults.
    pub fn builder() -> EchoServerBuilder {
        EchoServerBuilder {
            name: None,
            bind: Bind::Tcp((Ipv4Addr::LOCALHOST, 0).into()),
            latency: Latency::None,
            seed: 1,
            health: true,
            record_requests: false,
            server: Server::builder(),
        }
    }

    /// Starts one with the defaults and this name.
    pub async fn start(name: &str) -> io::Result<Self> {
        Self::builder().name(name).start().await
    }

    /// Where it listens.
    ///
    /// # Panics
    /// If it listens on a Unix socket; [`EchoServer::address`] works for both.
    pub fn addr(&self) -> SocketAddr {
        match &self.place {
            Place::Tcp(port) => port.addr(),
            Place::Unix(path) => panic!("{} is a Unix socket and has no TCP address", path.display()),
        }
    }

    /// Where it listens, as a resolver would say it.
    pub fn address(&self) -> Address {
        match &self.place {
            Place::Tcp(port) => port.addr().into(),
            Place::Unix(path) => Address::Unix(path.clone()),
        }
    }

    /// The endpoint it is.
    pub fn endpoint(&self) -> Endpoint {
        Endpoint::new(self.address())
    }

    /// The URI a plain tonic channel connects to: `http://127.0.0.1:50051`.
    ///
    /// # Panics
    /// If it listens on a Unix socket.
    pub fn uri(&self) -> String {
        format!("http://{}", self.addr())
    }

    /// The target naming only this server: `ipv4:127.0.0.1:50051`, `ipv6:[::1]:50051` or `unix:/path`.
    pub fn target(&self) -> String {
        match self.address() {
            Address::Tcp(addr) if addr.is_ipv6() => format!("ipv6:{addr}"),
            Address::Tcp(addr) => format!("ipv4:{addr}"),
            other => other.to_string(),
        }
    }

    /// A control that can be kept after the server is gone.
    pub fn control(&self) -> EchoControl {
        self.control.clone()
    }

    /// Connections open now.
    pub fn connections(&self) -> usize {
        self.connections.open()
    }

    /// Connections accepted since the start, those of earlier lives included.
    pub fn accepted(&self) -> u64 {
        self.connections.accepted()
    }

    /// Sends GOAWAY on every open connection: their streams finish, new connections are welcome.
    pub fn goaway(&self) {
        if let Some(running) = &self.running {
            running.goaway();
        }
    }

    /// Stops as a well-behaved server does: no new connections, GOAWAY on the open ones; returns when their streams have
    /// finished. If cancelled it goes on stopping.
    pub async fn shutdown(&mut self) {
        if let Some(running) = self.running.take() {
            running.stop().await;
        }
        self.connections.none_open().await;
    }

    /// Stops as a killed process does: every connection is reset, and connecting is refused. If cancelled it goes on dying.
    pub async fn kill(&mut self) {
        if let Some(running) = self.running.take() {
            running.stop().await;
        }
        self.connections.cut_all();
        self.connections.none_open().await;
    }

    /// Resets every open connection and goes on listening.
    pub fn cut_connections(&self) {
        self.connections.cut_all();
    }

    /// Listens again at the same place, after [`EchoServer::kill`] or [`EchoServer::shutdown`]; one that runs is killed first. Counters go on.
    pub async fn restart(&mut self) -> io::Result<()> {
        if self.running.is_some() {
            self.kill().await;
        }
        self.running = Some(Running::start(&self.place, self.router.clone(), &self.connections)?);
        Ok(())
    }

    /// Whether it listens.
    pub fn is_running(&self) -> bool {
        self.running.is_some()
    }
}

impl Deref for EchoServer {
    type Target = EchoControl;

    fn deref(&self) -> &EchoControl {
        &self.control
    }
}

impl Drop for EchoServer {
    fn drop(&mut self) {
        self.running = None;
        self.connections.cut_all();
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
        let control = EchoControl::new(name, self.latency, self.seed);
        let router = router(self.server, &control, self.health, self.record_requests);
        let connections = Arc::default();
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
