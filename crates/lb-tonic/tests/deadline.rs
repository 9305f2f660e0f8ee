//! Deadlines against a real server that watches them too.

use std::error::Error;
use std::time::Duration;

use lb_testkit::EchoServer;
use lb_testkit::pb::{EchoRequest, echo_client::EchoClient};
use lb_tonic::{CallError, LbChannel, WaitingFor};
use tonic::{Code, Request};

/// tonic's servers answer CANCELLED when the deadline they were told has passed, and often before the client's own timer has fired.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deadline_that_the_server_notices_first_is_still_exceeded() {
    let server = EchoServer::start("slow").await.unwrap();
    let channel = LbChannel::builder(server.target()).connect(Duration::from_secs(5)).await.unwrap();
    let mut client = EchoClient::new(channel);
    for _ in 0..50 {
        let mut request = Request::new(EchoRequest { delay_ms: 10_000, ..Default::default() });
        request.set_timeout(Duration::from_millis(20));
        let status = client.unary(request).await.unwrap_err();
        assert_eq!(status.code(), Code::DeadlineExceeded, "{status}");
        let error = status.source().and_then(|source| source.downcast_ref::<CallError>());
        let Some(CallError::DeadlineExceeded { waiting_for: WaitingFor::Response(endpoint) }) = error else { panic!("{status:?}") };
        assert_eq!(endpoint.as_str(), server.addr().to_string());
    }
}
