//! The handle calls are sent on.

use std::sync::Arc;
use std::task::Context;

use bytes::Bytes;
use http::{HeaderMap, Request, Uri};
use http_body::Body;

use super::future::ResponseFuture;
use super::send::Payload;
use crate::BoxError;
use crate::conn::{Link, Pool};
use crate::socket_info::SocketRef;

/// Sends calls on a connection, or on the endpoint's small pool of them. Clones share it.
///
/// It keeps no connection alive: once the [`ConnectionHandle`](crate::ConnectionHandle) is gone, calls fail as not sent.
#[derive(Debug, Clone)]
pub struct H2Transport {
    pool: Arc<Pool>,
    /// The first connection, for the usual case that it has room.
    oldest: Arc<Link>,
}

impl H2Transport {
    pub(crate) fn new(pool: Arc<Pool>, oldest: Arc<Link>) -> Self {
        Self { pool, oldest }
    }

    /// Sends a request, when the future is first polled. Its URI needs only a path; scheme, authority and user agent are added.
    ///
    /// A request whose body is complete within two polls is sent at once, whole; any other is sent as the peer's windows allow, by a
    /// task that ends with the response. If the peer's limit of streams is reached the future waits for its turn, which comes in order;
    /// give it a deadline of your own. Cancel safe.
    pub fn send<B>(&self, request: Request<B>) -> ResponseFuture<B>
    where
        B: Body<Data = Bytes> + Send + Unpin + 'static,
        B::Error: Into<BoxError>,
    {
        ResponseFuture::later(request, self.pool.try_acquire(&self.oldest), &self.pool)
    }

    /// Sends a gRPC request at once if a stream is free, for who polls the future next anyway: what there is of the request goes to HTTP/2 from
    /// where it stands, and is not kept in between. The headers are taken. As with [`send`](Self::send), the URI needs only a path. The task
    /// of `cx` is woken when the response is there only once the future has been polled.
    #[inline]
    pub fn start<B>(&self, cx: &mut Context<'_>, uri: &Uri, headers: &mut HeaderMap, body: Payload<B>) -> ResponseFuture<B>
    where
        B: Body<Data = Bytes> + Send + Unpin + 'static,
        B::Error: Into<BoxError>,
    {
        ResponseFuture::now(cx, uri, headers, body, self.pool.try_acquire(&self.oldest), &self.pool)
    }

    /// Streams in progress, over all connections that take new calls.
    pub fn in_flight(&self) -> usize {
        self.pool.load().0
    }

    /// How many streams the server allows at once, over all connections that take new calls; `usize::MAX` is unlimited.
    pub fn limit(&self) -> usize {
        self.pool.load().1
    }

    /// Calls that wait for a stream.
    pub fn queued(&self) -> usize {
        self.pool.queued()
    }

    /// The connections that take new calls, oldest first, to be looked at.
    pub fn sockets(&self) -> Vec<SocketRef> {
        self.pool.links().into_iter().map(SocketRef).collect()
    }

    /// The connection of this number, if it is one of [`sockets`](Self::sockets).
    pub fn socket(&self, serial: u64) -> Option<SocketRef> {
        self.pool.find(|link| link.serial() == serial).map(SocketRef)
    }

    /// Connections that take new calls.
    pub fn connections(&self) -> usize {
        self.pool.connections()
    }
}
