use super::*;
use crate::testing::FakeDns;
use crate::testing::absent;
use crate::testing::failed;
use crate::testing::records;
use crate::testing::v4;
use crate::testing::v6;

const CONFIG: &str = "_grpc_config.orders";

fn lookup(dns: &FakeDns, subject: Subject) -> Lookup {
    let chooser = Chooser { percentile: 50, hostname: None };
    Lookup::new(Arc::new(dns.clone()), subject, Order::new(1).with_route(|_| true), Some(chooser))
}

fn host(dns: &FakeDns) -> Lookup {
    lookup(dns, Subject::Host("orders".to_owned(), 5))
}

fn keys(look: &Look) -> Vec<String> {
    let mut keys: Vec<_> = look.update.endpoints.iter().map(|endpoint| endpoint.key().to_string()).collect();
    keys.sort_unstable();
    keys
}

fn service(target: &str, weight: u16, priority: u16) -> Service {
    Service { target: target.to_owned(), port: 7, weight, priority }
}

#[tokio::test]
async fn both_families_one_endpoint_per_address() {
    let dns = FakeDns::default();
    let addresses = Addresses { v4: v4(&["10.0.0.1", "10.0.0.2", "10.0.0.1"], 60), v6: v6(&["2a00::1"], 30) };
    dns.with(|zone| zone.addresses.insert("orders".to_owned(), addresses));
    let look = host(&dns).look().await.unwrap();
    assert_eq!(keys(&look), ["10.0.0.1:5", "10.0.0.2:5", "[2a00::1]:5"]);
    assert_eq!((look.ttl, look.update.note), (Duration::from_secs(30), None));
}

#[tokio::test]
async fn absence_is_not_found_and_failure_is_what_it_was() {
    let dns = FakeDns::default();
    let error = host(&dns).look().await.unwrap_err();
    assert_eq!((error.kind(), error.message()), (ResolveErrorKind::NotFound, "name \"orders\": no such name"));
    dns.with(|zone| zone.addresses.insert("orders".to_owned(), Addresses { v4: absent(), v6: failed() }));
    let error = host(&dns).look().await.unwrap_err();
    assert_eq!(error.kind(), ResolveErrorKind::Unavailable);
    assert!(error.message().contains("AAAA records: silence"), "{error}");
}

#[tokio::test]
async fn one_family_alone_is_used_and_the_other_stays_as_it_was() {
    let dns = FakeDns::default();
    let set = |v4, v6| dns.with(|zone| zone.addresses.insert("orders".to_owned(), Addresses { v4, v6 }));
    let mut lookup = host(&dns);
    set(v4(&["10.0.0.1"], 60), failed());
    let look = lookup.look().await.unwrap();
    assert_eq!(keys(&look), ["10.0.0.1:5"]);
    assert!(look.update.note.unwrap().contains("AAAA records: silence"));
    set(v4(&["10.0.0.1"], 60), v6(&["2a00::1"], 60));
    lookup.look().await.unwrap();
    set(failed(), v6(&["2a00::2"], 60));
    assert_eq!(keys(&lookup.look().await.unwrap()), ["10.0.0.1:5", "[2a00::2]:5"]);
    // What is said to be gone is gone.
    set(absent(), v6(&["2a00::2"], 60));
    assert_eq!(keys(&lookup.look().await.unwrap()), ["[2a00::2]:5"]);
}

#[tokio::test]
async fn services_have_ports_weights_and_priorities() {
    let dns = FakeDns::default();
    let services = vec![service("a.", 3, 0), service("b.", 1, 1), service("a.", 3, 0), service(".", 1, 0)];
    dns.with(|zone| zone.services.insert("orders".to_owned(), records(services, 20)));
    dns.set("a.", &["10.0.0.1"], 60);
    dns.set("b.", &["10.0.0.2", "10.0.0.3"], 10);
    let mut lookup = lookup(&dns, Subject::Service("orders".to_owned()));
    let look = lookup.look().await.unwrap();
    assert_eq!(look.ttl, Duration::from_secs(10));
    assert_eq!(keys(&look), ["10.0.0.1:7", "10.0.0.1:7", "10.0.0.2:7", "10.0.0.3:7"]);
    let first = &look.update.endpoints[0].attributes;
    assert_eq!((first.weight, first.priority, first.id.as_deref()), (3, 0, Some("a:7")));
    assert_eq!(look.update.endpoints[3].attributes.priority, 1);
    assert_eq!(dns.with(|zone| zone.asked), 2);

    // A target that cannot be asked for keeps its addresses; one that is gone does not.
    dns.break_down("a.");
    dns.with(|zone| zone.addresses.remove("b."));
    let look = lookup.look().await.unwrap();
    assert_eq!(keys(&look), ["10.0.0.1:7", "10.0.0.1:7"]);
    assert!(look.update.note.unwrap().contains("b.: no such name"));
}

