//! What a stream tells, without a socket.

use std::sync::Arc;
use std::time::Duration;

use lb_core::Endpoint;
use lb_resolver_static::{ManualHandle, ManualResolver};
use lb_tonic::LbChannel;
use serde_json::Value;
use tokio::sync::watch;

use super::changes::Known;
use super::feed::Feed;
use super::row::{Row, Told};
use super::{ROWS_PER_TICK, record};
use crate::app::{App, Settings, Shared};
use crate::services::Services;

fn app(services: &Services) -> (Shared, watch::Sender<bool>) {
    let (stop, stopping) = watch::channel(false);
    let app = App::new(Settings { services: services.clone(), ..Settings::default() }, stopping);
    (Arc::new(app), stop)
}

fn endpoint(index: usize) -> Endpoint {
    Endpoint::new(format!("10.{}.{}.{}:50051", index >> 16, index >> 8 & 255, index & 255).parse::<std::net::SocketAddr>().unwrap())
}

/// A channel with so many endpoints that connects to none of them: this policy waits for calls.
async fn channel(count: usize) -> (LbChannel, ManualHandle) {
    let (resolver, handle) = ManualResolver::new("made");
    handle.set((0..count).map(endpoint));
    let channel = LbChannel::builder("made:///up").resolver(resolver).policy("ring_hash").build().unwrap();
    channel.exit_idle();
    until(&channel, count).await;
    (channel, handle)
}

async fn until(channel: &LbChannel, count: usize) {
    let mut events = channel.subscribe();
    while channel.endpoints().len() != count {
        events.next().await.unwrap();
    }
}

/// The kind and the data of an event.
fn parse(event: &str) -> (&str, Value) {
    let rest = event.strip_prefix("event: ").unwrap_or_else(|| panic!("{event:?}"));
    let (kind, data) = rest.strip_suffix("\n\n").unwrap().split_once("\ndata: ").unwrap();
    assert!(!data.contains('\n'), "one line of data");
    (kind, serde_json::from_str(data).unwrap())
}

fn length(list: &Value) -> usize {
    list.as_array().map_or(0, Vec::len)
}

#[tokio::test(start_paused = true)]
async fn everything_once_and_then_what_has_changed() {
    let (services, (orders, endpoints)) = (Services::new(), channel(3).await);
    services.add("orders", &orders);
    let mut feed = Feed::new(app(&services).0, true, None);
    let told = feed.tick().unwrap();
    let (kind, first) = parse(&told);
    assert_eq!((kind, &first["service"], &first["mayChange"]), ("snapshot", &"orders".into(), &true.into()));
    assert_eq!(length(&first["endpoints"]["set"]), 3);
    assert_eq!(first["services"]["set"][0]["totals"]["endpoints"], 3);
    assert!(first["services"]["set"][0].get("endpoints").is_none(), "no endpoint is told twice");

    let told = feed.tick().unwrap();
    let (kind, second) = parse(&told);
    assert_eq!((kind, second.as_object().unwrap().len()), ("change", 1), "nothing but the time: {second}");

    orders.drain("10.0.0.1:50051");
    endpoints.set([1, 2, 7].map(endpoint));
    let mut events = orders.subscribe();
    while orders.endpoints()[0].excluded != Some("drained") {
        events.next().await.unwrap();
    }
    let told = feed.tick().unwrap();
    let (_, third) = parse(&told);
    assert_eq!(third["endpoints"]["gone"], serde_json::json!(["10.0.0.0:50051"]));
    let set = third["endpoints"]["set"].as_array().unwrap();
    assert_eq!(set.len(), 2, "{third}");
    assert_eq!(set[0], serde_json::json!({ "key": "10.0.0.1:50051", "excluded": "drained" }));
    assert_eq!((&set[1]["key"], &set[1]["state"]), (&"10.0.0.7:50051".into(), &"IDLE".into()));

    orders.undrain("10.0.0.1:50051");
    while orders.endpoints()[0].excluded.is_some() {
        events.next().await.unwrap();
    }
    let told = feed.tick().unwrap();
    let (_, last) = parse(&told);
    assert_eq!(last["endpoints"]["set"][0], serde_json::json!({ "key": "10.0.0.1:50051", "excluded": null }));
}

#[tokio::test(start_paused = true)]
async fn a_stream_ends_with_its_service_and_begins_anew_with_the_first() {
    let services = Services::new();
    let mut feed = Feed::new(app(&services).0, false, None);
    let told = feed.tick().unwrap();
    let (kind, none) = parse(&told);
    assert_eq!((kind, &none["service"], &none["mayChange"]), ("snapshot", &Value::Null, &false.into()));
    let (orders, _endpoints) = channel(1).await;
    services.add("orders", &orders);
    let told = feed.tick().unwrap();
    let (kind, first) = parse(&told);
    assert_eq!((kind, &first["service"]), ("snapshot", &"orders".into()));
    drop(orders);
    assert!(feed.tick().is_none(), "the feed did not keep the channel alive");
}

