//! Calls of all kinds, their options and their ends.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::StreamExt;
use lb_core::Address;
use lb_testkit::pb::EchoRequest;
use lb_testkit::pb::echo_client::EchoClient;
use lb_testkit::{EchoServer, count};
use lb_tonic::{LbChannel, PickedEndpoint, TonicConnector};
use lb_transport::CloseReason;
use tokio::net::TcpStream;
use tonic::Code;

use crate::support::*;

#[tokio::test]
async fn all_four_kinds_of_call() {
    let (a, b) = (EchoServer::start("a").await.unwrap(), EchoServer::start("b").await.unwrap());
    let channel = builder(&[&a, &b], plain()).build().unwrap();
    ready(&channel, &[&a, &b]).await;
    let mut client = EchoClient::new(channel);

    let reply = client.unary(request("hello")).await.unwrap();
    assert!(reply.extensions().get::<PickedEndpoint>().is_some());
    assert_eq!(reply.into_inner().payload, "hello");
    let five = EchoRequest { count: 5, ..request("x") };
    assert_eq!(client.server_stream(five).await.unwrap().into_inner().count().await, 5);
    let three = tokio_stream::iter([request("1"), request("2"), request("3")]);
    assert_eq!(client.client_stream(three).await.unwrap().into_inner().received, 3);
    let (send, receive) = tokio::sync::mpsc::channel(1);
    let requests = tokio_stream::wrappers::ReceiverStream::new(receive);
    let mut replies = client.bidi(requests).await.unwrap().into_inner();
    for payload in ["1", "2", "3"] {
        send.send(request(payload)).await.unwrap();
        assert_eq!(soon("a reply", replies.message()).await.unwrap().unwrap().payload, payload);
    }
    drop(send);
    assert!(soon("the end", replies.message()).await.unwrap().is_none());
    assert!(a.calls() == 2 && b.calls() == 2, "round robin over both: {} and {}", a.calls(), b.calls());
}

#[tokio::test]
async fn options_and_authority_reach_the_server() {
    let server = EchoServer::builder().record_requests().start().await.unwrap();
    let connector = TonicConnector::try_new(|endpoint| endpoint.user_agent("orders/1.0"));
    let channel = builder(&[&server], connector).build().unwrap();
    call(&channel).await.unwrap();
    let head = server.last_request().unwrap();
    assert_eq!(head.uri, "http://orders.test/evenkeel.echo.v1.Echo/Unary");
    assert!(head.headers["user-agent"].to_str().unwrap().starts_with("orders/1.0 tonic/"));
}

#[tokio::test]
async fn wrong_options_are_said() {
    let server = EchoServer::start("a").await.unwrap();
    let connector = TonicConnector::try_new(|endpoint| endpoint.user_agent("no\nuser agent"));
    let error = connect(&connector, &[server.address()]).await.unwrap_err().to_string();
    assert!(error.contains("user agent is not a valid header value") && error.contains(&server.addr().to_string()), "{error}");
}

#[tokio::test]
async fn the_status_of_the_server_comes_through() {
    let server = EchoServer::start("a").await.unwrap();
    let channel = builder(&[&server], plain()).build().unwrap();
    server.fail_next(1, Code::FailedPrecondition);
    assert_eq!(call(&channel).await.unwrap_err().code(), Code::FailedPrecondition);
    let mut replies =
        EchoClient::new(channel).server_stream(EchoRequest { fail_with: 10, ..request("x") }).await.unwrap().into_inner();
    assert_eq!(replies.message().await.unwrap_err().code(), Code::Aborted);
}

#[tokio::test]
async fn deadlines_of_either_side_are_exceeded_and_not_cancelled() {
    let server = EchoServer::start("a").await.unwrap();
    server.hang();
    let short = Duration::from_millis(50);
    let channel = builder(&[&server], plain()).timeout(short).build().unwrap();
    assert_eq!(call(&channel).await.unwrap_err().code(), Code::DeadlineExceeded);
    let channel = builder(&[&server], TonicConnector::new(move |endpoint| endpoint.timeout(short))).build().unwrap();
    assert_eq!(call(&channel).await.unwrap_err().code(), Code::DeadlineExceeded);
    until("the server is told", || server.active() == 0).await;
}

