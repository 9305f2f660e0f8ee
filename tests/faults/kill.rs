//! An endpoint is killed by SIGKILL under load, and started again.

use std::time::{Duration, Instant};

use evenkeel::transport::TransportConfig;
use evenkeel::{BackoffConfig, CallError, ConnectivityState, LbChannel, PickOptions};
use lb_testkit::EchoProcess;
use lb_testkit::pb::EchoRequest;
use lb_testkit::pb::echo_client::EchoClient;
use tonic::{Code, Request};

use crate::support::{Load, call, call_error, info, picked, quick_backoff, ready, soon, target, until, until_state};

const CALLERS: usize = 16;

async fn processes(count: usize) -> Vec<EchoProcess> {
    let mut processes = Vec::new();
    for index in 0..count {
        processes.push(EchoProcess::spawn(&format!("s{index}")).await.unwrap());
    }
    processes
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_calls_in_flight_on_it_fail_and_it_gets_no_pick_once_it_is_gone() {
    let mut processes = processes(3).await;
    let longest = Duration::from_millis(800);
    let backoff = BackoffConfig::try_new(Duration::from_millis(100), 1.6, longest, 0.2, Duration::from_secs(5)).unwrap();
    let addrs: Vec<_> = processes.iter().map(EchoProcess::addr).collect();
    let channel = LbChannel::builder(target(addrs.clone())).backoff(backoff).build().unwrap();
    ready(&channel, 3).await;
    let (victim, key) = (addrs[1], addrs[1].to_string());

    // Slow enough for calls to be in flight at any moment, and on the victim too.
    let load = Load::start(&channel, CALLERS, &EchoRequest { delay_ms: 2, ..EchoRequest::default() });
    load.goes_on(200).await;
    processes[1].kill().await.unwrap();
    soon("the victim leaves READY", async {
        while info(&channel, victim).state == ConnectivityState::Ready {
            tokio::task::yield_now().await;
        }
    })
    .await;
    load.goes_on(300).await;
    // From here on a pick of the victim would show as a second attempt, or as its server's name.
    for _ in 0..300 {
        let reply = call(&channel).await.unwrap();
        let (endpoint, attempts) = picked(&reply);
        assert_ne!(endpoint, key);
        assert_eq!(attempts, 1, "a pick went to a connection that is gone");
    }
    let tally = load.stop().await;
    assert!(tally.failures.len() <= CALLERS, "more failed than could be in flight: {}", tally.failures.len());
    for status in &tally.failures {
        assert_eq!(status.code(), Code::Unavailable, "{status}");
        assert!(status.message().contains(&key), "{status}");
        assert!(matches!(call_error(status), Some(CallError::Lost { endpoint, .. }) if endpoint.as_str() == key), "{status:?}");
    }
    assert_eq!(info(&channel, victim).in_flight, 0);

    // No call is made from here until it is back.
    processes[1].restart().await.unwrap();
    let restarted = Instant::now();
    until_state(&channel, victim, ConnectivityState::Ready).await;
    let took = restarted.elapsed();
    // One backoff with its jitter; the rest is for a busy machine.
    assert!(took < longest.mul_f64(1.2) + Duration::from_secs(3), "it took {took:?} to come back");
    let load = Load::start(&channel, CALLERS, &EchoRequest::default());
    load.goes_on(300).await;
    let tally = load.stop().await;
    tally.all_succeeded();
    assert!(tally.by_server["s1"] >= tally.ok / 4, "{:?}", tally.by_server);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_last_one_killed_fails_calls_at_once_and_recovers_by_itself() {
    let mut processes = processes(1).await;
    let addr = processes[0].addr();
    let channel = LbChannel::builder(target([addr])).backoff(quick_backoff()).build().unwrap();
    ready(&channel, 1).await;
    processes[0].kill().await.unwrap();
    until_state(&channel, addr, ConnectivityState::TransientFailure).await;
    let status = call(&channel).await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
    assert!(matches!(call_error(&status), Some(CallError::NoEndpoint { .. })), "{status:?}");
    assert!(status.message().contains(&addr.to_string()) && status.message().contains("refused"), "{status}");
    processes[0].restart().await.unwrap();
    until_state(&channel, addr, ConnectivityState::Ready).await;
    call(&channel).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_in_the_middle_ends_with_its_endpoint_named() {
    let mut processes = processes(2).await;
    let addrs: Vec<_> = processes.iter().map(EchoProcess::addr).collect();
    let channel = LbChannel::builder(target(addrs.clone())).backoff(quick_backoff()).build().unwrap();
    ready(&channel, 2).await;
    let mut asked = Request::new(EchoRequest { count: u32::MAX, delay_ms: 1, ..EchoRequest::default() });
    asked.extensions_mut().insert(PickOptions::new().pin(&*addrs[0].to_string()));
    let mut stream = EchoClient::new(channel.clone()).server_stream(asked).await.unwrap().into_inner();
    soon("a message", stream.message()).await.unwrap().unwrap();
    processes[0].kill().await.unwrap();
    let status = soon("the stream ends", async {
        loop {
            if let Err(status) = stream.message().await {
                return status;
            }
        }
    })
    .await;
    assert_eq!(status.code(), Code::Unavailable, "{status}");
    assert!(matches!(call_error(&status), Some(CallError::Lost { endpoint, .. }) if endpoint.as_str() == addrs[0].to_string()));
    let shown = info(&channel, addrs[0]);
    assert_eq!((shown.in_flight, shown.failed), (0, 1));
}

/// SIGSTOP: the kernel goes on acknowledging, and nobody answers. Only keepalive can tell.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_frozen_process_is_left_and_taken_back_when_it_thaws() {
    let processes = processes(2).await;
    let addrs: Vec<_> = processes.iter().map(EchoProcess::addr).collect();
    let (time, timeout) = (Duration::from_millis(200), Duration::from_millis(500));
    let transport = TransportConfig::new().keepalive_time_unchecked(time).keepalive_timeout(timeout).keepalive_without_calls(true);
    let builder = LbChannel::builder(target(addrs.clone())).transport(transport).backoff(quick_backoff());
    let channel = builder.build().unwrap();
    ready(&channel, 2).await;
    processes[0].freeze().await.unwrap();
    soon("the frozen one leaves READY", async {
        while info(&channel, addrs[0]).state == ConnectivityState::Ready {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    })
    .await;
    for _ in 0..100 {
        assert_eq!(picked(&call(&channel).await.unwrap()), (addrs[1].to_string(), 1));
    }
    processes[0].thaw().await.unwrap();
    until_state(&channel, addrs[0], ConnectivityState::Ready).await;
}

/// With one stream at a time all calls but one wait for theirs: they were not sent, so none of them may fail.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_that_were_not_sent_never_fail() {
    let flags = ["--max-concurrent-streams", "1"];
    let mut victim = EchoProcess::spawn_with("victim", &flags).await.unwrap();
    let other = EchoProcess::spawn_with("other", &flags).await.unwrap();
    let channel = LbChannel::builder(target([victim.addr(), other.addr()])).backoff(quick_backoff()).build().unwrap();
    ready(&channel, 2).await;
    let calls: Vec<_> = (0..100)
        .map(|_| {
            let mut client = EchoClient::new(channel.clone());
            tokio::spawn(async move { client.unary(EchoRequest { delay_ms: 10, ..EchoRequest::default() }).await })
        })
        .collect();
    until("half of the calls are at the victim", || info(&channel, victim.addr()).in_flight > 40).await;
    victim.kill().await.unwrap();
    let mut failed = 0;
    for call in calls {
        if let Err(status) = soon("a call", call).await.unwrap() {
            assert_eq!(status.code(), Code::Unavailable, "{status}");
            assert!(status.message().contains(&victim.addr().to_string()), "{status}");
            failed += 1;
        }
    }
    assert!(failed <= 1, "{failed} calls failed, of which one at most was on its way");
}
