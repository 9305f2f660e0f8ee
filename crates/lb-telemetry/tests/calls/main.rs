//! Scripted runs, read as a scraper would, against gRPC's tables: names, units, labels, buckets and values.
#![cfg(feature = "prometheus")]
#![allow(clippy::unwrap_used, reason = "a failing helper fails the test")]

mod exposition;

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use lb_core::retry::{HedgingPolicy, RetryPolicy};
use lb_core::stages::OutlierConfig;
use lb_core::{Endpoint, Locality};
use lb_telemetry::{CallLabel, MetricsConfig, Prometheus};
use lb_testkit::pb::echo_client::EchoClient;
use lb_testkit::pb::{EchoReply, EchoRequest};
use lb_testkit::{EchoServer, FakeResolver, FakeResolverHandle, RawServer};
use lb_tonic::{LbChannel, LbChannelBuilder};
use tonic::{Code, Request};

use exposition::Exposition;

const TARGET: &str = "fake:///orders";
const UNARY: &str = "evenkeel.echo.v1.Echo/Unary";

/// gRPC's buckets (A66 and A96), as the text form writes them.
const LATENCY: &str = "0 0.00001 0.00005 0.0001 0.0003 0.0006 0.0008 0.001 0.002 0.003 0.004 0.005 0.006 0.008 0.01 0.013 0.016 0.02 \
    0.025 0.03 0.04 0.05 0.065 0.08 0.1 0.13 0.16 0.2 0.25 0.3 0.4 0.5 0.65 0.8 1 2 5 10 20 50 100 +Inf";
const SIZE: &str = "0 1024 2048 4096 16384 65536 262144 1048576 4194304 16777216 67108864 268435456 1073741824 4294967296 +Inf";

struct Run {
    prometheus: Prometheus,
    channel: LbChannel,
    resolver: FakeResolverHandle,
}

async fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let limit = tokio::time::Instant::now() + Duration::from_secs(40);
    while !condition() {
        assert!(tokio::time::Instant::now() < limit, "not in time: {what}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// A channel that is observed, with all these endpoints connected.
async fn run(config: MetricsConfig, endpoints: Vec<Endpoint>, shape: impl FnOnce(LbChannelBuilder) -> LbChannelBuilder) -> Run {
    let prometheus = Prometheus::new(config).unwrap();
    let (resolver, handle) = FakeResolver::new("fake");
    let metrics = prometheus.metrics();
    let builder = LbChannel::builder(TARGET).resolver(resolver).observer(metrics.observer(TARGET));
    let channel = shape(builder.call_observer(metrics.calls(TARGET))).build().unwrap();
    metrics.watch(&channel);
    channel.exit_idle();
    let count = endpoints.len();
    handle.endpoints(endpoints);
    until("all are connected", || channel.stats().totals.taking_calls == count).await;
    Run { prometheus, channel, resolver: handle }
}

impl Run {
    fn read(&self) -> Exposition {
        Exposition::read(&self.prometheus.text().unwrap())
    }

    async fn call(&self, request: impl tonic::IntoRequest<EchoRequest>) -> Result<EchoReply, tonic::Status> {
        EchoClient::new(self.channel.clone()).unary(request).await.map(tonic::Response::into_inner)
    }
}

fn failing(code: Code) -> EchoRequest {
    EchoRequest { fail_with: code as u32, ..EchoRequest::default() }
}

fn quick_retries() -> RetryPolicy {
    let policy = RetryPolicy::default().with_max_attempts(3).unwrap();
    policy.with_initial_backoff(Duration::from_millis(1)).unwrap().with_max_backoff(Duration::from_millis(1)).unwrap()
}

fn of_method(method: &str) -> Vec<(&str, &str)> {
    vec![("grpc_method", method), ("grpc_target", TARGET)]
}

fn with_status<'a>(method: &'a str, status: &'a str) -> Vec<(&'a str, &'a str)> {
    let mut labels = of_method(method);
    labels.push(("grpc_status", status));
    labels
}

#[tokio::test]
async fn a_unary_call_is_one_of_each_with_sizes_as_compressed() {
    let server = EchoServer::start("s").await.unwrap();
    let run = run(MetricsConfig::new(), vec![server.endpoint()], |builder| builder).await;
    let request = EchoRequest { payload: vec![7; 3000].into(), ..EchoRequest::default() };
    let sent = prost::Message::encoded_len(&request);
    let reply = run.call(request).await.unwrap();
    let text = run.read();
    let labels = with_status(UNARY, "OK");
    text.counter("grpc_client_attempt_started_total", "Number of client call attempts started.").only(&of_method(UNARY), 1.0);
    for name in ["grpc_client_attempt_duration_seconds", "grpc_client_call_duration_seconds"] {
        let series = text.histogram(name).only(&labels);
        assert_eq!((series.count, &*series.bounds), (1, LATENCY), "{name}");
        assert!(series.sum > 0.0 && series.sum < 40.0, "{name}: {}", series.sum);
    }
    for (direction, size) in [("sent", sent), ("rcvd", prost::Message::encoded_len(&reply))] {
        let series = text.histogram(&format!("grpc_client_attempt_{direction}_total_compressed_message_size_bytes")).only(&labels);
        assert_eq!((series.count, series.sum, &*series.bounds), (1, size as f64, SIZE), "{direction}");
        assert_eq!((series.at("2048"), series.at("4096")), (0, 1), "{direction}");
    }
    for name in ["retries", "transparent_retries", "hedges", "retry_delay_seconds"] {
        assert!(!text.has(&format!("grpc_client_call_{name}")), "{name} is zero, and not recorded");
    }
}

#[tokio::test]
async fn retries_are_attempts_of_one_call_and_counted_at_its_end() {
    let server = EchoServer::start("s").await.unwrap();
    let run = run(MetricsConfig::new(), vec![server.endpoint()], |builder| builder.retry(quick_retries())).await;
    for _ in 0..2 {
        assert_eq!(run.call(failing(Code::Unavailable)).await.unwrap_err().code(), Code::Unavailable);
    }
    run.call(EchoRequest::default()).await.unwrap();
    let text = run.read();
    text.counter("grpc_client_attempt_started_total", "Number of client call attempts started.").only(&of_method(UNARY), 7.0);
    let durations = text.histogram("grpc_client_attempt_duration_seconds");
    assert_eq!(durations.of(&with_status(UNARY, "UNAVAILABLE")).count, 6);
    assert_eq!(durations.of(&with_status(UNARY, "OK")).count, 1);
    assert_eq!(text.histogram("grpc_client_call_duration_seconds").of(&with_status(UNARY, "UNAVAILABLE")).count, 2);
    let retries = text.histogram("grpc_client_call_retries").only(&of_method(UNARY));
    assert_eq!((retries.count, retries.sum, &*retries.bounds), (2, 4.0, "1 2 3 4 5 +Inf"));
    assert_eq!((retries.at("1"), retries.at("2")), (0, 2));
    let delay = text.histogram("grpc_client_call_retry_delay_seconds").only(&of_method(UNARY));
    assert_eq!((delay.count, &*delay.bounds), (2, LATENCY));
    assert!(delay.sum > 0.0 && delay.sum < 40.0);
    assert!(!text.has("grpc_client_call_hedges") && !text.has("grpc_client_call_transparent_retries"));
}

#[tokio::test]
async fn hedges_and_transparent_retries_have_instruments_of_their_own() {
    let refusing = RawServer::start(|mut conn| async move {
        conn.handshake(&[]).await?;
        loop {
            let call = conn.next_call().await?;
            conn.reset(call, 7).await?;
        }
    });
    let (refusing, good) = (refusing.await.unwrap(), EchoServer::start("s").await.unwrap());
    let run = run(MetricsConfig::new(), vec![Endpoint::new(refusing.addr()), good.endpoint()], |builder| builder).await;
    for _ in 0..4 {
        run.call(EchoRequest::default()).await.unwrap();
    }
    let text = run.read();
    let transparent = text.histogram("grpc_client_call_transparent_retries").only(&of_method(UNARY));
    assert_eq!((transparent.sum, &*transparent.bounds), (transparent.count as f64, "1 2 3 4 5 10 +Inf"));
    let started = text.counter("grpc_client_attempt_started_total", "Number of client call attempts started.");
    started.only(&of_method(UNARY), 4.0 + transparent.sum);

    let hedging = HedgingPolicy::try_new(2, Duration::ZERO).unwrap();
    let run = self::run(MetricsConfig::new(), vec![good.endpoint()], |builder| builder.hedging(hedging)).await;
    run.call(EchoRequest { delay_ms: 30, ..EchoRequest::default() }).await.unwrap();
    let text = run.read();
    let hedges = text.histogram("grpc_client_call_hedges").only(&of_method(UNARY));
    assert_eq!((hedges.count, hedges.sum, &*hedges.bounds), (1, 1.0, "1 2 3 4 5 +Inf"));
    let durations = text.histogram("grpc_client_attempt_duration_seconds");
    assert_eq!(durations.of(&with_status(UNARY, "OK")).count, 1);
    assert_eq!(durations.of(&with_status(UNARY, "CANCELLED")).count, 1);
}

#[tokio::test]
async fn a_call_that_fails_before_names_are_known_is_a_call_without_an_attempt() {
    let prometheus = Prometheus::new(MetricsConfig::new()).unwrap();
    let (resolver, _handle) = FakeResolver::new("fake");
    let builder = LbChannel::builder(TARGET).resolver(resolver).call_observer(prometheus.metrics().calls(TARGET));
    let channel = builder.timeout(Duration::from_millis(30)).build().unwrap();
    EchoClient::new(channel).unary(EchoRequest::default()).await.unwrap_err();
    let text = Exposition::read(&prometheus.text().unwrap());
    let calls = text.histogram("grpc_client_call_duration_seconds").only(&with_status(UNARY, "DEADLINE_EXCEEDED"));
    assert!(calls.count == 1 && calls.sum >= 0.03, "{}", calls.sum);
    assert!(!text.has("grpc_client_attempt_duration_seconds"));
    let started = text.counter("grpc_client_attempt_started_total", "Number of client call attempts started.");
    assert!(started.series().iter().all(|(_, value)| *value == 0.0));
}

/// Calls a method that no generated client has.
async fn call_by_hand(channel: &LbChannel, path: &str) {
    let mut grpc = tonic::client::Grpc::new(channel.clone());
    grpc.ready().await.unwrap();
    let codec = tonic_prost::ProstCodec::<EchoRequest, EchoReply>::default();
    let path = path.parse().unwrap();
    assert_eq!(grpc.unary(Request::new(EchoRequest::default()), path, codec).await.unwrap_err().code(), Code::Unimplemented);
}

#[tokio::test]
async fn methods_that_nobody_knows_are_other_unless_they_are_named() {
    let server = EchoServer::start("s").await.unwrap();
    let config = MetricsConfig::new().methods(|method| method.starts_with("known/"));
    let run = run(config, vec![server.endpoint()], |builder| builder).await;
    for path in ["/made/up", "/made/up2", "/known/one"] {
        call_by_hand(&run.channel, path).await;
    }
    let text = run.read();
    let calls = text.histogram("grpc_client_call_duration_seconds");
    assert_eq!(calls.of(&with_status("other", "UNIMPLEMENTED")).count, 2);
    assert_eq!(calls.of(&with_status("known/one", "UNIMPLEMENTED")).count, 1);
    assert_eq!(calls.len(), 2);
}

#[tokio::test]
async fn however_many_methods_there_are_the_series_are_bounded() {
    let run = run(MetricsConfig::new().methods(|_| true), Vec::new(), |builder| builder).await;
    // Without an endpoint calls end at once.
    run.resolver.unavailable("the registry is away");
    for method in 0..1_010 {
        let path = format!("http://orders/any/m{method}");
        let request = http::Request::post(path).body(tonic::body::Body::empty()).unwrap();
        let called = tower_service::Service::call(&mut run.channel.clone(), request).await;
        assert_eq!(called.unwrap_err().code(), Code::Unavailable);
    }
    let text = run.read();
    let calls = text.histogram("grpc_client_call_duration_seconds");
    assert_eq!((calls.len(), calls.of(&with_status("other", "UNAVAILABLE")).count), (1_001, 10));
}

#[tokio::test]
async fn optional_labels_are_there_when_asked_for_and_not_before() {
    let server = EchoServer::start("s").await.unwrap();
    let (mut placed, plain) = (server.endpoint(), EchoServer::start("t").await.unwrap());
    placed.attributes.locality = Locality::new("eu", "eu-1", "");
    let config = MetricsConfig::new().locality_label(true).backend_service_label(true).custom_label(true);
    let run = run(config, vec![placed, plain.endpoint()], |builder| builder).await;
    for _ in 0..2 {
        let mut request = Request::new(EchoRequest::default());
        request.extensions_mut().insert(CallLabel::new("batch"));
        run.call(request).await.unwrap();
    }
    for _ in 0..2 {
        run.call(EchoRequest::default()).await.unwrap();
    }
    let text = run.read();
    let custom = |label: &'static str| {
        let mut labels = of_method(UNARY);
        labels.push(("grpc_client_call_custom", label));
        labels
    };
    let started = text.counter("grpc_client_attempt_started_total", "Number of client call attempts started.");
    assert_eq!((started.of(&custom("batch")), started.of(&custom(""))), (2.0, 2.0));
    for locality in ["{region=\"eu\", zone=\"eu-1\", sub_zone=\"\"}", ""] {
        for label in ["batch", ""] {
            let mut labels = custom(label);
            labels.extend([("grpc_status", "OK"), ("grpc_lb_locality", locality), ("grpc_lb_backend_service", "")]);
            assert_eq!(text.histogram("grpc_client_attempt_duration_seconds").of(&labels).count, 1, "{labels:?}");
        }
    }
    let mut labels = custom("batch");
    labels.push(("grpc_status", "OK"));
    assert_eq!(text.histogram("grpc_client_call_duration_seconds").of(&labels).count, 2);
}

