//! A tonic server in this process that echoes, and misbehaves on request.
//!
//! The server is a real one: real sockets, tonic's own HTTP/2. Its [`EchoControl`] changes at run time how it answers, and the
//! server itself can send GOAWAY, stop, die as if killed, and come back on the same port. Everything it started ends when it is dropped: tasks
//! within a few polls of the runtime, the port at once.

mod builder;
mod control;
mod health;
mod serve;
mod service;

use std::io;
use std::net::SocketAddr;
use std::ops::Deref;
use std::sync::Arc;

use lb_core::{Address, Endpoint};
use tonic::transport::server::Router;

use self::serve::{Place, Running};
use crate::cut::Connections;

pub use self::builder::EchoServerBuilder;
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

impl EchoServer {
    /// A builder with the defaults.
    pub fn builder() -> EchoServerBuilder {
        EchoServerBuilder::default()
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
