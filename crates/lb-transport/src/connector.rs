//! The seam between a channel and whatever makes its connections.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use lb_core::Address;
use lb_core::Endpoint;

use crate::BoxFuture;
use crate::conn::Pool;
use crate::error::{CloseReason, ConnectError};

/// Makes connections to endpoints.
pub trait Connector: fmt::Debug + Send + Sync + 'static {
    /// What calls are sent on; clones share one connection.
    type Transport: Clone + Send + Sync + 'static;

    /// Connects once. Cancel safe: dropping the future closes everything it opened. To be polled on the tokio runtime that the
    /// connection's tasks shall run on, with IO and time enabled.
    fn connect(&self, attempt: ConnectAttempt) -> BoxFuture<'static, Result<Connection<Self::Transport>, ConnectError>>;
}

/// What one attempt to connect is about.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ConnectAttempt {
    /// The endpoint; its `hostname` attribute, if set, takes the place of the authority.
    pub endpoint: Arc<Endpoint>,
    /// The addresses to try now, most preferred first.
    pub addresses: Vec<Address>,
    /// The `:authority` of requests; without its port also the name to verify in the server's certificate.
    pub authority: Arc<str>,
    /// The longest the attempt may take, over all addresses and handshakes.
    pub timeout: Duration,
}

impl ConnectAttempt {
    /// An attempt at all addresses of `endpoint`, in the endpoint's order.
    pub fn new(endpoint: Arc<Endpoint>, authority: impl Into<Arc<str>>, timeout: Duration) -> Self {
        let addresses = endpoint.addresses().to_vec();
        Self { endpoint, addresses, authority: authority.into(), timeout }
    }

    /// The same attempt at other addresses, most preferred first.
    #[must_use]
    pub fn with_addresses(mut self, addresses: Vec<Address>) -> Self {
        self.addresses = addresses;
        self
    }
}

/// A connection that is made.
pub struct Connection<T> {
    /// What calls are sent on.
    pub transport: T,
    /// The address that answered; for a host name, what it was looked up to.
    pub address: Address,
    /// Resolves as soon as no new call should go there: first GOAWAY, loss, keepalive timeout, close by the handle. Streams in
    /// progress may go on after it. Dropping it changes nothing.
    pub closed: BoxFuture<'static, CloseReason>,
    /// Closes the connection when dropped.
    pub handle: ConnectionHandle,
}

impl<T> Connection<T> {
    /// A connection of any kind of transport: `closed` as the field of that name, `handle` from [`ConnectionHandle::new`].
    pub fn new(transport: T, address: Address, closed: BoxFuture<'static, CloseReason>, handle: ConnectionHandle) -> Self {
        Self { transport, address, closed, handle }
    }
}

impl<T: fmt::Debug> fmt::Debug for Connection<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection").field("transport", &self.transport).field("address", &self.address).finish_non_exhaustive()
    }
}

/// Owns a connection. Dropping it closes gracefully, like [`close`](Self::close).
pub struct ConnectionHandle(Option<Owner>);

enum Owner {
    Pool(Arc<Pool>),
    Other(Box<dyn Fn(bool) + Send + Sync>),
}

impl ConnectionHandle {
    /// A handle for another kind of connection. `close` is called with `true` to close at once, and with `false` to let the streams in
    /// progress finish; the former may follow the latter, and either may come twice.
    pub fn new(close: impl Fn(bool) + Send + Sync + 'static) -> Self {
        Self(Some(Owner::Other(Box::new(close))))
    }

    pub(crate) fn of_pool(pool: Arc<Pool>) -> Self {
        Self(Some(Owner::Pool(pool)))
    }

    /// Closes gracefully: no new streams, those in progress finish, then GOAWAY is sent and the socket closed. Calls that wait for a
    /// stream fail as not sent.
    pub fn close(mut self) {
        self.end(false);
    }

    /// Begins to close gracefully and keeps the handle, so that [`abort`](Self::abort) can follow.
    pub fn retire(&self) {
        self.say(false);
    }

    /// Closes at once: streams in progress fail.
    pub fn abort(mut self) {
        self.end(true);
    }

    fn end(&mut self, now: bool) {
        self.say(now);
        self.0 = None;
    }

    fn say(&self, now: bool) {
        match &self.0 {
            Some(Owner::Pool(pool)) => pool.close(now),
            Some(Owner::Other(close)) => close(now),
            None => {}
        }
    }
}

impl Drop for ConnectionHandle {
    fn drop(&mut self) {
        self.end(false);
    }
}

impl fmt::Debug for ConnectionHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConnectionHandle").finish_non_exhaustive()
    }
}