#[tokio::test]
async fn a_service_that_is_not_there_is_an_error() {
    let dns = FakeDns::default();
    let mut lookup = lookup(&dns, Subject::Service("orders".to_owned()));
    assert_eq!(lookup.look().await.unwrap_err().kind(), ResolveErrorKind::NotFound);
    dns.with(|zone| zone.services.insert("orders".to_owned(), records(vec![service(".", 0, 0)], 20)));
    assert!(lookup.look().await.unwrap_err().message().contains("no such service"));
    dns.with(|zone| zone.services.insert("orders".to_owned(), records(vec![service("a.", 0, 0)], 20)));
    let error = lookup.look().await.unwrap_err();
    assert_eq!((error.kind(), error.message()), (ResolveErrorKind::NotFound, "name \"orders\": a.: no such name"));
    dns.break_down("a.");
    assert_eq!(lookup.look().await.unwrap_err().kind(), ResolveErrorKind::Unavailable);
    dns.with(|zone| zone.services.insert("orders".to_owned(), failed()));
    assert_eq!(lookup.look().await.unwrap_err().kind(), ResolveErrorKind::Unavailable);
}

#[tokio::test]
async fn services_cannot_multiply_without_bound() {
    let dns = FakeDns::default();
    let addresses: Vec<String> = (0..2000).map(|i| format!("10.0.{}.{}", i / 250, i % 250)).collect();
    let addresses: Vec<&str> = addresses.iter().map(String::as_str).collect();
    let services: Vec<_> = (0..10).map(|i| service(&format!("{i}."), 1, 0)).collect();
    services.iter().for_each(|service| dns.set(&service.target, &addresses, 60));
    dns.with(|zone| zone.services.insert("orders".to_owned(), records(services, 20)));
    let error = lookup(&dns, Subject::Service("orders".to_owned())).look().await.unwrap_err();
    assert!(error.message().contains("20000 endpoints; at most 16384"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn the_service_config_comes_along_stays_if_unanswered_and_goes_if_gone() {
    let dns = FakeDns::default();
    dns.set("orders", &["10.0.0.1"], 60);
    let set = |texts| dns.with(|zone| zone.texts.insert(CONFIG.to_owned(), texts));
    let text = |json: &str| records(vec![format!("grpc_config={json}")], 40);
    let mut lookup = host(&dns);
    set(failed());
    assert_eq!(lookup.look().await.unwrap().update.service_config, ServiceConfigUpdate::Absent);
    set(text(r#"[{"serviceConfig":{"n":1}}]"#));
    let look = lookup.look().await.unwrap();
    assert!(matches!(&look.update.service_config, ServiceConfigUpdate::Json(config) if config["n"] == 1));
    assert_eq!(look.ttl, Duration::from_secs(40));
    set(failed());
    assert_eq!(lookup.look().await.unwrap().update.service_config, look.update.service_config);
    set(text("[{"));
    let broken = lookup.look().await.unwrap();
    assert!(matches!(broken.update.service_config, ServiceConfigUpdate::Broken(_)));
    assert_eq!(keys(&broken), ["10.0.0.1:5"]);
    set(absent());
    assert_eq!(lookup.look().await.unwrap().update.service_config, ServiceConfigUpdate::Absent);
}

#[tokio::test(start_paused = true)]
async fn no_service_config_is_asked_for_unless_wanted() {
    let dns = FakeDns::default();
    dns.set("orders", &["10.0.0.1"], 60);
    dns.with(|zone| zone.texts.insert(CONFIG.to_owned(), records(vec![r#"grpc_config=[{"serviceConfig":{}}]"#.to_owned()], 40)));
    let mut lookup = Lookup { chooser: None, ..host(&dns) };
    assert_eq!(lookup.look().await.unwrap().update.service_config, ServiceConfigUpdate::Absent);
}