#[tokio::test(start_paused = true)]
async fn a_thousand_endpoints_are_few_bytes() {
    let (orders, _endpoints) = channel(1_000).await;
    let mut infos = orders.endpoints();
    let mut known = Known::<String, Row>::default();
    let mut told = |infos: &[lb_tonic::EndpointInfo]| {
        let rows = infos.iter().map(|info| (info.key.to_string(), Row::new(info))).collect();
        let changes = known.update(rows, |row, before| serde_json::to_value(Told { row, before }).unwrap());
        serde_json::to_string(&changes).unwrap().len()
    };
    let all = told(&infos);
    assert!(all < 150_000, "the first time: {all}");
    assert_eq!(told(&infos), "null".len(), "what stayed as it was costs nothing");
    for (index, info) in infos.iter_mut().enumerate() {
        info.in_flight = 3;
        info.succeeded += 12_345 + index as u64;
        info.latency = Some(Duration::from_nanos(1_234_567 + index as u64));
    }
    let busy = told(&infos);
    assert!(busy < 90_000, "when each is busy: {busy}");
    infos[17].in_flight = 4;
    let one = told(&infos);
    assert!(one < 100, "when one is: {one}");
}

#[tokio::test(start_paused = true)]
async fn very_many_endpoints_are_looked_at_less_often() {
    let (services, (orders, _endpoints)) = (Services::new(), channel(2 * ROWS_PER_TICK + 500).await);
    services.add("orders", &orders);
    let mut feed = Feed::new(app(&services).0, true, None);
    let told: Vec<bool> = (0..7).map(|_| !feed.tick().unwrap().is_empty()).collect();
    assert_eq!(told, [true, false, false, true, false, false, true]);
}

#[tokio::test(start_paused = true)]
async fn events_are_remembered_from_before_somebody_looked_and_told_once() {
    let (services, (orders, endpoints)) = (Services::new(), channel(1).await);
    services.add("orders", &orders);
    let (app, stop) = app(&services);
    let recorder = tokio::spawn(record(Arc::clone(&app)));
    while app.dashboard.history.since("orders", 0).is_empty() {
        orders.drain("10.0.0.0:50051");
        orders.undrain("10.0.0.0:50051");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let mut feed = Feed::new(Arc::clone(&app), true, None);
    let told = feed.tick().unwrap();
    let (_, first) = parse(&told);
    assert_eq!(first["events"][0]["kind"], "drained");
    let text = first["events"][0]["text"].as_str().unwrap();
    assert_eq!(text, "endpoint 10.0.0.0:50051 drained");
    let latest = first["events"].as_array().unwrap().last().unwrap()["number"].as_u64();

    endpoints.set((0..500).map(endpoint));
    until(&orders, 500).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let told = feed.tick().unwrap();
    let (_, second) = parse(&told);
    assert_eq!(length(&second["events"]), 200, "no more than are kept");
    assert!(second["events"][0]["number"].as_u64() > latest);
    let told = feed.tick().unwrap();
    assert_eq!(parse(&told).1.get("events"), None, "nothing is told twice");

    drop(orders);
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(app.dashboard.history.since("orders", 0).is_empty(), "what is gone is forgotten");
    stop.send_replace(true);
    recorder.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_channel_in_the_place_of_another_is_followed_in_its_place() {
    let (services, (before, _endpoints)) = (Services::new(), channel(1).await);
    services.add("orders", &before);
    let (app, stop) = app(&services);
    let recorder = tokio::spawn(record(Arc::clone(&app)));
    tokio::time::sleep(Duration::from_secs(1)).await;
    before.drain("10.0.0.0:50051");
    tokio::time::sleep(Duration::from_secs(1)).await;
    let (after, _other) = channel(2).await;
    services.add("orders", &after);
    tokio::time::sleep(Duration::from_secs(1)).await;
    before.undrain("10.0.0.0:50051");
    after.drain("10.0.0.1:50051");
    tokio::time::sleep(Duration::from_secs(1)).await;
    let told: Vec<String> =
        app.dashboard.history.since("orders", 0).iter().map(|entry| serde_json::to_string(entry).unwrap()).collect();
    let of = |endpoint: &str| told.iter().filter(|line| line.contains("drained") && line.contains(endpoint)).count();
    assert_eq!(
        (of("10.0.0.0:50051"), of("10.0.0.1:50051")),
        (1, 1),
        "the first's drain and not its end, and the second's: {told:#?}"
    );
    stop.send_replace(true);
    recorder.await.unwrap();
}
