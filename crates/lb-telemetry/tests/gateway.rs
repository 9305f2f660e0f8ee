//! The promised names of the compatibility view, and nothing beside them, read as a scraper would.
#![cfg(feature = "prometheus")]
#![allow(clippy::unwrap_used, reason = "a failing helper fails the test")]

#[path = "calls/exposition.rs"]
#[allow(dead_code, reason = "shared by several test binaries")]
mod exposition;

use std::collections::BTreeSet;
use std::time::Duration;

use lb_telemetry::{MetricsConfig, Prometheus};
use lb_testkit::pb::EchoRequest;
use lb_testkit::pb::echo_client::EchoClient;
use lb_testkit::{EchoServer, FakeResolver};
use lb_tonic::LbChannel;
use tonic::Code;

use exposition::Exposition;

async fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let limit = tokio::time::Instant::now() + Duration::from_secs(40);
    while !condition() {
        assert!(tokio::time::Instant::now() < limit, "not in time: {what}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

const INSTANCE: [&str; 5] = ["active_connections", "total_requests", "success_rate", "average_response_time", "health_score"];

#[tokio::test]
async fn the_view_has_exactly_the_promised_names_labels_and_values() {
    let (good, bad) = (EchoServer::start("good").await.unwrap(), EchoServer::start("bad").await.unwrap());
    let prometheus = Prometheus::new(MetricsConfig::new()).unwrap();
    let service = prometheus.gateway().unwrap().service("orders");
    let (resolver, handle) = FakeResolver::new("fake");
    let builder = LbChannel::builder("fake:///orders").resolver(resolver).call_observer(service.clone());
    let channel = builder.build().unwrap();
    service.watch(&channel);
    channel.exit_idle();
    handle.endpoints([good.endpoint(), bad.endpoint()]);
    until("both are connected", || channel.stats().totals.taking_calls == 2).await;
    bad.fail(Code::Internal);
    let mut client = EchoClient::new(channel.clone());
    for _ in 0..6 {
        let _ = client.unary(EchoRequest::default()).await;
    }
    let read = || Exposition::read(&prometheus.text().unwrap());
    let text = read();
    let promised: BTreeSet<String> = INSTANCE
        .iter()
        .map(|name| format!("gateway_instance_{name}"))
        .chain(["gateway_load_balancer_request_total".into(), "gateway_load_balancer_response_time_seconds".into()])
        .collect();
    let named: BTreeSet<String> = text.names().filter(|name| name.starts_with("gateway_")).map(Into::into).collect();
    assert_eq!(named, promised);

    let (good_key, bad_key) = (good.addr().to_string(), bad.addr().to_string());
    let requests = text.counter("gateway_load_balancer_request_total", "Requests sent to an instance.");
    let times = text.histogram("gateway_load_balancer_response_time_seconds");
    for (instance, success, other) in [(&good_key, "true", "false"), (&bad_key, "false", "true")] {
        let route = [("service", "orders"), ("algorithm", "round_robin"), ("instance", instance)];
        let [service, algorithm, instance] = route;
        assert_eq!(requests.of(&[service, algorithm, instance, ("success", success)]), 3.0);
        assert_eq!(requests.of(&[service, algorithm, instance, ("success", other)]), 0.0);
        assert!(times.of(&route).count == 3 && times.of(&route).sum > 0.0);
    }
    let of = |text: &Exposition, name: &str, instance: &str| {
        text.gauge(&format!("gateway_instance_{name}")).of(&[("service", "orders"), ("instance", instance)])
    };
    let values = |instance: &str| INSTANCE.map(|name| of(&text, name, instance));
    let [active, total, rate, time, score] = values(&good_key);
    assert_eq!([active, total, rate, score], [0.0, 3.0, 1.0, 1.0]);
    assert!(time > 0.0 && time < 40.0, "{time}");
    let [active, total, rate, time, score] = values(&bad_key);
    assert_eq!([active, total, rate, time], [0.0, 3.0, 0.0, 0.0]);
    assert!(score > 0.0 && score < 1.0, "its failures weigh more with every moment they are the latest: {score}");

    // What gets no calls has no health, and what is gone has no series.
    channel.drain(good.endpoint().key().clone());
    until("it is drained", || of(&read(), "health_score", &good_key) == 0.0).await;
    handle.endpoints([bad.endpoint()]);
    until("it is gone", || channel.endpoints().len() == 1).await;
    // Series that end do so with the reading that finds the endpoint gone, and are missing from the next at the latest.
    prometheus.text().unwrap();
    assert!(!prometheus.text().unwrap().contains(&good_key));
}

#[tokio::test]
async fn a_call_without_an_instance_is_counted_and_there_are_no_more_series_than_allowed() {
    let servers = [EchoServer::start("a").await.unwrap(), EchoServer::start("b").await.unwrap()];
    let prometheus = Prometheus::new(MetricsConfig::new().max_endpoints(1)).unwrap();
    assert!(!prometheus.text().unwrap().contains("gateway_"), "off unless asked for");
    let service = prometheus.gateway().unwrap().service("orders");
    let (resolver, handle) = FakeResolver::new("fake");
    let builder = LbChannel::builder("fake:///orders").resolver(resolver).call_observer(service.clone());
    let channel = builder.build().unwrap();
    service.watch(&channel);
    handle.unavailable("the registry is away");
    let mut client = EchoClient::new(channel.clone());
    client.unary(EchoRequest::default()).await.unwrap_err();
    handle.endpoints(servers.iter().map(EchoServer::endpoint));
    until("both are connected", || channel.stats().totals.taking_calls == 2).await;
    for _ in 0..4 {
        client.unary(EchoRequest::default()).await.unwrap();
    }
    let again = prometheus.gateway().unwrap().service("orders");
    again.watch(&channel);
    let text = Exposition::read(&prometheus.text().unwrap());
    let requests = text.counter("gateway_load_balancer_request_total", "Requests sent to an instance.");
    assert_eq!(requests.of(&[("service", "orders"), ("algorithm", ""), ("instance", ""), ("success", "false")]), 1.0);
    let other = [("service", "orders"), ("algorithm", "round_robin"), ("instance", "other"), ("success", "true")];
    assert_eq!(requests.of(&other), 2.0);
    assert_eq!(text.gauge("gateway_instance_total_requests").series().len(), 1);
}
