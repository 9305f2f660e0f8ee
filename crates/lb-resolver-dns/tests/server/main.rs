//! The resolver against a name server in this process, over real UDP and TCP sockets on loopback.
#![expect(clippy::unwrap_used, reason = "a test may fail by panicking")]

mod name_server;

use std::net::SocketAddr;
use std::time::Duration;
use std::time::Instant;

use futures_util::StreamExt;
use hickory_resolver::proto::op::ResponseCode;
use lb_core::BackoffConfig;
use lb_core::ResolveError;
use lb_core::ResolveErrorKind;
use lb_core::Resolver;
use lb_core::ResolverStream;
use lb_core::ResolverUpdate;
use lb_core::ServiceConfigUpdate;
use lb_core::Target;
use lb_core::Trigger;
use lb_resolver_dns::DnsConfig;
use lb_resolver_dns::DnsResolver;

use name_server::Mood;
use name_server::NameServer;
use name_server::a;
use name_server::aaaa;
use name_server::cname;
use name_server::srv;
use name_server::txt;

/// Generous: only a broken resolver waits this long.
const PATIENCE: Duration = Duration::from_secs(30);

/// Looks again every 50 ms, whatever the records say, and soon after failures.
fn brisk() -> DnsConfig {
    let pace = Duration::from_millis(50);
    let backoff = BackoffConfig::default().with_initial(pace).unwrap().with_max(pace).unwrap();
    DnsConfig::new().with_refresh(pace, pace).unwrap().with_backoff(backoff)
}

fn open(config: DnsConfig, server: SocketAddr, name: &str) -> (Trigger, ResolverStream) {
    let target = Target::parse(&format!("dns://{server}/{name}"), &|scheme| scheme == "dns").unwrap();
    let (trigger, again) = Trigger::pair();
    (trigger, DnsResolver::with_config(config).resolve(&target, again))
}

async fn next(stream: &mut ResolverStream) -> Result<ResolverUpdate, ResolveError> {
    tokio::time::timeout(PATIENCE, stream.next()).await.expect("nothing was yielded").expect("the stream ended")
}

fn keys(update: &ResolverUpdate) -> Vec<String> {
    let mut keys: Vec<_> = update.endpoints.iter().map(|endpoint| endpoint.key().to_string()).collect();
    keys.sort_unstable();
    keys
}

#[tokio::test]
async fn both_families_from_the_name_server_that_the_target_names() {
    let server = NameServer::start().await;
    server.set("orders.shop.", vec![a("10.0.0.1"), a("10.0.0.2"), aaaa("2001:db8::1")]);
    let (_trigger, mut stream) = open(DnsConfig::new(), server.address(), "orders.shop:50051");
    let update = next(&mut stream).await.unwrap();
    assert_eq!(keys(&update), ["10.0.0.1:50051", "10.0.0.2:50051", "[2001:db8::1]:50051"]);
    assert_eq!((server.udp_queries(), server.tcp_queries()), (2, 0));
}

#[tokio::test]
async fn a_dead_name_server_beside_a_good_one() {
    let server = NameServer::start().await;
    server.set("orders.", vec![a("10.0.0.1")]);
    let dead = SocketAddr::from(([127, 0, 0, 1], 1));
    let config = DnsConfig::new().with_name_servers([dead, server.address()]);
    let target = Target::parse("dns:///orders", &|_| true).unwrap();
    let mut stream = DnsResolver::with_config(config).resolve(&target, Trigger::pair().1);
    assert_eq!(keys(&next(&mut stream).await.unwrap()), ["10.0.0.1:443"]);
}

#[tokio::test]
async fn every_record_of_a_long_answer_is_used() {
    let server = NameServer::start().await;
    let addresses: Vec<String> = (0..200).map(|i| format!("10.0.{}.{}", i / 100, i % 100)).collect();
    server.set("orders.", addresses.iter().map(|address| a(address)).collect());
    let (_trigger, mut stream) = open(DnsConfig::new(), server.address(), "orders:1");
    let update = next(&mut stream).await.unwrap();
    let mut expected: Vec<_> = addresses.iter().map(|address| format!("{address}:1")).collect();
    expected.sort_unstable();
    assert_eq!(keys(&update), expected);
    assert!(server.tcp_queries() > 0, "the answer does not fit into a datagram");
}

