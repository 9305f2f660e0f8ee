//! Leaving in good order.

use std::net::SocketAddr;
use std::time::Duration;

use lb_server::{Drain, Drained, LoadRecorder, LoadReportLayer, OpenRcaService};
use lb_testkit::EchoServer;
use lb_testkit::pb::EchoRequest;
use lb_testkit::pb::echo_client::EchoClient;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::transport::Server;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use crate::support::{channel, listener, soon, until};

struct Draining {
    load: LoadRecorder,
    addr: SocketAddr,
    signal: oneshot::Sender<()>,
    task: JoinHandle<Drained>,
}

/// A server that drains when signalled.
async fn start(notice: Duration, deadline: Duration) -> Draining {
    let (reporter, health) = tonic_health::server::health_reporter();
    let (_, echo) = EchoServer::builder().service();
    let load = LoadRecorder::new();
    let router = Server::builder()
        .layer(LoadReportLayer::new(load.clone()))
        .add_service(echo)
        .add_service(health)
        .add_service(OpenRcaService::new(load.clone()));
    let (listener, addr) = listener().await;
    let (signal, signalled) = oneshot::channel::<()>();
    let drain = Drain::new(load.clone()).health(reporter, ["echo"]).notice(notice).deadline(deadline);
    let task = tokio::spawn(async move {
        let serve = |shutdown| router.serve_with_incoming_shutdown(TcpListenerStream::new(listener), shutdown);
        drain.serve(async { drop(signalled.await) }, serve).await.unwrap()
    });
    Draining { load, addr, signal, task }
}

const LONG: Duration = Duration::from_secs(30);

#[tokio::test]
async fn it_says_so_first_serves_on_and_waits_for_the_last_call() {
    let server = start(Duration::from_millis(300), LONG).await;
    let channel = channel(server.addr);
    let mut watch = HealthClient::new(channel.clone()).watch(HealthCheckRequest::default()).await.unwrap().into_inner();
    let status = |response: Option<tonic_health::pb::HealthCheckResponse>| response.unwrap().status;
    assert_eq!(status(soon("a status", watch.message()).await.unwrap()), ServingStatus::Serving as i32);

    let mut client = EchoClient::new(channel.clone());
    let slow = tokio::spawn(async move { client.unary(EchoRequest { delay_ms: 900, ..EchoRequest::default() }).await });
    until("it is in flight", || server.load.in_flight() == 1).await;
    server.signal.send(()).unwrap();
    assert_eq!(status(soon("the news", watch.message()).await.unwrap()), ServingStatus::NotServing as i32);
    soon("a call during the notice", EchoClient::new(channel).unary(EchoRequest::default())).await.unwrap();

    // The watch is still open; it is no call, and must not keep the server.
    assert_eq!(soon("the end", server.task).await.unwrap(), Drained::Complete);
    soon("the slow call", slow).await.unwrap().expect("it was waited for");
    assert_eq!(server.load.in_flight(), 0);
}

#[tokio::test]
async fn at_the_deadline_it_leaves_and_says_how_many_it_left() {
    let server = start(Duration::ZERO, Duration::from_millis(50)).await;
    let mut client = EchoClient::new(channel(server.addr));
    let endless = tokio::spawn(async move { client.unary(EchoRequest { delay_ms: 60_000, ..EchoRequest::default() }).await });
    until("it is in flight", || server.load.in_flight() == 1).await;
    server.signal.send(()).unwrap();
    assert_eq!(soon("the end", server.task).await.unwrap(), Drained::Deadline { in_flight: 1 });
    endless.abort();
}

#[tokio::test]
async fn a_server_that_stops_by_itself_has_nothing_to_drain() {
    let drain = Drain::new(LoadRecorder::new());
    let ended = drain.serve(std::future::pending(), |_shutdown| async { Ok::<(), ()>(()) }).await;
    assert_eq!(ended, Ok(Drained::Stopped));
    let drain = Drain::new(LoadRecorder::new());
    assert_eq!(drain.serve(std::future::pending(), |_shutdown| async { Err("broken") }).await, Err("broken"));
}
