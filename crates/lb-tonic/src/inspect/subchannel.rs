//! One endpoint with its connections.

use std::sync::Arc;

use lb_core::{ConnectivityState, EndpointKey, EndpointStats, Row};
use lb_transport::SocketRef;

use crate::snapshot::Connected;
use crate::transport::AnyTransport;

/// An endpoint of a channel and what it is connected by, at one moment.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Subchannel {
    /// Its endpoint.
    pub key: EndpointKey,
    /// Its state; READY only while its health check, if any, says so.
    pub state: ConnectivityState,
    /// Its counters, which go on counting.
    pub stats: Arc<EndpointStats>,
    connected: Option<Arc<Connected>>,
}

impl Subchannel {
    pub(super) fn new(row: &Row, connected: Option<&Arc<Connected>>) -> Self {
        let view = &row.view;
        Self { key: view.endpoint.key().clone(), state: view.state, stats: Arc::clone(&view.stats), connected: connected.cloned() }
    }

    /// Its connections that take calls, oldest first. None if it is not connected, and none if its connector is not
    /// [`H2Connector`](lb_transport::H2Connector): of others nothing is known.
    pub fn sockets(&self) -> Vec<SocketRef> {
        match self.connected.as_ref().map(|connected| &connected.transport) {
            Some(AnyTransport::H2(transport)) => transport.sockets(),
            _ => Vec::new(),
        }
    }
}