#[tokio::test]
async fn an_alias_is_followed() {
    let server = NameServer::start().await;
    server.set("orders.", vec![cname("real.shop.")]);
    server.set("real.shop.", vec![a("10.0.0.1"), aaaa("2001:db8::1")]);
    let (_trigger, mut stream) = open(DnsConfig::new(), server.address(), "orders:1");
    assert_eq!(keys(&next(&mut stream).await.unwrap()), ["10.0.0.1:1", "[2001:db8::1]:1"]);
}

#[tokio::test]
async fn services_and_their_targets() {
    let server = NameServer::start().await;
    server.set("_grpc._tcp.orders.", vec![srv(0, 3, 50051, "one."), srv(0, 0, 50052, "two."), srv(9, 5, 50053, "three.")]);
    server.set("one.", vec![a("10.0.0.1"), aaaa("2001:db8::1")]);
    server.set("two.", vec![a("10.0.0.2")]);
    server.set("three.", vec![a("10.0.0.3")]);
    let (_trigger, mut stream) = open(DnsConfig::new(), server.address(), "_grpc._tcp.orders");
    let update = next(&mut stream).await.unwrap();
    assert_eq!(keys(&update), ["10.0.0.1:50051,[2001:db8::1]:50051", "10.0.0.2:50052", "10.0.0.3:50053"]);
    let mut attributes: Vec<_> = update
        .endpoints
        .iter()
        .map(|endpoint| {
            let attributes = &endpoint.attributes;
            (attributes.id.as_deref().unwrap(), attributes.weight, attributes.priority)
        })
        .collect();
    attributes.sort_unstable();
    assert_eq!(attributes, [("one:50051", 300, 0), ("three:50053", 5, 9), ("two:50052", 1, 0)]);
}

#[tokio::test]
async fn the_service_config_from_text_records() {
    let server = NameServer::start().await;
    server.set("orders.", vec![a("10.0.0.1")]);
    let config = r#"grpc_config=[{"clientLanguage":["java"],"serviceConfig":{}},{"serviceConfig":{"loadBalancingConfig":[]}}]"#;
    server.set("_grpc_config.orders.", vec![txt(&["v=spf1 -all"]), txt(&[&config[..40], &config[40..]])]);
    let (_trigger, mut stream) = open(DnsConfig::new().with_service_config(true), server.address(), "orders:1");
    let update = next(&mut stream).await.unwrap();
    assert!(matches!(&update.service_config, ServiceConfigUpdate::Json(config) if config.get("loadBalancingConfig").is_some()));
    let (_trigger, mut stream) = open(DnsConfig::new(), server.address(), "orders:1");
    assert_eq!(next(&mut stream).await.unwrap().service_config, ServiceConfigUpdate::Absent);
}

#[tokio::test]
async fn what_changes_is_seen_whatever_was_cached() {
    let server = NameServer::start().await;
    // The records say that they hold for an hour.
    server.set("orders.", vec![a("10.0.0.1")]);
    let (_trigger, mut stream) = open(brisk(), server.address(), "orders:1");
    assert_eq!(keys(&next(&mut stream).await.unwrap()), ["10.0.0.1:1"]);
    server.set("orders.", vec![a("10.0.0.1"), a("10.0.0.2")]);
    assert_eq!(keys(&next(&mut stream).await.unwrap()), ["10.0.0.1:1", "10.0.0.2:1"]);
    server.set("orders.", vec![a("10.0.0.2")]);
    assert_eq!(keys(&next(&mut stream).await.unwrap()), ["10.0.0.2:1"]);
}

#[tokio::test]
async fn asking_is_answered_from_the_name_server() {
    let server = NameServer::start().await;
    server.set("orders.", vec![a("10.0.0.1")]);
    let config = DnsConfig::new().with_min_interval(Duration::ZERO).unwrap();
    let (trigger, mut stream) = open(config, server.address(), "orders:1");
    next(&mut stream).await.unwrap();
    server.set("orders.", vec![a("10.0.0.2")]);
    trigger.fire();
    assert_eq!(keys(&next(&mut stream).await.unwrap()), ["10.0.0.2:1"]);
}

