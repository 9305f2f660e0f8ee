use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::*;
use crate::attributes::Locality;
use crate::connectivity::ConnectivityState;
use crate::endpoint::Endpoint;
use crate::policies::testing::start;
use crate::wishes::Misfit;

fn endpoint(number: u8) -> Endpoint {
    let mut endpoint = Endpoint::new(std::net::SocketAddr::from(([10, 0, 0, number], 1)));
    endpoint.attributes.id = Some(format!("e{number}").into());
    endpoint.attributes.capacity = Some(10);
    endpoint
}

fn selector(policy: &str, count: u8) -> (Selector, Instant) {
    let mut selector = Selector::new(7, policy, &Value::Null).unwrap();
    selector.add_all(start(), (0..count).map(endpoint)).unwrap();
    selector.take_events();
    (selector, start())
}

fn ids(selector: &mut Selector, now: Instant, hints: &PickHints, picks: usize) -> Vec<String> {
    (0..picks).map(|_| selector.select(now, hints).unwrap().attributes.id.unwrap().to_string()).collect()
}

#[test]
fn endpoints_are_added_updated_listed_and_removed() {
    let mut selector = Selector::new(7, "round_robin", &Value::Null).unwrap();
    let (now, none) = (start(), PickHints::new());
    assert!(matches!(selector.select(now, &none), Err(SelectorError::NoEndpoint(_))));
    assert_eq!((selector.policy(), selector.stats().total), ("round_robin", 0));
    selector.add(now, endpoint(1)).unwrap();
    selector.add(now, endpoint(2)).unwrap();
    assert_eq!(selector.add(now, endpoint(1)), Err(SelectorError::Exists("e1 (10.0.0.1:1)".into())));
    let mut twin = endpoint(3);
    twin.attributes.id = Some("e1".into());
    assert!(matches!(selector.add(now, twin), Err(SelectorError::Exists(_))), "another key, the same id");
    assert_eq!(ids(&mut selector, now, &none, 3).len(), 3);

    let mut changed = endpoint(2);
    changed.attributes.id = Some("second".into());
    changed.attributes.weight = 5;
    selector.update(now, changed).unwrap();
    assert!(matches!(selector.get(now, "e2"), Err(SelectorError::UnknownEndpoint(name)) if name == "e2"));
    let record = selector.get(now, "second").unwrap();
    assert_eq!((record.attributes.weight, record.state, record.connections > 0), (5, ConnectivityState::Ready, true));
    assert!(matches!(selector.update(now, endpoint(9)), Err(SelectorError::UnknownEndpoint(_))));
    let listed: Vec<String> = selector.list(now).into_iter().map(|record| record.key.to_string()).collect();
    assert_eq!(listed, ["10.0.0.1:1", "10.0.0.2:1"]);
    assert_eq!(selector.remove(now, "10.0.0.1:1").unwrap(), endpoint(1));
    assert!(selector.remove(now, "e1").is_err());
    assert_eq!(ids(&mut selector, now, &none, 2), ["second", "second"]);
    let events: Vec<String> = selector.take_events().iter().map(ToString::to_string).collect();
    assert!(events[0].starts_with("selection failed"), "{events:?}");
    for expected in ["endpoint 10.0.0.1:1 added", "endpoint 10.0.0.2:1 updated", "endpoint 10.0.0.1:1 removed"] {
        assert!(events.iter().any(|event| event == expected), "{expected} {events:?}");
    }
    assert!(selector.take_events().is_empty());
}

