//! One attempt at one address: socket, TLS, HTTP/2.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use lb_core::Address;

use super::deadline::Deadline;
use super::race::race;
use super::socket;
use crate::config::TransportConfig;
use crate::conn::{Socket, Wire, await_settings};
use crate::error::{ConnectError, ConnectFailure, ConnectStage};
use crate::h2_connector::Shared;

/// Streams we may open before the server has said how many; unused, since we wait for its SETTINGS, but h2 wants a bound.
const STREAMS_BEFORE_SETTINGS: usize = 100;
/// What h2 queues per stream for a streamed request. hyper's value.
const SEND_BUFFER: usize = 1024 * 1024;
/// Streams reset by us whose late frames are still ignored rather than answered with another reset. h2's 50 is exceeded as
/// soon as a deadline ends many calls at once.
const RESET_STREAMS: usize = 1024;
/// h2 closes a connection on which too many small DATA frames lie unread, counting 256 bytes of overhead each against half the
/// connection window. A slow reader of 20-byte messages would get there after 11 000 of them. This factor of the window
/// allows about 90 000, some 20 MB of memory at worst.
const SMALL_FRAME_BUDGET: usize = 4;

/// A connection whose server has sent its SETTINGS; nobody drives it yet. Dropping it closes the socket.
pub(crate) struct Dialled {
    pub(crate) connection: h2::client::Connection<Wire, Bytes>,
    pub(crate) sender: h2::client::SendRequest<Bytes>,
    pub(crate) wire: Wire,
    pub(crate) address: Address,
}

/// What all attempts of one race have in common.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    pub(crate) shared: Arc<Shared>,
    /// The name to verify in the server's certificate.
    #[cfg(any(feature = "tls-ring", feature = "tls-aws-lc"))]
    server_name: Arc<str>,
    deadline: Deadline,
}

impl Plan {
    /// A plan whose time starts now. `server_name` is what TLS verifies.
    #[cfg_attr(
        not(any(feature = "tls-ring", feature = "tls-aws-lc")),
        expect(unused_variables, reason = "only TLS verifies names")
    )]
    pub(crate) fn new(shared: Arc<Shared>, server_name: Arc<str>, timeout: Duration) -> Self {
        Self {
            shared,
            #[cfg(any(feature = "tls-ring", feature = "tls-aws-lc"))]
            server_name,
            deadline: Deadline::after(timeout),
        }
    }

    /// The same plan, its time starting now.
    pub(crate) fn restarted(&self) -> Self {
        Self { deadline: self.deadline.restarted(), ..self.clone() }
    }
}

/// The first connection that is complete.
pub(crate) async fn dial(plan: &Plan, addresses: Vec<Address>) -> Result<Dialled, ConnectError> {
    race(addresses, plan.shared.config.attempt_delay, plan.deadline, &|address| establish(plan, address)).await
}

async fn establish(plan: &Plan, address: Address) -> Result<Dialled, ConnectFailure> {
    let config = &plan.shared.config;
    let socket = plan.deadline.bound(ConnectStage::Socket, socket::connect(config, &address)).await??;
    let socket = secure(plan, socket).await?;
    let wire = Wire::new(socket);
    let (sender, mut connection) =
        builder(config).handshake::<_, Bytes>(wire.clone()).await.map_err(|error| ConnectFailure::Handshake(error.to_string()))?;
    plan.deadline.bound(ConnectStage::Settings, await_settings(&mut connection, &wire)).await??;
    Ok(Dialled { connection, sender, wire, address })
}

#[cfg(any(feature = "tls-ring", feature = "tls-aws-lc"))]
async fn secure(plan: &Plan, socket: Socket) -> Result<Socket, ConnectFailure> {
    match &plan.shared.tls {
        None => Ok(socket),
        Some(tls) => plan.deadline.bound(ConnectStage::Tls, tls.handshake(&plan.server_name, socket)).await?,
    }
}

#[cfg(not(any(feature = "tls-ring", feature = "tls-aws-lc")))]
async fn secure(_: &Plan, socket: Socket) -> Result<Socket, ConnectFailure> {
    Ok(socket)
}

fn builder(config: &TransportConfig) -> h2::client::Builder {
    let (stream, connection) = config.windows();
    let mut builder = h2::client::Builder::new();
    builder
        .initial_window_size(stream)
        .initial_connection_window_size(connection)
        .max_frame_size(config.max_frame_size)
        .max_header_list_size(config.max_header_list_size)
        .enable_push(false)
        .initial_max_send_streams(STREAMS_BEFORE_SETTINGS)
        .max_send_buffer_size(SEND_BUFFER)
        .max_concurrent_reset_streams(RESET_STREAMS)
        // h2 would close the connection after 1024 late frames for streams we have reset, over its whole life.
        .max_local_error_reset_streams(None)
        .data_frame_budget(connection as usize * SMALL_FRAME_BUDGET);
    builder
}