#[tokio::test]
async fn health_checks_are_no_calls() {
    let server = EchoServer::start("s").await.unwrap();
    let run = run(MetricsConfig::new(), vec![server.endpoint()], |builder| builder.health_check("")).await;
    let text = run.read();
    assert!(text.histograms().iter().all(|name| !name.starts_with("grpc_client_")), "{:?}", text.histograms());
    let started = text.counter("grpc_client_attempt_started_total", "Number of client call attempts started.");
    assert!(started.series().iter().all(|(_, value)| *value == 0.0));
}

/// Retries, ejections and drains at once: every attempt is in the books once, and those of servers, metrics and endpoints agree.
#[tokio::test]
async fn after_retries_ejections_and_drains_all_books_agree() {
    let servers: Vec<EchoServer> =
        futures_util::future::join_all((0..4).map(|n| async move { EchoServer::start(&format!("s{n}")).await.unwrap() })).await;
    servers[0].fail(Code::Unavailable);
    let outliers = serde_json::json!({
        "interval": "0.05s", "baseEjectionTime": "30s", "maxEjectionPercent": 50,
        "failurePercentageEjection": {"threshold": 50, "minimumHosts": 2, "requestVolume": 2},
    });
    let outliers = OutlierConfig::from_json(&outliers).unwrap();
    let endpoints = servers.iter().map(EchoServer::endpoint).collect();
    let shape = |builder: LbChannelBuilder| builder.retry(quick_retries()).outlier_detection(outliers);
    let run = run(MetricsConfig::new(), endpoints, shape).await;
    let made = Arc::new(AtomicU32::new(0));
    while run.channel.stats().totals.taking_calls == 4 {
        run.call(EchoRequest::default()).await.unwrap();
        assert!(made.fetch_add(1, Ordering::Relaxed) < 20_000, "never ejected");
    }
    run.channel.drain(servers[1].endpoint().key().clone());
    until("it is drained", || run.channel.stats().totals.taking_calls == 2).await;
    for _ in 0..20 {
        run.call(EchoRequest::default()).await.unwrap();
        made.fetch_add(1, Ordering::Relaxed);
    }
    let text = run.read();
    let (calls, served) = (made.load(Ordering::Relaxed), servers.iter().map(|server| server.calls()).sum::<u64>());
    let started = text.counter("grpc_client_attempt_started_total", "Number of client call attempts started.");
    started.only(&of_method(UNARY), served as f64);
    let attempts = text.histogram("grpc_client_attempt_duration_seconds");
    assert_eq!(attempts.of(&with_status(UNARY, "OK")).count, u64::from(calls));
    assert_eq!(attempts.of(&with_status(UNARY, "UNAVAILABLE")).count, servers[0].calls());
    assert_eq!(text.histogram("grpc_client_call_duration_seconds").only(&with_status(UNARY, "OK")).count, u64::from(calls));
    let retries = text.histogram("grpc_client_call_retries").only(&of_method(UNARY));
    assert_eq!(retries.sum, servers[0].calls() as f64);
    assert!(run.resolver.watching() == 1);
}