#[test]
fn what_is_set_is_read_back_with_its_time_and_selections_go_by_it() {
    let (mut selector, now) = selector("round_robin", 4);
    selector.set_load(now, "e0", 0.9).unwrap();
    selector.set_connections(now, "e1", 9).unwrap();
    selector.set_health(now, "e2", HealthReport::unhealthy("disk full")).unwrap();
    let hints = PickHints::new().not_overloaded();
    assert_eq!(ids(&mut selector, now, &hints, 2), ["e3", "e3"]);
    assert_eq!(ids(&mut selector, now, &PickHints::new().below_load(0.9).pin("e0"), 1), ["e0"], "at most, not below");
    selector.report(now, 3, Outcome::Success, None).unwrap();
    let later = now + Duration::from_secs(5);
    let load = selector.get(later, "e0").unwrap().load.unwrap();
    assert_eq!((load.value, load.at, load.age), (0.9, now, Duration::from_secs(5)));
    let record = selector.get(later, "e1").unwrap();
    assert_eq!((record.connections_set.unwrap().value, record.connections), (9, 9));
    let record = selector.get(later, "e2").unwrap();
    assert_eq!(
        (record.health.unwrap().value.issues, record.state),
        (vec!["disk full".to_owned()], ConnectivityState::TransientFailure)
    );

    let stats = selector.stats();
    assert_eq!((stats.total, stats.healthy, stats.connections, stats.open, stats.selected), (4, 3, 11, 2, 3));
    // 0.9 set, 9 of 10, none of 10, 2 of 10.
    assert!((stats.average_load.unwrap() - 0.5).abs() < 1e-6);
    let unfit = selector.select(now, &PickHints::new().below_load(0.1)).unwrap_err();
    let SelectorError::NothingFits(unfit) = unfit else { panic!("{unfit}") };
    assert_eq!(unfit.removed_by(&Misfit::AboveLoad(0.1)), 3);
    let events: Vec<String> = selector.take_events().iter().map(ToString::to_string).collect();
    for expected in [
        "endpoint 10.0.0.0:1 at a load of 90 %",
        "endpoint 10.0.0.0:1 overloaded at 90 %",
        "endpoint 10.0.0.2:1 unhealthy",
        "selection failed: no endpoint fits: of 4 endpoints: 3 above load 0.1, 1 in TRANSIENT_FAILURE",
    ] {
        assert!(events.iter().any(|event| event == expected), "{expected} {events:?}");
    }
    // And back.
    selector.set_load(now, "e0", 0.0).unwrap();
    selector.set_connections(now, "e1", 0).unwrap();
    selector.set_health(now, "e2", HealthReport::healthy()).unwrap();
    assert_eq!(selector.stats().healthy, 4);
    let mut seen = ids(&mut selector, now, &hints, 4);
    seen.sort();
    assert_eq!(seen, ["e0", "e1", "e2", "e3"]);
}

#[test]
fn values_that_make_no_sense_are_refused_and_change_nothing() {
    let (mut selector, now) = selector("round_robin", 1);
    for load in [-0.1, 1.1, f64::NAN, f64::INFINITY] {
        assert!(matches!(selector.set_load(now, "e0", load), Err(SelectorError::Config(_))), "{load}");
    }
    let health = HealthReport { error_rate: Some(2.0), ..HealthReport::default() };
    assert!(matches!(selector.set_health(now, "e0", health), Err(SelectorError::Config(_))));
    assert!(matches!(selector.set_policy(now, "nonesuch", &Value::Null), Err(SelectorError::Config(_))));
    assert!(matches!(selector.select(now, &PickHints::new().policy("nonesuch")), Err(SelectorError::Config(_))));
    assert!(selector.set_load(now, "nobody", 0.5).is_err() && selector.drain(now, "nobody").is_err());
    let record = selector.get(now, "e0").unwrap();
    assert_eq!((record.load, record.health, selector.policy()), (None, None, "round_robin"));
}

#[test]
fn selections_count_until_they_are_reported() {
    let (mut selector, now) = selector("least_request", 2);
    let hints = PickHints::new().pin("e1").cost(4);
    let selection = selector.select(now, &hints).unwrap();
    assert_eq!(selector.get(now, "e1").unwrap().connections, 1);
    // Two of cost 4 fit into 10, a third does not.
    let second = selector.select(now, &hints).unwrap();
    assert!(matches!(selector.select(now, &hints), Err(SelectorError::NothingFits(_))));
    selector.report(now, selection.ticket, Outcome::Success, Some(Duration::from_millis(30))).unwrap();
    assert_eq!(selector.report(now, selection.ticket, Outcome::Success, None), Err(SelectorError::UnknownTicket(selection.ticket)));
    let record = selector.get(now, "e1").unwrap();
    assert_eq!((record.connections, record.succeeded, record.success_rate), (1, 1, Some(1.0)));
    assert!(record.latency.unwrap().abs_diff(Duration::from_millis(30)) < Duration::from_micros(1));
    let _third = selector.select(now, &hints).unwrap();
    // Set by hand while two are open: those are part of what was set, or not any more.
    selector.set_connections(now, "e1", 5).unwrap();
    selector.report(now, second.ticket, Outcome::Failure, None).unwrap();
    let record = selector.get(now, "e1").unwrap();
    assert_eq!((record.connections, record.failed), (5, 1));
    selector.set_connections(now, "e1", 0).unwrap();
    selector.remove(now, "e1").unwrap();
    assert_eq!(selector.stats().open, 1);
}

