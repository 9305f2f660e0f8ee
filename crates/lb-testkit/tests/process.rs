//! Servers in processes of their own, the light server, and the counters.

#![allow(clippy::unwrap_used, reason = "a failing helper fails the test")]

mod common;

use std::time::Duration;

use common::{channel, request, soon, until};
use lb_testkit::count::{self, CountingAllocator};
use lb_testkit::netns::{self, Namespace};
use lb_testkit::pb::echo_client::EchoClient;
use lb_testkit::{CALL_ID, EchoProcess, EchoServer, Ledger, LightProcess, LightServer};
use tonic::{Code, Request};

#[global_allocator]
static ALLOCATOR: CountingAllocator = CountingAllocator;

#[tokio::test]
async fn killed_by_a_signal_and_back_on_the_same_port() {
    let mut server = EchoProcess::spawn("child").await.unwrap();
    let (addr, id) = (server.addr(), server.id());
    let mut client = EchoClient::new(channel(server.uri()));
    assert_eq!(soon(client.unary(request("a"))).await.unwrap().into_inner().server, "child");
    server.kill().await.unwrap();
    assert!(soon(client.unary(request("a"))).await.is_err());
    server.restart().await.unwrap();
    assert_eq!(server.addr(), addr);
    assert_ne!(server.id(), id);
    soon(async { while client.unary(request("a")).await.is_err() {} }).await;
}

#[tokio::test]
async fn what_it_executed_is_known_after_it_was_killed() {
    let ledger = Ledger::new().unwrap();
    let mut killed = EchoProcess::spawn_with("child", &["--ledger", ledger.path().to_str().unwrap()]).await.unwrap();
    let other = EchoServer::builder().ledger(ledger.path()).start().await.unwrap();
    let named = |id: &'static str| {
        let mut request = Request::new(request("a"));
        request.metadata_mut().insert(CALL_ID, id.parse().unwrap());
        request
    };
    let mut client = EchoClient::new(channel(killed.uri()));
    soon(client.unary(named("one"))).await.unwrap();
    soon(client.unary(named("both"))).await.unwrap();
    soon(client.unary(request("without a name"))).await.unwrap();
    killed.kill().await.unwrap();
    soon(common::client(&other).unary(named("both"))).await.unwrap();
    let executed: Vec<_> = ledger.executed().unwrap().into_iter().collect();
    assert_eq!(executed, [("both".to_owned(), 2), ("one".to_owned(), 1)]);
}

#[tokio::test]
async fn frozen_it_answers_nothing_until_thawed() {
    let mut server = EchoProcess::spawn("child").await.unwrap();
    let mut client = EchoClient::new(channel(server.uri()));
    soon(client.unary(request("a"))).await.unwrap();
    server.freeze().await.unwrap();
    let mut stuck = client.clone();
    let mut call = tokio::spawn(async move { stuck.unary(request("a")).await });
    assert!(tokio::time::timeout(Duration::from_millis(50), &mut call).await.is_err());
    server.thaw().await.unwrap();
    soon(call).await.unwrap().unwrap();
    server.tell("fail 5").await.unwrap();
    soon(async { while client.unary(request("a")).await.err().map(|status| status.code()) != Some(Code::NotFound) {} }).await;
}

#[tokio::test]
async fn the_light_server_echoes_in_this_process_and_in_another() {
    let here = LightServer::start(3, 2).unwrap();
    let there = LightProcess::spawn(2, 1).await.unwrap();
    assert_eq!((here.addrs().len(), there.addrs().len()), (3, 2));
    for addr in here.addrs().iter().chain(there.addrs()) {
        let mut client = EchoClient::new(channel(format!("http://{addr}"))).max_decoding_message_size(usize::MAX);
        for size in [0, 100, 300_000] {
            let sent = lb_testkit::pb::EchoRequest { payload: vec![1; size].into(), ..Default::default() };
            assert_eq!(soon(client.unary(sent.clone())).await.unwrap().into_inner().payload, sent.payload);
        }
        let (requests, outgoing) = tokio::sync::mpsc::channel(1);
        let outgoing = tokio_stream::wrappers::ReceiverStream::new(outgoing);
        let mut replies = soon(client.bidi(outgoing)).await.unwrap().into_inner();
        for payload in ["a", "bb", ""] {
            requests.send(request(payload)).await.unwrap();
            assert_eq!(soon(replies.message()).await.unwrap().unwrap().payload, payload, "before the stream has ended");
        }
        drop(requests);
        assert_eq!(soon(replies.message()).await.unwrap(), None);
    }
}

#[tokio::test]
async fn sockets_and_tasks_are_counted() {
    let (tasks, sockets) = (count::tasks(), count::sockets().unwrap());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    assert_eq!(count::sockets().unwrap(), sockets + 1);
    let task = tokio::spawn(std::future::pending::<()>());
    assert_eq!(count::tasks(), tasks + 1);
    task.abort();
    drop(listener);
    until(|| count::tasks() == tasks).await;
    assert_eq!(count::sockets().unwrap(), sockets);
}

#[test]
fn allocations_are_counted_by_thread_and_overall() {
    let all = count::allocations_of_all_threads();
    let (boxed, counted) = count::allocations(|| Box::new(std::hint::black_box(1_u64)));
    assert_eq!((*boxed, counted), (1, 1));
    assert_eq!(count::allocations(|| std::hint::black_box(1)).1, 0);
    assert!(count::allocations_of_all_threads() > all);
}

#[test]
fn memory_is_counted() {
    const SIZE: usize = 64 << 20;
    let (heap, resident) = (count::heap_bytes(), count::resident_bytes().unwrap());
    // Other tests of this program may run meanwhile; they move far less.
    let near = |bytes: usize| count::heap_bytes().abs_diff(heap + bytes as u64) < 16 << 20;
    let mut bytes = vec![1_u8; SIZE];
    assert!(near(SIZE) && count::resident_bytes().unwrap() >= resident + (SIZE as u64) / 2);
    bytes.reserve_exact(SIZE);
    assert!(near(2 * SIZE));
    bytes.truncate(SIZE / 2);
    bytes.shrink_to_fit();
    assert!(near(SIZE / 2));
    drop(std::hint::black_box(bytes));
    assert!(near(0));
}

#[tokio::test]
async fn behind_a_pulled_cable_nothing_is_heard_and_nothing_is_lost_when_it_is_plugged_in() {
    if !netns::apart() {
        return;
    }
    let server = EchoProcess::spawn_in(Namespace::new().unwrap(), "far", &[]).await.unwrap();
    let mut client = EchoClient::new(channel(server.uri()));
    assert_eq!(soon(client.unary(request("a"))).await.unwrap().into_inner().server, "far");
    server.namespace().unwrap().pull().unwrap();
    let mut call = tokio::spawn(async move { client.unary(request("a")).await });
    assert!(tokio::time::timeout(Duration::from_millis(100), &mut call).await.is_err());
    server.namespace().unwrap().plug().unwrap();
    soon(call).await.unwrap().unwrap();
}
