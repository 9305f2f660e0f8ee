//! What looking shows.

use std::time::Duration;

use lb_admin::{Admin, Services};
use lb_testkit::pb::EchoRequest;
use lb_testkit::pb::echo_client::EchoClient;

use crate::client::{ask, get};
use crate::support::{Live, idle, orders};

#[tokio::test]
async fn statistics_and_instances_are_those_of_the_channels() {
    let (live, users) = (Live::start(2).await, idle(&["127.0.0.1:1"]));
    let admin = orders(&live.channel).service("users", &users).serve().await.unwrap();
    let addr = admin.local_addr();

    let stats = get("/api/v1/loadbalancer/stats").of(addr).await.json();
    assert_eq!(stats["services"].as_object().unwrap().keys().collect::<Vec<_>>(), ["orders", "users"]);
    let one = get("/api/v1/loadbalancer/stats/orders").of(addr).await.json();
    assert_eq!((&one["policy"], &one["totals"]["ready"]), (&"round_robin".into(), &2.into()));

    let all = get("/api/v1/loadbalancer/instances").of(addr).await.json();
    let instances = get("/api/v1/loadbalancer/instances/orders").of(addr).await.json();
    assert_eq!(all["services"]["orders"].as_array().map(Vec::len), Some(2));
    assert_eq!((&instances["service"], &instances["endpoints"][1]["state"]), (&"orders".into(), &"READY".into()));
    let path = format!("/api/v1/loadbalancer/instances/orders/{}", live.instance(1));
    let instance = get(path).of(addr).await;
    assert_eq!(instance.json()["key"], live.servers[1].addr().to_string());
    assert_eq!((instance.header("content-type"), instance.header("cache-control")), (Some("application/json"), Some("no-store")));
}

#[tokio::test]
async fn what_is_not_there_is_a_problem_of_its_own() {
    let channel = idle(&["127.0.0.1:1"]);
    let admin = orders(&channel).serve().await.unwrap();
    let addr = admin.local_addr();
    for path in ["/nothing", "/api/v1/loadbalancer", "/api/v1/loadbalancer/stats/", "/api/v2/loadbalancer/stats", "/metrics"] {
        get(path).of(addr).await.problem(404);
    }
    let detail = get("/api/v1/loadbalancer/stats/users").of(addr).await.problem(404);
    assert_eq!(detail, "there is no service `users`");
    let wrong = ask("DELETE", "/api/v1/loadbalancer/stats/orders").of(addr).await;
    wrong.problem(405);
    assert_eq!(wrong.header("allow"), Some("GET,HEAD"));
    let head = ask("HEAD", "/api/v1/loadbalancer/stats").of(addr).await;
    assert_eq!((head.status, head.body.as_str()), (200, ""));
    assert_eq!(ask("HEAD", "/nothing").of(addr).await.body, "");
}

#[tokio::test]
async fn a_channel_comes_when_it_is_added_and_goes_with_its_last_owner() {
    let services = Services::new();
    let admin = Admin::builder().services(&services).serve().await.unwrap();
    let names = async || get("/api/v1/loadbalancer/stats").of(admin.local_addr()).await.json()["services"].clone();
    assert_eq!(names().await, serde_json::json!({}));
    let channel = idle(&["127.0.0.1:1"]);
    services.add("orders", &channel);
    assert!(names().await.get("orders").is_some());
    drop(channel);
    assert_eq!(names().await, serde_json::json!({}));
}

#[tokio::test]
async fn metrics_are_what_the_program_says() {
    let admin = Admin::builder().metrics(|| Ok::<_, String>("a_total 1\n".into())).serve().await.unwrap();
    let metrics = get("/metrics").of(admin.local_addr()).await;
    assert_eq!((metrics.status, metrics.body.as_str()), (200, "a_total 1\n"));
    assert_eq!(metrics.header("content-type"), Some("text/plain; version=0.0.4; charset=utf-8"));
    let admin = Admin::builder().metrics(|| Err("no meter")).serve().await.unwrap();
    assert_eq!(get("/metrics").of(admin.local_addr()).await.problem(503), "no meter");
}

#[tokio::test]
async fn it_stops_when_told_and_when_dropped() {
    let admin = Admin::builder().serve().await.unwrap();
    let addr = admin.local_addr();
    // Somebody who keeps a connection and asks nothing does not hold it up.
    let idle = tokio::net::TcpStream::connect(addr).await.unwrap();
    get("/health").of(addr).await;
    tokio::time::timeout(Duration::from_secs(5), admin.stop()).await.unwrap();
    assert!(tokio::net::TcpStream::connect(addr).await.is_err());
    drop(idle);

    let admin = Admin::builder().serve().await.unwrap();
    let addr = admin.local_addr();
    drop(admin);
    let refused = async {
        while tokio::net::TcpStream::connect(addr).await.is_ok() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(5), refused).await.unwrap();
}

#[tokio::test]
async fn performance_is_that_of_the_window() {
    let (live, users) = (Live::start(1).await, idle(&["127.0.0.1:1"]));
    let admin = orders(&live.channel).service("users", &users).serve().await.unwrap();
    let addr = admin.local_addr();
    let mut client = EchoClient::new(live.channel.clone());
    for _ in 0..3 {
        client.unary(EchoRequest::default()).await.unwrap();
    }
    let path = "/api/v1/loadbalancer/performance";
    for query in ["", "?window=1h&service=orders", "?window=30s"] {
        let answer = get(format!("{path}{query}")).of(addr).await.json();
        let (orders, users) = (&answer["services"]["orders"], answer["services"].get("users"));
        assert_eq!((&orders["succeeded"], &orders["failed"]), (&3.into(), &0.into()), "{query}: {answer}");
        assert!(
            orders["latency"]["p50"].is_number() && orders["window"].as_f64().is_some_and(|window| window <= 3600.0),
            "{answer}"
        );
        assert_eq!(users.is_none(), query.contains("service"), "{answer}");
    }
    for wrong in ["?window=", "?window=1", "?window=61m", "?window=2h", "?window=-1s", "?windows=1h", "?window=1h&window=2h"] {
        get(format!("{path}{wrong}")).of(addr).await.problem(400);
    }
    get(format!("{path}?service=nobody")).of(addr).await.problem(404);
}
