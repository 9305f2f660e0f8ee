//! Patience, channels and single connections.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use http::{Request, Response};
use lb_core::{Address, BackoffConfig, ConnectivityState, Endpoint};
use lb_testkit::EchoServer;
use lb_testkit::pb::echo_client::EchoClient;
use lb_testkit::pb::{EchoReply, EchoRequest};
use lb_tonic::{LbChannel, LbChannelBuilder, TonicConnector, TonicTransport};
use lb_transport::{BoxError, ConnectAttempt, ConnectError, Connection, Connector, TransportError, TransportErrorKind};
use tonic::Status;
use tonic::body::Body;
use tower_service::Service;

/// Far more than anything here takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) const AUTHORITY: &str = "orders.test";

pub(crate) async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.unwrap_or_else(|_| panic!("not within {PATIENCE:?}: {what}"))
}

pub(crate) async fn until(what: &str, mut condition: impl FnMut() -> bool) {
    soon(what, async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    })
    .await;
}

/// A connector with tonic's defaults.
pub(crate) fn plain() -> TonicConnector {
    TonicConnector::new(|endpoint| endpoint)
}

/// A channel over these servers that tries again soon.
pub(crate) fn builder(servers: &[&EchoServer], connector: TonicConnector) -> LbChannelBuilder {
    let addresses: Vec<String> = servers.iter().map(|server| server.addr().to_string()).collect();
    let (initial, max) = (Duration::from_millis(50), Duration::from_millis(500));
    let backoff = BackoffConfig::try_new(initial, 1.6, max, 0.2, Duration::from_secs(5)).unwrap();
    LbChannel::builder(format!("static:///{}", addresses.join(","))).authority(AUTHORITY).backoff(backoff).connector(connector)
}

pub(crate) fn state(channel: &LbChannel, server: &EchoServer) -> ConnectivityState {
    let key = server.addr().to_string();
    channel.endpoints().into_iter().find(|endpoint| endpoint.key.as_str() == key).unwrap().state
}

/// Leaves IDLE and waits until all these servers are READY.
pub(crate) async fn ready(channel: &LbChannel, servers: &[&EchoServer]) {
    channel.exit_idle();
    until("every server is listed", || channel.endpoints().len() >= servers.len()).await;
    for server in servers {
        until("the server is READY", || state(channel, server) == ConnectivityState::Ready).await;
    }
}

pub(crate) fn request(payload: &'static str) -> EchoRequest {
    EchoRequest { payload: payload.into(), ..EchoRequest::default() }
}

pub(crate) async fn call(channel: &LbChannel) -> Result<EchoReply, Status> {
    Ok(soon("a call", EchoClient::new(channel.clone()).unary(request("x"))).await?.into_inner())
}

/// One attempt at these addresses of one endpoint.
pub(crate) async fn connect(connector: &TonicConnector, addresses: &[Address]) -> Result<Connection<TonicTransport>, ConnectError> {
    let endpoint = Arc::new(Endpoint::new(addresses[0].clone()));
    let attempt = ConnectAttempt::new(endpoint, AUTHORITY, Duration::from_secs(10)).with_addresses(addresses.to_vec());
    soon("an attempt to connect", connector.connect(attempt)).await
}

/// A unary call straight on a connection, as far as the response's headers.
pub(crate) async fn send(transport: &TonicTransport) -> Result<Response<Body>, BoxError> {
    let message = Body::new(http_body_util::Full::new(bytes::Bytes::from_static(&[0; 5])));
    let request = Request::post("/evenkeel.echo.v1.Echo/Unary")
        .header("te", "trailers")
        .header("content-type", "application/grpc")
        .body(message)
        .unwrap();
    soon("a call on one connection", transport.clone().call(request)).await
}

pub(crate) fn kind(error: &BoxError) -> Option<TransportErrorKind> {
    error.downcast_ref().map(TransportError::kind)
}
