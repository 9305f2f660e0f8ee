//! What the tests of the testkit share.
#![allow(dead_code, reason = "not every test uses every helper")]
#![allow(clippy::unwrap_used, reason = "a failing helper fails the test")]

use std::future::Future;
use std::time::Duration;

use lb_testkit::EchoServer;
use lb_testkit::pb::EchoRequest;
use lb_testkit::pb::echo_client::EchoClient;
use tonic::transport::{Channel, Endpoint};

/// Longer than anything here takes on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) fn channel(uri: String) -> Channel {
    Endpoint::from_shared(uri).unwrap().connect_lazy()
}

pub(crate) fn client(server: &EchoServer) -> EchoClient<Channel> {
    EchoClient::new(channel(server.uri()))
}

pub(crate) fn request(payload: &'static str) -> EchoRequest {
    EchoRequest { payload: payload.into(), ..EchoRequest::default() }
}

/// Waits until the condition holds.
pub(crate) async fn until(condition: impl Fn() -> bool) {
    soon(async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    })
    .await;
}

/// Fails the test if this takes too long.
pub(crate) async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.expect("took too long")
}
