//! What retries and hedges amount to for a whole channel: calls that survive, no more attempts than help, and nothing left behind.

use std::time::{Duration, Instant};

use evenkeel::retry::{HedgingPolicy, RetryPolicy, Throttling};
use evenkeel::stages::OutlierConfig;
use evenkeel::{LbChannel, LbChannelBuilder};
use lb_testkit::EchoServer;
use lb_testkit::pb::EchoRequest;
use lb_testkit::pb::echo_client::EchoClient;
use serde_json::{Value, json};
use tonic::{Code, Request, Status};

use crate::scripted::{Act, Scripted, unavailable};
use crate::support::{Dice, call, in_flight, ready, request, servers, soon, target, target_of, until};

fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn quick() -> RetryPolicy {
    RetryPolicy::default().with_initial_backoff(ms(1)).unwrap().with_max_backoff(ms(5)).unwrap()
}

fn attempts(servers: &[EchoServer]) -> u64 {
    servers.iter().map(|server| server.calls()).sum()
}

/// Makes so many calls one after the other; how many succeed.
async fn calls(channel: &LbChannel, count: u64) -> u64 {
    let mut client = EchoClient::new(channel.clone());
    let mut succeeded = 0;
    for _ in 0..count {
        succeeded += u64::from(soon("a call", client.unary(request("x"))).await.is_ok());
    }
    succeeded
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn thirty_percent_of_endpoints_failing_are_not_noticed_and_soon_not_tried() {
    let servers = servers(10).await;
    servers[..3].iter().for_each(|server| server.fail(Code::Unavailable));
    let measure = json!({"threshold": 50, "minimumHosts": 3, "requestVolume": 5});
    // As long as it takes to make the first thousand calls, and more: ejection is what ends the extra attempts.
    let outliers = json!({
        "interval": "1s", "baseEjectionTime": "60s", "maxEjectionPercent": 40, "failurePercentageEjection": measure,
    });
    let outliers = OutlierConfig::from_json(&outliers).unwrap();
    let builder = LbChannel::builder(target_of(&servers)).policy("round_robin").retry(quick()).outlier_detection(outliers);
    let channel = builder.build().unwrap();
    ready(&channel, 10).await;
    let (mut made, mut succeeded) = (0, 0);
    let began = Instant::now();
    let ready_ones = || channel.endpoints().iter().filter(|endpoint| endpoint.state == evenkeel::ConnectivityState::Ready).count();
    while made < 1000 || ready_ones() > 7 {
        succeeded += calls(&channel, 100).await;
        made += 100;
        assert!(began.elapsed() < Duration::from_secs(40), "not ejected");
    }
    let took = began.elapsed();
    let per_call = attempts(&servers) as f64 / made as f64;
    println!("{succeeded} of {made} calls, {per_call:.3} attempts each, ejected after at most {took:?}");
    assert!(succeeded as f64 > 0.999 * made as f64, "{succeeded} of {made}");
    assert!(per_call < 1.6, "{per_call} attempts per call");

    let before = attempts(&servers);
    assert_eq!(calls(&channel, 1000).await, 1000);
    assert_eq!(attempts(&servers) - before, 1000, "one attempt per call once they are ejected");
    assert_eq!(in_flight(&channel), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_endpoints_failing_are_not_overrun() {
    let servers = servers(3).await;
    servers.iter().for_each(|server| server.fail(Code::Unavailable));
    let builder = LbChannel::builder(target_of(&servers)).policy("round_robin").retry(quick());
    let channel = builder.retry_throttling(Throttling::default()).build().unwrap();
    ready(&channel, 3).await;
    assert_eq!(calls(&channel, 200).await, 0);
    let per_call = attempts(&servers) as f64 / 200.0;
    println!("{per_call:.3} attempts per call");
    assert!(per_call < 1.2, "{per_call} attempts per call");

    // And they are retried again once calls succeed.
    servers.iter().for_each(|server| server.heal());
    assert_eq!(calls(&channel, 100).await, 100);
    servers[0].fail_next(1, Code::Unavailable);
    let before = attempts(&servers);
    assert_eq!((calls(&channel, 10).await, attempts(&servers) - before), (10, 11));
}

/// A retry policy in gRPC's JSON.
fn policy(attempts: u32) -> Value {
    json!({
        "maxAttempts": attempts, "initialBackoff": "0.001s", "maxBackoff": "0.005s", "backoffMultiplier": 2,
        "retryableStatusCodes": ["UNAVAILABLE"],
    })
}

#[tokio::test]
async fn a_service_config_says_which_methods_are_repeated_and_how() {
    let server = Scripted::start(|_| unavailable()).await;
    let config = json!({
        "methodConfig": [
            {"name": [{"service": "evenkeel.echo.v1.Echo", "method": "Unary"}], "retryPolicy": policy(3)},
            {"name": [{"service": "evenkeel.echo.v1.Echo", "method": "ClientStream"}],
             "hedgingPolicy": {"maxAttempts": 9, "hedgingDelay": "30s", "nonFatalStatusCodes": [14]}},
        ],
    });
    type Change = fn(LbChannelBuilder) -> LbChannelBuilder;
    let changes: [(Change, [usize; 3]); 4] = [
        (|builder| builder, [3, 5, 1]),
        // The channel's own policy is for methods that have none.
        (|builder| builder.retry(RetryPolicy::two_from_100_ms()), [3, 5, 3]),
        (|builder| builder.max_attempts(2), [2, 2, 1]),
        (LbChannelBuilder::disable_retries, [1, 1, 1]),
    ];
    for (change, expected) in changes {
        let channel = change(LbChannel::builder(target([server.addr()])).service_config(config.clone())).build().unwrap();
        ready(&channel, 1).await;
        let mut counts = Vec::new();
        for kind in 0..3 {
            let before = server.calls();
            let mut client = EchoClient::new(channel.clone());
            let failed = match kind {
                0 => client.unary(request("x")).await.is_err(),
                1 => client.client_stream(tokio_stream::iter([request("x")])).await.is_err(),
                _ => client.server_stream(request("x")).await.is_err(),
            };
            assert!(failed);
            counts.push(server.calls() - before);
        }
        assert_eq!(counts, expected);
    }
}

#[tokio::test]
async fn throttling_follows_the_service_config() {
    let server = Scripted::start(|_| unavailable()).await;
    let builder = LbChannel::builder(target([server.addr()])).retry(RetryPolicy::from_json(&policy(4)).unwrap());
    let channel = builder.build().unwrap();
    ready(&channel, 1).await;
    let hits = async || {
        let before = server.calls();
        call(&channel).await.unwrap_err();
        server.calls() - before
    };
    assert_eq!([hits().await, hits().await], [4, 4]);
    channel.set_service_config(json!({"retryThrottling": {"maxTokens": 4, "tokenRatio": 1}})).unwrap();
    until("it counts", || channel.service_config().is_some()).await;
    assert_eq!([hits().await, hits().await], [2, 1]);
    channel.set_service_config(json!({})).unwrap();
    until("it counts", || channel.service_config().is_some_and(|config| config.throttling.is_none())).await;
    assert_eq!(hits().await, 4);
}

/// What a server does with a call, by chance: replies, fails, fails late, or hangs.
async fn fickle(seed: u64) -> Scripted {
    Scripted::start(move |call| {
        let dice = |sides| Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ ((call as u64) << 7)).below(sides);
        match dice(100) {
            0..45 => Act::Reply,
            45..70 => Act::Fail(Status::unavailable("by chance")),
            70..80 => Act::Fail(Status::internal("by chance")),
            80..90 => Act::FailAfter(ms(3), Status::unavailable("by chance")),
            90..95 => Act::FailLate(Status::unavailable("by chance")),
            _ => Act::Hang,
        }
    })
    .await
}

/// Calls of every kind, dropped at random moments or left to their deadlines: afterwards nothing is in flight anywhere.
async fn nothing_is_left_behind(seed: u64, with: impl Fn(LbChannelBuilder) -> LbChannelBuilder) {
    let servers = [fickle(seed).await, fickle(seed + 1).await, fickle(seed + 2).await];
    let builder = LbChannel::builder(target(servers.iter().map(Scripted::addr))).policy("least_request").seed(seed);
    let channel = with(builder).build().unwrap();
    ready(&channel, 3).await;
    let mut dice = Dice(seed);
    for _ in 0..12 {
        let calling: Vec<_> = (0..12)
            .map(|kind| {
                let (mut client, size) = (EchoClient::new(channel.clone()), dice.below(20_000));
                let message = EchoRequest { payload: vec![7; size].into(), count: 3, ..EchoRequest::default() };
                let mut asked = Request::new(message.clone());
                asked.set_timeout(ms(60));
                tokio::spawn(async move {
                    let messages = tokio_stream::iter(std::iter::repeat_n(message, 5));
                    match kind % 4 {
                        0 => drop(client.unary(asked).await),
                        1 => {
                            let Ok(replies) = client.server_stream(asked).await else { return };
                            let mut replies = replies.into_inner();
                            while let Ok(Some(_)) = replies.message().await {}
                        }
                        2 => drop(client.client_stream(messages).await),
                        _ => {
                            let Ok(replies) = client.bidi(messages).await else { return };
                            let mut replies = replies.into_inner();
                            while let Ok(Some(_)) = replies.message().await {}
                        }
                    }
                })
            })
            .collect();
        tokio::time::sleep(Duration::from_micros(dice.below(12_000) as u64)).await;
        for (index, call) in calling.iter().enumerate() {
            if index % 4 > 1 || dice.below(2) == 0 {
                call.abort();
            }
        }
        for call in calling {
            let _ = soon("a call ends or was dropped", call).await;
        }
    }
    until("nothing is in flight", || in_flight(&channel) == 0).await;
    until("no server works on anything", || servers.iter().all(|server| server.active() == 0)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn retries_leave_nothing_behind() {
    for seed in 1..4 {
        let policy = quick().with_attempt_timeout(ms(20)).unwrap();
        nothing_is_left_behind(seed, |builder| builder.retry(policy.clone()).retry_buffer(32 * 1024, 128 * 1024)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hedges_leave_nothing_behind() {
    for seed in 10..13 {
        let policy = HedgingPolicy::try_new(3, ms(seed % 3)).unwrap().with_non_fatal([Code::Unavailable]).unwrap();
        nothing_is_left_behind(seed, |builder| builder.hedging(policy.clone()).retry_buffer(32 * 1024, 128 * 1024)).await;
    }
}
