//! Our transport without the channel above it: one connection, called directly. What a call costs more through the channel is what
//! balancing costs.

use std::sync::Arc;
use std::task::{Context, Poll};

use evenkeel::transport::{
    ClientTls, ConnectAttempt, ConnectionHandle, Connector, H2Body, H2Connector, H2Transport, ResponseFuture, TransportConfig,
    TransportError,
};
use http::{Request, Response};
use tonic::body::Body;
use tower::Service;

use super::{Failure, NAME, PATIENCE, Target};

#[derive(Clone)]
pub(super) struct Direct {
    transport: H2Transport,
    _open: Arc<ConnectionHandle>,
}

impl Direct {
    pub(super) async fn connect(target: &Target<'_>) -> Result<Self, Failure> {
        let mut connector = H2Connector::new(TransportConfig::default())?;
        let mut authority = target.addresses[0].as_str();
        if let Some(ca) = target.ca {
            connector = connector.with_tls(ClientTls::ca_certificate(ca))?;
            authority = NAME;
        }
        let endpoint = Arc::new(evenkeel::Endpoint::new(target.addresses[0].parse::<evenkeel::Address>()?));
        let connection = connector.connect(ConnectAttempt::new(endpoint, authority, PATIENCE)).await?;
        Ok(Self { transport: connection.transport, _open: Arc::new(connection.handle) })
    }
}

impl Service<Request<Body>> for Direct {
    type Response = Response<H2Body>;
    type Error = TransportError;
    type Future = ResponseFuture<Body>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), TransportError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        self.transport.send(request)
    }
}