#[test]
fn policies_switch_and_one_call_may_have_its_own() {
    let (mut selector, now) = selector("round_robin", 3);
    assert_eq!(ids(&mut selector, now, &PickHints::new().policy("pick_first"), 3), ["e0"; 3]);
    selector.set_policy(now, "pick_first", &Value::Null).unwrap();
    assert_eq!(selector.policy(), "pick_first");
    assert_eq!(ids(&mut selector, now, &PickHints::new(), 3), ["e0"; 3]);
    selector.set_health(now, "e0", HealthReport::unhealthy("")).unwrap();
    let later = now + Duration::from_secs(1);
    assert_eq!(ids(&mut selector, later, &PickHints::new(), 2), ["e1"; 2]);
    assert_eq!(selector.get(now, "e0").unwrap().connections, 6, "switching loses no count");
    let changed = |event: &LbEvent| matches!(event, LbEvent::PolicyChanged { policy } if &**policy == "pick_first");
    assert!(selector.take_events().iter().any(changed));
    selector.drain(now, "e1").unwrap();
    assert_eq!(selector.get(now, "e1").unwrap().excluded, Some("drained"));
    assert_eq!(ids(&mut selector, later, &PickHints::new(), 1), ["e2"]);
}

#[test]
fn regions_are_near_by_the_response_times_that_were_set() {
    let mut selector = Selector::new(7, "round_robin", &Value::Null).unwrap();
    let now = start();
    for (number, (region, millis)) in [("us", 90), ("asia", 20), ("eu", 1)].into_iter().enumerate() {
        let mut endpoint = endpoint(number as u8);
        endpoint.attributes.locality = Locality::new(region, "", "");
        selector.add(now, endpoint).unwrap();
        let mut health = HealthReport::healthy();
        health.response_time = Some(Duration::from_millis(millis));
        selector.set_health(now, &format!("e{number}"), health).unwrap();
    }
    let eu = PickHints::new().prefer_region("eu");
    assert_eq!(ids(&mut selector, now, &eu, 2), ["e2"; 2]);
    selector.set_health(now, "e2", HealthReport::unhealthy("down")).unwrap();
    assert_eq!(ids(&mut selector, now, &eu, 2), ["e1"; 2]);
    let rows = selector.explain(now, &eu).unwrap();
    let reasons: Vec<_> = rows.iter().map(|row| row.reason.as_str()).collect();
    assert_eq!(reasons, ["less preferred", "one turn in 1", "in TRANSIENT_FAILURE: down"]);
}

#[test]
fn events_and_open_selections_are_bounded() {
    let (mut selector, now) = selector("round_robin", 1);
    for _ in 0..3000 {
        selector.set_load(now, "e0", 0.1).unwrap();
    }
    let events = selector.take_events();
    assert_eq!((events.len(), &events[0]), (1024, &LbEvent::Lagged(1977)));
    let first = selector.select(now, &PickHints::new()).unwrap();
    for _ in 0..MAX_TICKETS {
        let _ = selector.select(now, &PickHints::new()).unwrap();
    }
    assert_eq!(selector.stats().open, MAX_TICKETS);
    assert_eq!(selector.get(now, "e0").unwrap().connections as usize, MAX_TICKETS);
    assert!(selector.report(now, first.ticket, Outcome::Success, None).is_err());
}

