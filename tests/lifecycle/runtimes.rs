//! Channels, calls and runtimes that outlive each other.

use std::time::Duration;

use evenkeel::{CallError, ConnectivityState, Events, LbChannel, PickOptions};
use lb_testkit::pb::echo_client::EchoClient;
use lb_testkit::{EchoServer, ReservedPort};
use tokio::runtime::{Builder, Runtime};
use tonic::{Code, Request};

use crate::support::{call, call_error, quick_backoff, ready, request, soon, target, until};

fn runtime() -> Runtime {
    Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap()
}

fn build(runtime: &Runtime, target: String) -> LbChannel {
    runtime.block_on(async { LbChannel::builder(target).backoff(quick_backoff()).build().unwrap() })
}

#[test]
fn a_channel_of_one_runtime_serves_others_and_other_threads() {
    let (servers, first) = (runtime(), runtime());
    let server = servers.block_on(EchoServer::start("s")).unwrap();
    let channel = build(&first, server.target());
    let threads: Vec<_> = (0..4)
        .map(|_| {
            let channel = channel.clone();
            std::thread::spawn(move || {
                let own = Builder::new_current_thread().enable_all().build().unwrap();
                own.block_on(async {
                    for _ in 0..50 {
                        call(&channel).await.unwrap();
                    }
                });
            })
        })
        .collect();
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    assert_eq!((server.calls(), server.accepted()), (200, 1));
}

#[test]
fn a_runtime_that_ends_closes_its_channels_and_nobody_waits_for_ever() {
    let (servers, other, first) = (runtime(), runtime(), runtime());
    let dead = ReservedPort::new().unwrap();
    let server = servers.block_on(EchoServer::start("s")).unwrap();
    let channel = build(&first, server.target());
    let waiting_channel = build(&first, target([dead.addr()]));
    other.block_on(async {
        ready(&channel, 1).await;
        server.hang();
    });
    // One call waits for its answer, one for an endpoint, one for a change of state.
    let asked = other.spawn({
        let channel = channel.clone();
        async move { call(&channel).await }
    });
    let waiting = other.spawn({
        let channel = waiting_channel.clone();
        async move {
            let mut asked = Request::new(request("x"));
            asked.extensions_mut().insert(PickOptions::new().wait_for_ready(true));
            EchoClient::new(channel).unary(asked).await
        }
    });
    let watching = other.spawn({
        let channel = channel.clone();
        async move { channel.wait_for_state_change(ConnectivityState::Ready).await }
    });
    other.block_on(until("both calls are on their way", || {
        server.active() == 1 && waiting_channel.endpoints().first().is_some_and(|endpoint| endpoint.error.is_some())
    }));
    first.shutdown_background();
    other.block_on(async {
        let status = soon("the call that waits for its answer", asked).await.unwrap().unwrap_err();
        assert_eq!(status.code(), Code::Unavailable, "{status}");
        let status = soon("the call that waits for an endpoint", waiting).await.unwrap().unwrap_err();
        assert!(matches!(call_error(&status), Some(CallError::Closed)), "{status:?}");
        assert_eq!(soon("the change of state", watching).await.unwrap(), ConnectivityState::Shutdown);
        // Later calls fail at once, waiting for ready or not.
        for wait in [false, true] {
            let mut asked = Request::new(request("x"));
            asked.extensions_mut().insert(PickOptions::new().wait_for_ready(wait));
            let status = soon("a later call", EchoClient::new(channel.clone()).unary(asked)).await.unwrap_err();
            assert_eq!(status.code(), Code::Unavailable, "{status}");
        }
        // Levers do nothing, and hurt nobody.
        channel.exit_idle();
        channel.drain("10.0.0.1:1");
        assert!(falls_silent(channel.subscribe()).await);
        until("the connection is closed", || server.connections() == 0).await;
    });
}

/// Whether a stream of events ends, or says nothing more after the last of what happened at the end.
async fn falls_silent(mut events: Events) -> bool {
    for _ in 0..10 {
        if !matches!(tokio::time::timeout(Duration::from_millis(20), events.next()).await, Ok(Some(_))) {
            return true;
        }
    }
    false
}
