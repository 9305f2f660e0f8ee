//! What a config says of methods: timeouts, waiting, sizes.

use std::time::{Duration, Instant};

use evenkeel::{CallError, LbChannel, PickOptions};
use lb_testkit::pb::echo_client::EchoClient;
use lb_testkit::pb::{EchoReply, EchoRequest};
use lb_testkit::{EchoServer, ReservedPort};
use serde_json::{Value, json};
use tonic::{Code, Request, Response, Status};

use super::{fake, for_all, listing, slow};
use crate::support::{call_error, quick_backoff, ready, request, soon, target, until};

const SERVICE: &str = "evenkeel.echo.v1.Echo";
const LONG: Duration = Duration::from_secs(30);
const SHORT: Duration = Duration::from_millis(50);

async fn unary(channel: &LbChannel, request: Request<EchoRequest>) -> Result<Response<EchoReply>, Status> {
    soon("a call", EchoClient::new(channel.clone()).unary(request)).await
}

fn bytes(size: usize) -> Request<EchoRequest> {
    Request::new(EchoRequest { payload: vec![7; size].into(), ..EchoRequest::default() })
}

async fn with_config(server: &EchoServer, config: Value) -> LbChannel {
    let channel = LbChannel::builder(server.target()).service_config(config).build().unwrap();
    ready(&channel, 1).await;
    channel
}

#[tokio::test]
async fn the_earlier_of_the_configs_timeout_and_the_calls_own_counts() {
    let server = EchoServer::builder().name("s").record_requests().start().await.unwrap();
    for (of_config, of_call, late) in
        [("0.05s", None, true), ("0.05s", Some(LONG), true), ("30s", Some(SHORT), true), ("30s", None, false)]
    {
        let channel = with_config(&server, for_all(json!({"timeout": of_config}))).await;
        let mut asked = if late { slow(Duration::from_secs(20)) } else { slow(Duration::ZERO) };
        if let Some(timeout) = of_call {
            asked.set_timeout(timeout);
        }
        let begun = Instant::now();
        let result = unary(&channel, asked).await;
        let told = server.last_request().unwrap().headers.contains_key("grpc-timeout");
        assert!(told, "the server is told of a deadline, whoever set it");
        match result {
            Ok(_) => assert!(!late, "{of_config} {of_call:?}"),
            Err(status) => {
                assert!(late && status.code() == Code::DeadlineExceeded, "{of_config} {of_call:?}: {status}");
                assert!(begun.elapsed() >= SHORT && begun.elapsed() < Duration::from_secs(15));
            }
        }
    }
}

#[tokio::test]
async fn the_method_then_its_service_then_the_default_and_case_counts() {
    let server = EchoServer::start("s").await.unwrap();
    let entry =
        |service: &str, method: &str, timeout: &str| json!({"name": [{"service": service, "method": method}], "timeout": timeout});
    for (entries, late) in [
        (json!([entry(SERVICE, "Unary", "0.05s"), entry(SERVICE, "", "30s"), entry("", "", "30s")]), true),
        (json!([entry(SERVICE, "Other", "30s"), entry(SERVICE, "", "0.05s"), entry("", "", "30s")]), true),
        (json!([entry("other.Service", "Unary", "30s"), entry("", "", "0.05s")]), true),
        (json!([entry(SERVICE, "unary", "0.05s"), entry("evenkeel.echo.v1.echo", "", "0.05s")]), false),
        // The particular one counts whole: nothing of the others is merged into it.
        (json!([{"name": [{"service": SERVICE, "method": "Unary"}]}, entry("", "", "0.05s")]), false),
    ] {
        let channel = with_config(&server, json!({"methodConfig": entries})).await;
        let result = unary(&channel, slow(Duration::from_millis(300))).await;
        assert_eq!(result.err().map(|status| status.code()), late.then_some(Code::DeadlineExceeded), "{entries}");
    }
}

#[tokio::test]
async fn a_call_waits_for_ready_if_it_says_so_or_else_its_method_or_else_the_channel() {
    let dead = ReservedPort::new().unwrap();
    for (of_channel, of_config, of_call, waits) in [
        (false, None, None, false),
        (true, None, None, true),
        (false, Some(true), None, true),
        (true, Some(false), None, false),
        (false, Some(true), Some(false), false),
        (true, Some(false), Some(true), true),
    ] {
        let config = for_all(json!({"waitForReady": of_config}));
        let builder = LbChannel::builder(target([dead.addr()])).backoff(quick_backoff()).wait_for_ready(of_channel);
        let channel = builder.service_config(config).build().unwrap();
        let mut asked = slow(Duration::ZERO);
        // Who does not wait may take as long as a busy machine does to be refused.
        asked.set_timeout(if waits { Duration::from_millis(300) } else { LONG });
        if let Some(wait) = of_call {
            asked.extensions_mut().insert(PickOptions::new().wait_for_ready(wait));
        }
        let code = unary(&channel, asked).await.unwrap_err().code();
        let expected = if waits { Code::DeadlineExceeded } else { Code::Unavailable };
        assert_eq!(code, expected, "{of_channel} {of_config:?} {of_call:?}");
    }
}

