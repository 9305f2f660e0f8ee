use proptest::prelude::*;

use super::*;
use crate::model;

fn one(service: &str, node: &str, checks: &str) -> Entry {
    let body = format!(
        r#"[{{"Service":{{"ID":"s1","Service":"s","Port":80,{service}}},"Node":{{"Node":"n1","Address":"10.0.0.1",{node}}},"Checks":[{checks}]}}]"#
    );
    model::entries(body.as_bytes()).unwrap().remove(0)
}

fn plain(service: &str) -> Entry {
    one(service, r#""Datacenter":"dc1""#, "")
}

fn read(entry: Entry) -> (Endpoint, Vec<String>) {
    let mut converted = Reading::default().convert(vec![entry]);
    (converted.endpoints.remove(0), converted.complaints)
}

#[test]
fn meta_and_tags_set_attributes() {
    let (endpoint, complaints) = read(one(
        r#""Address":"10.0.0.9","Tags":["gpu","weight=9","cost=1.5","color=red"],
           "Meta":{"weight":"7","capabilities":"fast, cheap","zone":"b","priority":"2","capacity":"10","hostname":"h","replica_of":"n1/s0","team":"x"}"#,
        r#""Datacenter":"dc1","Meta":{"zone":"a","sub_zone":"rack","team":"y","os":"linux","cost":"9"}"#,
        "",
    ));
    let attributes = &endpoint.attributes;
    assert_eq!(endpoint.key().as_str(), "10.0.0.9:80");
    assert_eq!((attributes.weight, attributes.priority, attributes.capacity, attributes.cost), (7, 2, Some(10), Some(1.5)));
    assert_eq!(attributes.locality, Locality::new("dc1", "b", "rack"));
    assert_eq!(attributes.capabilities.iter().map(|word| &**word).collect::<Vec<_>>(), ["cheap", "color=red", "fast", "gpu"]);
    assert_eq!((attributes.hostname.as_deref(), attributes.id.as_deref()), (Some("h"), Some("n1/s1")));
    assert_eq!(attributes.replica_of.as_deref(), Some("n1/s0"));
    let metadata: Vec<_> = attributes.metadata.iter().map(|(key, value)| format!("{key}={value}")).collect();
    assert_eq!(metadata, ["consul.node=n1", "consul.service_id=s1", "os=linux", "team=x"]);
    assert!(complaints.is_empty(), "{complaints:?}");
}

#[test]
fn a_prefix_keeps_other_peoples_words_apart() {
    let reading = Reading { prefix: "lb-".to_owned(), ..Reading::default() };
    let converted = reading.convert(vec![plain(r#""Tags":["lb-zone=a"],"Meta":{"weight":"heavy","lb-weight":"3"}"#)]);
    let attributes = &converted.endpoints[0].attributes;
    assert_eq!((attributes.weight, &*attributes.locality.zone, &*attributes.metadata["weight"]), (3, "a", "heavy"));
    assert!(converted.complaints.is_empty());
}

#[test]
fn bad_values_are_named_and_left_out() {
    let (endpoint, complaints) =
        read(plain(r#""Weights":{"Passing":5,"Warning":1},"Meta":{"weight":"-1","priority":"x","capacity":"0","cost":"-2"}"#));
    let attributes = endpoint.attributes;
    assert_eq!((attributes.weight, attributes.priority, attributes.capacity, attributes.cost), (5, 0, None, None));
    assert_eq!(complaints.len(), 4);
    assert_eq!(complaints[0], "s1 on n1: weight is \"-1\"");
}

#[test]
fn checks_become_health_and_choose_the_weight() {
    let check = |id: &str, status: &str| format!(r#"{{"CheckID":"{id}","Status":"{status}"}}"#);
    let weights = r#""Weights":{"Passing":10,"Warning":2}"#;
    for (checks, health, weight) in [
        (String::new(), RegistryHealth::Healthy, 10),
        (check("serfHealth", "passing"), RegistryHealth::Healthy, 10),
        (check("a", "warning") + "," + &check("b", "passing"), RegistryHealth::Degraded, 2),
        (check("a", "critical") + "," + &check("b", "warning"), RegistryHealth::Unhealthy, 10),
        (check("_node_maintenance", "critical"), RegistryHealth::Draining, 10),
        (check("_service_maintenance:s1", "critical") + "," + &check("a", "critical"), RegistryHealth::Draining, 10),
        (check("_service_maintenance:s1", "passing"), RegistryHealth::Healthy, 10),
        (check("a", "somehow"), RegistryHealth::Healthy, 10),
    ] {
        let (endpoint, _) = read(one(weights, r#""Meta":null"#, &checks));
        assert_eq!((endpoint.attributes.health, endpoint.attributes.weight), (health, weight), "{checks}");
    }
}

#[test]
fn only_passing_means_only_passing() {
    let reading = Reading { passing: true, ..Reading::default() };
    let warning = one(r#""Meta":null"#, r#""Meta":null"#, r#"{"CheckID":"a","Status":"warning"}"#);
    let converted = reading.convert(vec![warning, plain(r#""Address":"10.0.0.2""#)]);
    assert_eq!((converted.endpoints.len(), converted.failing, converted.entries), (1, 1, 2));
}

#[test]
fn addresses_out_of_range_cost_one_endpoint_each() {
    let with_port = |port: i64| {
        let mut entry = plain(r#""Meta":null"#);
        entry.service.port = port;
        entry
    };
    let mut named = plain(r#""Address":"orders.internal""#);
    named.service.id = "named".to_owned();
    let entries = vec![with_port(0), with_port(70_000), with_port(-1), plain(r#""Address":"not a host""#), named, with_port(80)];
    let converted = Reading::default().convert(entries);
    let keys: Vec<_> = converted.endpoints.iter().map(|endpoint| endpoint.key().as_str()).collect();
    assert_eq!(keys, ["10.0.0.1:80", "orders.internal:80"]);
    assert_eq!((converted.unusable, converted.complaints.len()), (4, 4));
    assert_eq!(converted.complaints[1], "s1 on n1: port 70000 is not from 1 to 65535");
}

#[test]
fn of_an_address_registered_twice_the_healthier_entry_counts() {
    let failing = r#"{"CheckID":"a","Status":"critical"}"#;
    let (bad, good) = (one(r#""Meta":null"#, r#""Meta":null"#, failing), plain(r#""Meta":null"#));
    for entries in [vec![bad.clone(), good.clone()], vec![good, bad]] {
        let converted = Reading::default().convert(entries);
        assert_eq!((converted.endpoints.len(), converted.endpoints[0].attributes.health), (1, RegistryHealth::Healthy));
    }
}

#[test]
fn newer_servers_say_where_things_are() {
    let place = r#""Locality":{"Region":"eu","Zone":"eu-1"}"#;
    assert_eq!(read(plain(place)).0.attributes.locality, Locality::new("eu", "eu-1", ""));
    assert_eq!(read(one(r#""Meta":null"#, place, "")).0.attributes.locality, Locality::new("eu", "eu-1", ""));
    assert_eq!(read(plain(r#""Locality":null"#)).0.attributes.locality, Locality::new("dc1", "", ""));
}

proptest! {
    #[test]
    fn any_words_make_some_endpoint(key in "weight|cost|capacity|zone|x", value in any::<String>(), tag in any::<String>(), port in any::<i64>()) {
        let mut entry = plain(r#""Meta":null"#);
        entry.service.meta.insert(key, value);
        entry.service.tags.push(tag);
        entry.service.port = port;
        let converted = Reading::default().convert(vec![entry]);
        prop_assert_eq!(converted.endpoints.len() + converted.unusable, 1);
        prop_assert_eq!(converted.unusable == 0, (1..=65_535).contains(&port));
    }
}
