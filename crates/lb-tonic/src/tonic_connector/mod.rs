//! Connections by tonic itself.
//!
//! For who needs something of tonic's own [`Endpoint`] that the built-in transport does not have, or dials in a way of their own.
//! The channel still resolves, picks, retries and checks health; only the connection is tonic's.
//!
//! tonic's channel reconnects by itself, behind the back of whoever balances over it. That is switched off here: each connection gets
//! a connector that has one socket to give and refuses to be asked again. Its loss is not left to the next call to find out either: the
//! socket is wrapped, and reports its end of file, its first error, and that tonic has let go of it.

mod dial;
mod explain;
mod link;
mod options;
mod transport;
mod watched;

use std::fmt;
use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use lb_core::Address;
use lb_transport::{
    AddressFailure, BoxError, CloseReason, ConnectAttempt, ConnectError, ConnectFailure, ConnectStage, Connection,
    ConnectionHandle, Connector, Deadline, race,
};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::oneshot;
use tonic::transport::Endpoint;

pub use transport::TonicTransport;

use crate::transport::causes;
use dial::Dial;
use link::{CutUnlessMade, Link};
use options::{Options, Prepared};
use watched::{OneShot, WatchedIo};

/// How long the attempt at one address may run before the next address is tried beside it (RFC 8305).
const ATTEMPT_DELAY: Duration = Duration::from_millis(250);

/// Connects by tonic's [`Endpoint`], for [`LbChannelBuilder::connector`](crate::LbChannelBuilder::connector).
///
/// ```no_run
/// # fn example() -> Result<(), lb_tonic::BuildError> {
/// use std::time::Duration;
/// use lb_tonic::{LbChannel, TonicConnector};
///
/// let connector = TonicConnector::new(|endpoint| {
///     endpoint.http2_keep_alive_interval(Duration::from_secs(30)).initial_stream_window_size(1 << 20)
/// });
/// let channel = LbChannel::builder("dns:///orders.internal:50051").connector(connector).build()?;
/// # Ok(())
/// # }
/// ```
///
/// # Limits
/// - A GOAWAY is heard when tonic closes the connection over it: at once if no call is in flight, otherwise with the next call, which
///   then goes elsewhere. The built-in transport hears it as it arrives.
/// - Calls cross tonic's buffer at the cost of a task switch each, and do not see the server's stream limit: those beyond it wait on
///   the one connection there is per endpoint.
/// - A connection counts as made with the server's SETTINGS, but with TLS already when the server goes on after the handshake.
/// - A failed call is sent elsewhere only if tonic had no connection to send it on, or the server refused it by GOAWAY or
///   REFUSED_STREAM. Any other loss is UNAVAILABLE, though the call may in truth never have left.
/// - `user-agent` is tonic's.
/// - `Endpoint::timeout` covers the time to the response's headers only;
///   [`LbChannelBuilder::timeout`](crate::LbChannelBuilder::timeout) covers the whole call.
/// - `Endpoint::local_address` has no effect, for tonic shows it to nobody; [`dial_with`](Self::dial_with) can do what it does.
#[derive(Clone)]
pub struct TonicConnector {
    options: Arc<Options>,
    dial: Dial,
}

impl TonicConnector {
    /// A connector whose endpoints are configured by `configure`.
    ///
    /// It is given an endpoint of the right authority, `http://orders.internal:50051`, and returns it with the options it shall
    /// have. It is called up to twice for each authority, and again after the authority has changed: first with `https`, which
    /// is kept if it sets up TLS, and otherwise with `http`. An endpoint of its own making is taken as it is.
    pub fn new(configure: impl Fn(Endpoint) -> Endpoint + Send + Sync + 'static) -> Self {
        Self::try_new(move |endpoint| Ok::<_, std::convert::Infallible>(configure(endpoint)))
    }