#[test]
fn every_operation_is_data_in_and_data_out() {
    let mut selector = Selector::new(7, "least_request", &Value::Null).unwrap();
    let now = start();
    let mut ask = |operation: Value| selector.apply_json(now, &operation);
    let data =
        json!({"addresses": ["10.0.0.1:1"], "id": "a", "capacity": 10, "capabilities": ["gpu"], "locality": {"region": "eu"}});
    assert_eq!(ask(json!({"op": "add", "endpoint": data})), json!({"ok": null}));
    assert_eq!(ask(json!({"op": "add", "endpoint": {"addresses": ["10.0.0.2:1"]}})), json!({"ok": null}));
    assert_eq!(ask(json!({"op": "setLoad", "name": "a", "load": 0.5})), json!({"ok": null}));
    assert_eq!(ask(json!({"op": "setConnections", "name": "a", "connections": 3})), json!({"ok": null}));
    let health = json!({"healthy": true, "responseTime": 0.02, "errorRate": 0.1, "uptime": 60, "issues": ["slow disk"]});
    assert_eq!(ask(json!({"op": "setHealth", "name": "a", "health": health})), json!({"ok": null}));
    let record = &ask(json!({"op": "get", "name": "a"}))["ok"];
    assert_eq!((&record["key"], &record["state"], &record["connections"]), (&json!("10.0.0.1:1"), &json!("READY"), &json!(3)));
    assert_eq!((&record["load"], &record["health"]["value"]["uptime"]), (&json!({"value": 0.5, "age": 0.0}), &json!(60.0)));
    let options = json!({"require": ["gpu"], "region": "eu", "loadThreshold": true, "cost": 2, "priority": 5, "kind": "render"});
    let selection = ask(json!({"op": "select", "options": options}));
    assert_eq!((&selection["ok"]["key"], &selection["ok"]["ticket"]), (&json!("10.0.0.1:1"), &json!(1)), "{selection}");
    assert_eq!(ask(json!({"op": "report", "ticket": 1, "outcome": "success", "duration": 0.25})), json!({"ok": null}));
    assert_eq!(ask(json!({"op": "list"}))["ok"].as_array().unwrap().len(), 2);
    assert_eq!(ask(json!({"op": "explain", "options": {"exclude": ["a"]}}))["ok"][0]["excluded"], json!("excluded"));
    let unfit = ask(json!({"op": "select", "options": {"require": ["tpu"]}}));
    assert_eq!(unfit["unfit"], json!({"endpoints": 2, "removed": [[{"lacks": "tpu"}, 2]]}));
    assert_eq!(ask(json!({"op": "setPolicy", "policy": "random"})), json!({"ok": null}));
    assert_eq!(ask(json!({"op": "drain", "name": "a", "drained": true})), json!({"ok": null}));
    assert_eq!(ask(json!({"op": "update", "endpoint": {"addresses": ["10.0.0.2:1"], "weight": 4}})), json!({"ok": null}));
    let stats = &ask(json!({"op": "stats"}))["ok"];
    assert_eq!(
        (&stats["policy"], &stats["total"], &stats["selected"], &stats["failed"]),
        (&json!("random"), &json!(2), &json!(1), &json!(1))
    );
    let events = ask(json!({"op": "events"}));
    assert!(events["ok"].as_array().unwrap().contains(&json!({"endpoint_added": "10.0.0.1:1"})), "{events}");
    assert_eq!(ask(json!({"op": "remove", "name": "a"})), json!({"ok": null}));
}

#[test]
fn data_that_makes_no_sense_is_an_error_and_never_a_panic() {
    let (mut selector, now) = selector("round_robin", 1);
    for (operation, complaint) in [
        (json!("select"), "operation"),
        (json!({"op": "destroy"}), "destroy"),
        (json!({"op": "add", "endpoint": {"addresses": []}}), "endpoint.addresses"),
        (json!({"op": "add", "endpoint": {"addresses": ["not an address"]}}), "endpoint.addresses"),
        (json!({"op": "add", "endpoint": {"addresses": ["10.0.0.9:1"], "cost": -1}}), "endpoint.cost"),
        (json!({"op": "add", "endpoint": {"addresses": ["10.0.0.9:1"], "weight": -1}}), "operation"),
        (json!({"op": "setLoad", "name": "e0", "load": 2}), "from 0 to 1"),
        (json!({"op": "setHealth", "name": "e0", "health": {"uptime": -3}}), "seconds"),
        (json!({"op": "setHealth", "name": "e0", "health": {"uptime": 1e300}}), "seconds"),
        (json!({"op": "select", "options": {"loadThreshold": 1.5}}), "loadThreshold"),
        (json!({"op": "select", "options": {"require": [""]}}), "require"),
        (json!({"op": "select", "options": {"pin": ""}}), "pin"),
        (json!({"op": "select", "options": {"priority": 256}}), "operation"),
        (json!({"op": "report", "ticket": 77, "outcome": "success"}), "77"),
        (json!({"op": "report", "ticket": 77, "outcome": "splendid"}), "splendid"),
        (json!({"op": "get", "name": "nobody"}), "nobody"),
        (json!({"op": "setPolicy", "policy": "round_robin", "config": []}), "object"),
    ] {
        let reply = selector.apply_json(now, &operation);
        assert!(reply["error"].as_str().unwrap().contains(complaint), "{operation}: {reply}");
    }
}

#[test]
fn gates_count_and_a_report_opens_them() {
    let mut settings = MachineConfig::new(7);
    settings.gatekeepers = vec![Arc::new(crate::concurrency::ConcurrencyLimit::new(1))];
    let mut selector = Selector::with_settings(settings, "round_robin", &Value::Null, PolicyRegistry::default()).unwrap();
    let (now, none) = (start(), PickHints::new());
    selector.add_all(now, (0..2).map(endpoint)).unwrap();
    let (one, other) = (selector.select(now, &none).unwrap(), selector.select(now, &none).unwrap());
    assert_ne!(one.key, other.key);
    let Err(SelectorError::NothingFits(unfit)) = selector.select(now, &none) else { panic!("both are at their limit") };
    assert_eq!(unfit.removed_by(&Misfit::AtLimit), 2);
    selector.report(now, one.ticket, Outcome::Success, None).unwrap();
    assert_eq!(selector.select(now, &none).unwrap().key, one.key);
}