#[tokio::test]
async fn negative_answers_are_errors_that_end() {
    let server = NameServer::start().await;
    let (_trigger, mut stream) = open(brisk(), server.address(), "orders:1");
    assert_eq!(next(&mut stream).await.unwrap_err().kind(), ResolveErrorKind::NotFound);
    // The name exists, but not with addresses.
    server.set("orders.", vec![txt(&["hello"])]);
    let error = loop {
        let error = next(&mut stream).await.unwrap_err();
        if error.message().contains("no A records") {
            break error;
        }
    };
    assert_eq!(error.kind(), ResolveErrorKind::NotFound);
    server.set("orders.", vec![a("10.0.0.1")]);
    while next(&mut stream).await.is_err() {}
    server.set("orders.", Vec::new());
    assert_eq!(next(&mut stream).await.unwrap_err().kind(), ResolveErrorKind::NotFound);
}

#[tokio::test]
async fn refusals_and_failures_of_the_name_server_are_errors() {
    let server = NameServer::start().await;
    server.set("orders.", vec![a("10.0.0.1")]);
    for (code, kind) in
        [(ResponseCode::Refused, ResolveErrorKind::Refused), (ResponseCode::ServFail, ResolveErrorKind::Unavailable)]
    {
        server.be(Mood::Saying(code));
        let (_trigger, mut stream) = open(brisk(), server.address(), "orders:1");
        let error = next(&mut stream).await.unwrap_err();
        assert_eq!(error.kind(), kind, "{error}");
        server.be(Mood::Honest);
        while next(&mut stream).await.is_err() {}
    }
}

#[tokio::test]
async fn silence_and_garbage_are_errors_in_time_and_end() {
    let server = NameServer::start().await;
    server.set("orders.", vec![a("10.0.0.1")]);
    for mood in [Mood::Silent, Mood::Garbling] {
        server.be(mood);
        let start = Instant::now();
        let (_trigger, mut stream) = open(brisk().with_timeout(Duration::from_millis(400)).unwrap(), server.address(), "orders:1");
        let error = next(&mut stream).await.unwrap_err();
        assert!(matches!(error.kind(), ResolveErrorKind::Unavailable | ResolveErrorKind::Malformed), "{error}");
        assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
        // More failures than it takes to renew the client.
        for _ in 0..4 {
            next(&mut stream).await.unwrap_err();
        }
        server.be(Mood::Honest);
        while next(&mut stream).await.is_err() {}
    }
}

#[tokio::test]
async fn a_name_server_that_never_answers_aaaa_does_not_cost_the_ipv4_addresses() {
    let server = NameServer::start().await;
    server.set("orders.", vec![a("10.0.0.1")]);
    server.be(Mood::SilentOnAaaa);
    let (_trigger, mut stream) = open(DnsConfig::new(), server.address(), "orders:1");
    let update = next(&mut stream).await.unwrap();
    assert_eq!(keys(&update), ["10.0.0.1:1"]);
    assert!(update.note.unwrap().contains("AAAA records"));
}

#[tokio::test]
async fn dropping_the_stream_ends_every_task_in_the_middle_of_a_query_too() {
    let server = NameServer::start().await;
    let many = (0..200).map(|i| a(&format!("10.0.{}.{}", i / 100, i % 100))).collect();
    server.set("orders.", many);
    let tasks = || tokio::runtime::Handle::current().metrics().num_alive_tasks();
    let before = tasks();
    let (_trigger, mut over_tcp) = open(brisk(), server.address(), "orders:1");
    next(&mut over_tcp).await.unwrap();
    server.be(Mood::Silent);
    let (_trigger, mut waiting) = open(brisk(), server.address(), "orders:1");
    let asked = server.udp_queries();
    let middle = async {
        while server.udp_queries() == asked {
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        item = waiting.next() => panic!("{item:?}"),
        () = middle => {}
    }
    drop((over_tcp, waiting));
    let start = Instant::now();
    // The name server has a task for each connection; it ends with the client's side.
    while tasks() > before {
        assert!(start.elapsed() < PATIENCE, "{} tasks are left of {before}", tasks());
        tokio::task::yield_now().await;
    }
}