#[tokio::test]
async fn the_smaller_of_both_limits_of_size_counts_and_zero_lets_empty_messages_through() {
    let server = EchoServer::start("s").await.unwrap();
    // A payload of 100 is a message of 102.
    for (of_channel, field, of_config, fits) in [
        (200, "maxRequestMessageBytes", 102, true),
        (200, "maxRequestMessageBytes", 101, false),
        (101, "maxRequestMessageBytes", 200, false),
        // The reply names the server too, and counts.
        (200, "maxResponseMessageBytes", 150, true),
        (200, "maxResponseMessageBytes", 102, false),
        (102, "maxResponseMessageBytes", 150, false),
    ] {
        let builder = LbChannel::builder(server.target()).service_config(for_all(json!({field: of_config})));
        let channel = builder.max_request_message(of_channel).max_response_message(of_channel).build().unwrap();
        let calls = server.control().calls();
        match unary(&channel, bytes(100)).await {
            Ok(_) => assert!(fits, "{of_channel} {field} {of_config}"),
            Err(status) => {
                assert!(!fits, "{of_channel} {field} {of_config}: {status}");
                assert_eq!(status.code(), Code::ResourceExhausted);
                assert!(matches!(call_error(&status), Some(CallError::MessageTooLarge { .. })), "{status:?}");
                assert_eq!(
                    server.control().calls() - calls,
                    u64::from(field == "maxResponseMessageBytes"),
                    "not sent, not retried"
                );
            }
        }
    }
    let channel = with_config(&server, for_all(json!({"maxRequestMessageBytes": 0}))).await;
    unary(&channel, Request::new(EchoRequest::default())).await.unwrap();
    assert_eq!(unary(&channel, bytes(1)).await.unwrap_err().code(), Code::ResourceExhausted);
}

#[tokio::test]
async fn the_first_call_waits_for_the_resolver_and_goes_by_what_it_brings() {
    let server = EchoServer::start("s").await.unwrap();
    for (config, size, code) in [
        (for_all(json!({"timeout": "0.1s"})), 1, Code::DeadlineExceeded),
        (for_all(json!({"maxRequestMessageBytes": 50})), 100, Code::ResourceExhausted),
        (for_all(json!({"maxResponseMessageBytes": 50})), 100, Code::ResourceExhausted),
    ] {
        let (builder, resolver) = fake();
        // What was there before the resolver spoke does not count any more.
        let before = for_all(json!({"timeout": "30s", "maxRequestMessageBytes": 1000}));
        let channel = builder.service_config(before).build().unwrap();
        let mut asked = bytes(size);
        asked.get_mut().delay_ms = if code == Code::DeadlineExceeded { 20_000 } else { 0 };
        let waiting = tokio::spawn({
            let channel = channel.clone();
            async move { unary(&channel, asked).await }
        });
        until("the call has woken the resolver", || resolver.resolves() == 1).await;
        resolver.update(listing([&server], config.clone()));
        assert_eq!(waiting.await.unwrap().unwrap_err().code(), code, "{config}");
    }
}

#[tokio::test]
async fn the_first_call_of_a_stream_too() {
    let server = EchoServer::start("s").await.unwrap();
    let (builder, resolver) = fake();
    let channel = builder.build().unwrap();
    let waiting = tokio::spawn(async move {
        let messages =
            tokio_stream::iter([request("fits"), EchoRequest { payload: vec![7; 100].into(), ..EchoRequest::default() }]);
        soon("a stream", EchoClient::new(channel).client_stream(messages)).await
    });
    until("the call has woken the resolver", || resolver.resolves() == 1).await;
    resolver.update(listing([&server], for_all(json!({"maxRequestMessageBytes": 50}))));
    assert_eq!(waiting.await.unwrap().unwrap_err().code(), Code::ResourceExhausted);
}

#[tokio::test]
async fn a_timeout_of_the_default_config_ends_a_call_that_waits_for_a_silent_resolver() {
    let (builder, _resolver) = fake();
    let channel = builder.service_config(for_all(json!({"timeout": "0.1s", "waitForReady": true}))).build().unwrap();
    let status = unary(&channel, bytes(1)).await.unwrap_err();
    assert_eq!(status.code(), Code::DeadlineExceeded);
    assert!(matches!(call_error(&status), Some(CallError::DeadlineExceeded { .. })), "{status:?}");
}

#[tokio::test]
async fn a_call_in_progress_keeps_what_it_began_with() {
    let server = EchoServer::start("s").await.unwrap();
    let channel = with_config(&server, json!({})).await;
    let going = tokio::spawn({
        let channel = channel.clone();
        async move { unary(&channel, slow(Duration::from_millis(500))).await }
    });
    until("the call is there", || server.control().active() == 1).await;
    let mut events = channel.subscribe();
    channel.set_service_config(for_all(json!({"timeout": "0.01s"}))).unwrap();
    super::until_changed(&mut events).await;
    assert_eq!(unary(&channel, slow(Duration::from_secs(20))).await.unwrap_err().code(), Code::DeadlineExceeded);
    going.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_pick_without_a_call_is_of_no_method() {
    let server = EchoServer::start("s").await.unwrap();
    let config = for_all(json!({"timeout": "0.000001s", "loadBalancingConfig": [{"pick_first": {}}]}));
    let channel = with_config(&server, config).await;
    drop(soon("a pick", channel.pick(PickOptions::new())).await.unwrap());
    assert_eq!(channel.explain(&PickOptions::new()).unwrap().len(), 1);
}
