//! HTTP/2 connections for gRPC clients.
//!
//! A [`Connector`] turns an endpoint into a [`Connection`]: a transport to send calls on, and a future that says when it takes no more.
//! [`H2Connector`] is the one to use: TCP or Unix sockets, TLS by rustls on request, HTTP/2 by the `h2` crate. It knows neither tonic
//! nor load balancing, and it never reconnects by itself: loss is an event, and whoever holds the connection decides what follows.
//!
//! # What it takes care of
//! * **Dialling.** The addresses of an endpoint race as RFC 8305 has it; a connection counts as made only when the server's first
//!   SETTINGS frame is there, so that a socket that accepts and then says nothing is a failed attempt and not a ready endpoint.
//! * **Stream limits.** Calls beyond the peer's limit wait in order inside [`ResponseFuture`], or use a further connection of a small
//!   pool; they never hang on a connection that is gone.
//! * **What a failure means.** [`TransportError::kind`] tells a call that never left from one the server refused unprocessed and from
//!   one that may have run, which is what a transparent retry needs to know.
//! * **Liveness.** Keepalive by PING with gRPC's rules, TCP_USER_TIMEOUT, and GOAWAY noticed as its bytes arrive.
//!
//! # Bounds
//! A connection holds at most 64 KiB of outgoing bytes beyond what h2 holds, and unread responses up to the connection window. A
//! unary request is handed to h2 whole, whatever its size; a streamed one only as fast as the peer's windows allow.
//!
//! # When not to use it
//! For HTTP/2 in general: it sends one kind of request, ignores informational responses and pushes, and drops request trailers.
//!
//! ```
//! use std::sync::Arc;
//! use std::time::Duration;
//! use lb_core::Endpoint;
//! use lb_transport::{ConnectAttempt, Connector, H2Connector, TransportConfig};
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let connector = H2Connector::new(TransportConfig::default())?;
//! let endpoint = Arc::new(Endpoint::new("127.0.0.1:50051".parse::<lb_core::Address>()?));
//! let attempt = ConnectAttempt::new(endpoint, "orders.internal", Duration::from_secs(20));
//! let connection = connector.connect(attempt).await?;
//! println!("connected to {}", connection.address);
//! let request = http::Request::post("/orders.v1.Orders/Place").body(http_body_util::Full::new(bytes::Bytes::new()))?;
//! let response = connection.transport.send(request).await?;
//! # Ok(())
//! # }
//! ```

mod call;
mod config;
mod conn;
mod connector;
mod dial;
mod error;
mod h2_connector;
mod serial;
mod socket_info;
#[cfg(any(feature = "tls-ring", feature = "tls-aws-lc"))]
mod tls;

pub use call::{H2Body, H2Transport, Payload, ResponseFuture};
pub use config::{TransportConfig, TransportConfigError};
pub use connector::{ConnectAttempt, Connection, ConnectionHandle, Connector};
pub use dial::{Deadline, interleave, race};
pub use error::{AddressFailure, CloseReason, ConnectError, ConnectFailure, ConnectStage, TransportError, TransportErrorKind};
pub use h2_connector::H2Connector;
pub use serial::next_serial;
pub use socket_info::{SocketInfo, SocketRef, SocketSecurity};
#[cfg(any(feature = "tls-ring", feature = "tls-aws-lc"))]
pub use tls::{ClientTls, TlsConfigError};

/// Any error, boxed; what a request body may fail with.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// A boxed future that can be sent between threads.
pub type BoxFuture<'a, T> = std::pin::Pin<Box<dyn Future<Output = T> + Send + 'a>>;