#[cfg(unix)]
#[tokio::test]
async fn unix_sockets() {
    let path = std::env::temp_dir().join(format!("evenkeel-tonic-connector-{}.sock", std::process::id()));
    let server = EchoServer::builder().unix(&path).start().await.unwrap();
    let channel = LbChannel::builder(server.target()).connector(plain()).build().unwrap();
    assert_eq!(call(&channel).await.unwrap().payload, "x");
    std::fs::remove_file(path).unwrap();
}

#[tokio::test]
async fn streams_can_be_opened_in_ones_own_way() {
    let server = EchoServer::start("a").await.unwrap();
    let (real, dialled) = (server.addr(), Arc::<AtomicUsize>::default());
    let counted = Arc::clone(&dialled);
    let connector = plain().dial_with(move |address| {
        assert_eq!(address, "192.0.2.1:1".parse().unwrap());
        counted.fetch_add(1, Ordering::Relaxed);
        TcpStream::connect(real)
    });
    let connection = connect(&connector, &["192.0.2.1:1".parse::<Address>().unwrap()]).await.unwrap();
    send(&connection.transport).await.unwrap();
    assert_eq!((dialled.load(Ordering::Relaxed), connection.address.to_string()), (1, "192.0.2.1:1".to_owned()));
}

#[tokio::test]
async fn a_graceful_close_lets_calls_finish_and_an_abort_does_not() {
    let server = EchoServer::start("a").await.unwrap();
    for abort in [false, true] {
        let connection = connect(&plain(), &[server.address()]).await.unwrap();
        server.set_latency(lb_testkit::Latency::Fixed(Duration::from_millis(200)));
        let transport = connection.transport.clone();
        let calling = tokio::spawn(async move { send(&transport).await });
        until("the call has arrived", || server.active() == 1).await;
        if abort {
            connection.handle.abort()
        } else {
            connection.handle.close()
        }
        assert_eq!(connection.closed.await, CloseReason::Closed);
        let error = send(&connection.transport).await.unwrap_err();
        assert_eq!(kind(&error), Some(lb_transport::TransportErrorKind::NotSent));
        assert_eq!(calling.await.unwrap().is_err(), abort);
        until("the socket is closed", || server.connections() == 0).await;
    }
}

/// The channel has a runtime of its own, so that what is counted there is the channel's.
#[tokio::test]
async fn nothing_is_left_behind() {
    let (a, b) = (EchoServer::start("a").await.unwrap(), EchoServer::start("b").await.unwrap());
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let build = || {
        let _entered = runtime.enter();
        builder(&[&a, &b], plain()).build().unwrap()
    };
    let sockets = count::sockets().unwrap();
    let open = || (runtime.metrics().num_alive_tasks(), count::sockets().unwrap() - sockets, a.connections() + b.connections());

    let channel = build();
    ready(&channel, &[&a, &b]).await;
    for _ in 0..10 {
        call(&channel).await.unwrap();
    }
    assert!(open() > (1, 2, 1), "{:?}", open());
    drop(channel);
    until("a READY channel has closed everything", || open() == (0, 0, 0)).await;

    a.hang();
    b.hang();
    let channel = build();
    let calls: Vec<_> = (0..20)
        .map(|_| {
            let channel = channel.clone();
            tokio::spawn(async move { call(&channel).await })
        })
        .collect();
    until("the calls have arrived", || a.active() + b.active() == 20).await;
    calls.iter().for_each(tokio::task::JoinHandle::abort);
    drop((calls, channel));
    until("cancelled calls have closed everything", || open() == (0, 0, 0) && a.active() + b.active() == 0).await;
    runtime.shutdown_background();
}