    /// Like [`new`](Self::new) for options that can be wrong, such as `tls_config`; attempts to connect then fail and say how.
    ///
    /// ```
    /// # use lb_tonic::TonicConnector;
    /// let connector = TonicConnector::try_new(|endpoint| endpoint.user_agent("orders/1.0"));
    /// ```
    pub fn try_new<E>(configure: impl Fn(Endpoint) -> Result<Endpoint, E> + Send + Sync + 'static) -> Self
    where
        E: Into<BoxError>,
    {
        Self { options: Arc::new(Options::new(move |endpoint| configure(endpoint).map_err(Into::into))), dial: Dial::Sockets }
    }

    /// Opens streams in another way than by TCP and Unix sockets, for example through a proxy. Host names have been looked up
    /// before. The TCP options of the endpoint do not apply then, but TLS does, on top of the stream. Dropping the
    /// future must abandon the attempt.
    #[must_use]
    pub fn dial_with<F, S>(mut self, dial: impl Fn(Address) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = io::Result<S>> + Send + 'static,
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        self.dial = Dial::with(dial);
        self
    }

    async fn attempt(self, attempt: ConnectAttempt) -> Result<Connection<TonicTransport>, ConnectError> {
        let authority = attempt.endpoint.attributes.hostname.as_ref().unwrap_or(&attempt.authority);
        let prepared = match self.options.prepare(authority).await {
            Ok(prepared) => prepared,
            Err(failure) => return Err(everywhere(attempt.addresses, &failure)),
        };
        let deadline = Deadline::after(prepared.endpoint.get_connect_timeout().unwrap_or(Duration::MAX).min(attempt.timeout));
        race(attempt.addresses, ATTEMPT_DELAY, deadline, &|address| establish(&self.dial, &prepared, deadline, address)).await
    }
}

impl Connector for TonicConnector {
    type Transport = TonicTransport;

    fn connect(&self, attempt: ConnectAttempt) -> BoxFuture<'static, Result<Connection<TonicTransport>, ConnectError>> {
        Box::pin(self.clone().attempt(attempt))
    }
}

impl fmt::Debug for TonicConnector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TonicConnector").field("dial", &self.dial).finish_non_exhaustive()
    }
}

/// The same failure for every address.
fn everywhere(addresses: Vec<Address>, failure: &ConnectFailure) -> ConnectError {
    ConnectError::new(addresses.into_iter().map(|address| AddressFailure::new(address, failure.clone())).collect())
}

/// One attempt at one address: socket, TLS, HTTP/2.
async fn establish(
    dial: &Dial,
    prepared: &Prepared,
    deadline: Deadline,
    address: Address,
) -> Result<Connection<TonicTransport>, ConnectFailure> {
    let io = deadline.bound(ConnectStage::Socket, dial.open(&prepared.endpoint, &address)).await??;
    let (link, ends) = Link::new();
    let guard = CutUnlessMade::new(&link);
    let (io, greeting) = WatchedIo::new(io, Arc::clone(&link), ends.cut, prepared.tls);
    let stage = if prepared.tls { ConnectStage::Tls } else { ConnectStage::Settings };
    let connecting = prepared.endpoint.connect_with_connector(OneShot::new(io));
    let channel = deadline.bound(stage, connecting).await?.map_err(|error| prepared.failure(causes(&error)))?;
    greeted(prepared, deadline.bound(ConnectStage::Settings, greeting).await?)?;
    link.open(channel);
    guard.made();
    let handle = ConnectionHandle::new({
        let link = Arc::clone(&link);
        move |now| link.close(now)
    });
    let closed = Box::pin(async move { ends.closed.await.unwrap_or(CloseReason::Closed) });
    Ok(Connection::new(TonicTransport::new(link), address, closed, handle))
}

fn greeted(prepared: &Prepared, greeting: Result<Result<(), String>, oneshot::error::RecvError>) -> Result<(), ConnectFailure> {
    match greeting {
        Ok(Ok(())) => Ok(()),
        Ok(Err(what)) => Err(ConnectFailure::NotHttp2(what)),
        // Servers complain of the client's certificate only after the client thinks that the handshake is over.
        Err(_) => Err(prepared.failure("the server ended the connection".to_owned())),
    }
}
