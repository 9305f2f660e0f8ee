//! With slices as the API's own types write them.

use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::api::discovery::v1::{
    Endpoint as KubeEndpoint, EndpointConditions, EndpointHints, EndpointPort, EndpointSlice, ForNode, ForZone,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use proptest::prelude::*;

use super::*;

fn merge_with(port: PortChoice) -> Merge {
    Merge { port, traits: Traits::new("evenkeel"), terminating_fallback: true, seed: 1 }
}

fn named(name: &str) -> Merge {
    merge_with(PortChoice::Named(name.to_owned()))
}

fn pod(name: &str, address: &str) -> KubeEndpoint {
    let target_ref =
        ObjectReference { kind: Some("Pod".into()), name: Some(name.into()), uid: Some(name.into()), ..Default::default() };
    KubeEndpoint { addresses: vec![address.into()], target_ref: Some(target_ref), ..Default::default() }
}

fn with(endpoint: KubeEndpoint, ready: Option<bool>, serving: Option<bool>, terminating: Option<bool>) -> KubeEndpoint {
    KubeEndpoint { conditions: Some(EndpointConditions { ready, serving, terminating }), ..endpoint }
}

fn port(name: &str, number: i32) -> EndpointPort {
    EndpointPort { name: Some(name.into()), port: Some(number), protocol: Some("TCP".into()), ..Default::default() }
}

fn slice(name: &str, family: &str, endpoints: Vec<KubeEndpoint>, ports: Vec<EndpointPort>) -> Slice {
    let metadata = ObjectMeta { name: Some(name.into()), ..Default::default() };
    read(&EndpointSlice { metadata, address_type: family.into(), endpoints: Some(endpoints), ports: Some(ports) })
}

/// Over the wire's form.
fn read(slice: &EndpointSlice) -> Slice {
    serde_json::from_value(serde_json::to_value(slice).unwrap()).unwrap()
}

fn texts(merged: &Merged) -> BTreeMap<String, RegistryHealth> {
    merged.endpoints.iter().map(|endpoint| (endpoint.key().to_string(), endpoint.attributes.health)).collect()
}

fn map<const N: usize>(entries: [(&str, RegistryHealth); N]) -> BTreeMap<String, RegistryHealth> {
    entries.into_iter().map(|(key, health)| (key.to_owned(), health)).collect()
}

#[test]
fn all_slices_count_and_repetitions_collapse() {
    let slices = [
        slice("a", "IPv4", vec![pod("p1", "10.0.0.1"), pod("p2", "10.0.0.2")], vec![port("grpc", 50051)]),
        slice("b", "IPv4", vec![pod("p2", "10.0.0.2"), pod("p3", "10.0.0.3")], vec![port("grpc", 50051), port("http", 80)]),
        slice("empty", "IPv4", vec![], vec![]),
    ];
    let merged = named("grpc").merge(slices.iter(), &Nodes::default());
    let healthy = RegistryHealth::Healthy;
    assert_eq!(texts(&merged), map([("10.0.0.1:50051", healthy), ("10.0.0.2:50051", healthy), ("10.0.0.3:50051", healthy)]));
    assert_eq!((merged.no_port, merged.note, merged.complaints.len()), (None, None, 0));
}

#[test]
fn conditions_are_health_and_absent_ones_are_not_false() {
    let (yes, no) = (Some(true), Some(false));
    let endpoints = vec![
        pod("nothing-said", "10.0.0.1"),
        with(pod("ready", "10.0.0.2"), yes, None, None),
        with(pod("unready", "10.0.0.3"), no, no, no),
        with(pod("ends", "10.0.0.4"), no, yes, yes),
        with(pod("ends-not-serving", "10.0.0.5"), no, no, yes),
        with(pod("published-anyway", "10.0.0.6"), yes, yes, yes),
    ];
    let all = [slice("a", "IPv4", endpoints, vec![port("grpc", 1)])];
    let expected = map([
        ("10.0.0.1:1", RegistryHealth::Healthy),
        ("10.0.0.2:1", RegistryHealth::Healthy),
        ("10.0.0.3:1", RegistryHealth::Unhealthy),
        ("10.0.0.4:1", RegistryHealth::Draining),
        ("10.0.0.5:1", RegistryHealth::Draining),
        ("10.0.0.6:1", RegistryHealth::Draining),
    ]);
    assert_eq!(texts(&named("grpc").merge(all.iter(), &Nodes::default())), expected);
}

#[test]
fn who_ends_but_serves_is_the_last_resort() {
    let (yes, no) = (Some(true), Some(false));
    let endpoints = vec![
        with(pod("ends", "10.0.0.1"), no, yes, yes),
        with(pod("ends-not-serving", "10.0.0.2"), no, no, yes),
        with(pod("unready", "10.0.0.3"), no, no, no),
    ];
    let all = [slice("a", "IPv4", endpoints, vec![port("grpc", 1)])];
    let rest = [("10.0.0.2:1", RegistryHealth::Draining), ("10.0.0.3:1", RegistryHealth::Unhealthy)];
    let merged = named("grpc").merge(all.iter(), &Nodes::default());
    assert_eq!(texts(&merged), map([("10.0.0.1:1", RegistryHealth::Degraded), rest[0], rest[1]]));
    let without = Merge { terminating_fallback: false, ..named("grpc") };
    assert_eq!(
        texts(&without.merge(all.iter(), &Nodes::default())),
        map([("10.0.0.1:1", RegistryHealth::Draining), rest[0], rest[1]])
    );
}

#[test]
fn both_addresses_of_a_pod_are_one_endpoint() {
    let slices = [
        slice("v6", "IPv6", vec![pod("p1", "fd00::1"), pod("p2", "fd00::2")], vec![port("grpc", 1)]),
        slice("v4", "IPv4", vec![pod("p1", "10.0.0.1"), pod("p3", "10.0.0.3")], vec![port("grpc", 1)]),
    ];
    let merged = named("grpc").merge(slices.iter(), &Nodes::default());
    let keys: Vec<_> = texts(&merged).into_keys().collect();
    assert_eq!(keys, ["10.0.0.1:1,[fd00::1]:1", "10.0.0.3:1", "[fd00::2]:1"]);
    let pair = merged.endpoints.iter().find(|endpoint| endpoint.addresses().len() == 2).unwrap();
    assert_eq!(pair.addresses()[0].to_string(), "10.0.0.1:1");
    assert_eq!(pair.attributes.id.as_deref(), Some("p1"));
}

#[test]
fn one_reference_for_many_addresses_is_no_pair() {
    let endpoints = vec![pod("gateway", "10.0.0.1"), pod("gateway", "10.0.0.2")];
    let merged = named("grpc").merge([slice("a", "IPv4", endpoints, vec![port("grpc", 1)])].iter(), &Nodes::default());
    assert_eq!(merged.endpoints.len(), 2);
    let nobodys = KubeEndpoint { addresses: vec!["10.0.0.9".into(), "10.0.0.8".into()], ..Default::default() };
    let merged = named("grpc").merge([slice("a", "IPv4", vec![nobodys], vec![port("grpc", 1)])].iter(), &Nodes::default());
    assert_eq!(texts(&merged).into_keys().collect::<Vec<_>>(), ["10.0.0.9:1"], "only the first address means anything");
}

#[test]
fn while_a_pod_moves_between_slices_the_better_news_counts() {
    let (yes, no) = (Some(true), Some(false));
    let slices = [
        slice("a", "IPv4", vec![with(pod("p1", "10.0.0.1"), no, no, no)], vec![port("grpc", 1)]),
        slice("b", "IPv4", vec![with(pod("p1", "10.0.0.1"), yes, yes, no)], vec![port("grpc", 1)]),
        slice("c", "IPv4", vec![with(pod("p1", "10.0.0.1"), no, yes, yes)], vec![port("grpc", 1)]),
    ];
    assert_eq!(texts(&named("grpc").merge(slices.iter(), &Nodes::default())), map([("10.0.0.1:1", RegistryHealth::Healthy)]));
}

#[test]
fn ports_belong_to_their_slice() {
    let slices = [
        slice("old", "IPv4", vec![pod("p1", "10.0.0.1")], vec![port("grpc", 1), port("web", 80)]),
        slice("new", "IPv4", vec![pod("p2", "10.0.0.2")], vec![port("grpc", 2)]),
    ];
    let keys = |merge: Merge| texts(&merge.merge(slices.iter(), &Nodes::default())).into_keys().collect::<Vec<_>>();
    assert_eq!(keys(named("grpc")), ["10.0.0.1:1", "10.0.0.2:2"]);
    assert_eq!(keys(named("web")), ["10.0.0.1:80"]);
    assert_eq!(keys(merge_with(PortChoice::Any)), ["10.0.0.1:1", "10.0.0.2:2"], "the only one, or grpc");
    assert_eq!(keys(merge_with(PortChoice::Number(9))), ["10.0.0.1:9", "10.0.0.2:9"]);
    let note = merge_with(PortChoice::Number(9)).merge(slices.iter(), &Nodes::default()).note.unwrap();
    assert!(note.contains("port 9 is none"), "{note}");
    assert_eq!(merge_with(PortChoice::Number(80)).merge(slices.iter(), &Nodes::default()).note, None);
}

#[test]
fn a_missing_port_is_said_with_those_there_are() {
    let udp = EndpointPort { protocol: Some("UDP".into()), ..port("grpc", 53) };
    let slices = [slice("a", "IPv4", vec![pod("p", "10.0.0.1")], vec![port("http", 80), port("admin", 81), udp])];
    let merged = named("grpc").merge(slices.iter(), &Nodes::default());
    assert_eq!(merged.endpoints, []);
    let reason = merged.no_port.unwrap();
    assert!(reason.contains("no TCP port is named \"grpc\"") && reason.contains("\"http\" (80)"), "{reason}");
    assert!(merge_with(PortChoice::Any).merge(slices.iter(), &Nodes::default()).no_port.unwrap().contains("must name a port"));
    let scaled_to_nothing = [slice("a", "IPv4", vec![], vec![])];
    assert_eq!(named("grpc").merge(scaled_to_nothing.iter(), &Nodes::default()), Merged::default());
}

#[test]
fn odd_numbers_and_addresses_are_left_out() {
    for number in [0, -1, 65536] {
        let slices = [slice("a", "IPv4", vec![pod("p", "10.0.0.1")], vec![port("grpc", number)])];
        assert!(named("grpc").merge(slices.iter(), &Nodes::default()).no_port.is_some(), "{number}");
    }
    let endpoints = vec![pod("v6", "fd00::1"), pod("text", "nonsense"), pod("any", "0.0.0.0"), pod("good", "10.0.0.1")];
    let merged = named("grpc").merge([slice("a", "IPv4", endpoints, vec![port("grpc", 1)])].iter(), &Nodes::default());
    assert_eq!((merged.endpoints.len(), merged.complaints.len()), (1, 3));
    let names = vec![pod("p", "a.internal"), pod("q", "bad name")];
    let merged = named("grpc").merge([slice("a", "FQDN", names, vec![port("grpc", 1)])].iter(), &Nodes::default());
    assert_eq!(texts(&merged).into_keys().collect::<Vec<_>>(), ["a.internal:1"]);
    let merged =
        named("grpc").merge([slice("a", "Quantum", vec![pod("p", "10.0.0.1")], vec![port("grpc", 1)])].iter(), &Nodes::default());
    assert_eq!((merged.endpoints.len(), merged.complaints.len()), (0, 1));
}

#[test]
fn what_is_known_of_an_endpoint_is_kept() {
    let hints = EndpointHints {
        for_zones: Some(vec![ForZone { name: "z1".into() }, ForZone { name: "z2".into() }]),
        for_nodes: Some(vec![ForNode { name: "n1".into() }]),
    };
    let endpoint = KubeEndpoint {
        zone: Some("eu-1".into()),
        node_name: Some("n1".into()),
        hints: Some(hints),
        ..with(pod("orders-0", "10.0.0.1"), Some(true), None, None)
    };
    let annotations =
        [("evenkeel/weight", "7"), ("evenkeel/region", "eu"), ("evenkeel/zone", "overruled"), ("evenkeel/tier", "gold")];
    let metadata = ObjectMeta {
        name: Some("a".into()),
        annotations: Some(annotations.map(|(key, value)| (key.into(), value.into())).into()),
        ..Default::default()
    };
    let ports = Some(vec![EndpointPort { app_protocol: Some("kubernetes.io/h2c".into()), ..port("grpc", 1) }]);
    let all = [read(&EndpointSlice { metadata, address_type: "IPv4".into(), endpoints: Some(vec![endpoint]), ports })];
    let merged = named("grpc").merge(all.iter(), &Nodes::default());
    let attributes = &merged.endpoints[0].attributes;
    assert_eq!((attributes.weight, attributes.id.as_deref()), (7, Some("orders-0")));
    assert_eq!(attributes.locality, Locality::new("eu", "eu-1", ""));
    let metadata: Vec<_> = attributes.metadata.iter().map(|(key, value)| format!("{key}={value}")).collect();
    assert_eq!(metadata, ["app-protocol=kubernetes.io/h2c", "node=n1", "node-hints=n1", "tier=gold", "zone-hints=z1,z2"]);
}

/// Few names and addresses, so that they meet.
fn any_slices() -> impl Strategy<Value = Vec<Slice>> {
    let condition = || proptest::option::of(any::<bool>());
    let endpoint = (0..6_u8, 0..6_u8, any::<bool>(), condition(), condition(), condition())
        .prop_map(|(pod_number, host, known, ready, serving, terminating)| (pod_number, host, known, ready, serving, terminating));
    let one = (any::<bool>(), proptest::collection::vec(endpoint, 0..8), 0..3_i32);
    proptest::collection::vec(one, 0..6).prop_map(|all| {
        let each = |(index, (v6, endpoints, number)): (usize, (bool, Vec<_>, i32))| {
            let read = |(pod_number, host, known, ready, serving, terminating)| {
                let address = if v6 { format!("fd00::{host}") } else { format!("10.0.0.{host}") };
                let endpoint = with(pod(&format!("p{pod_number}"), &address), ready, serving, terminating);
                if known { endpoint } else { KubeEndpoint { target_ref: None, ..endpoint } }
            };
            let endpoints = endpoints.into_iter().map(read).collect();
            slice(&format!("s{index}"), if v6 { "IPv6" } else { "IPv4" }, endpoints, vec![port("grpc", number)])
        };
        all.into_iter().enumerate().map(each).collect()
    })
}

proptest! {
    #[test]
    fn nothing_is_lost_and_nothing_is_invented(slices in any_slices(), seed in any::<u64>()) {
        let merge = Merge { seed, ..named("grpc") };
        let merged = merge.merge(slices.iter(), &Nodes::default());
        let mut listed = BTreeSet::new();
        for slice in &slices {
            let number = slice.ports.as_ref().unwrap()[0].port.unwrap();
            for endpoint in slice.endpoints.iter().flatten().filter(|_| number > 0) {
                listed.insert(SocketAddr::new(endpoint.addresses[0].parse().unwrap(), u16::try_from(number).unwrap()));
            }
        }
        listed.retain(|address| !address.ip().is_unspecified());
        let mut found = Vec::new();
        for address in merged.endpoints.iter().flat_map(Endpoint::addresses) {
            let Address::Tcp(address) = address else { panic!("{address}") };
            found.push(*address);
        }
        found.sort_unstable();
        prop_assert_eq!(found, listed.into_iter().collect::<Vec<_>>(), "each address in exactly one endpoint");
        prop_assert_eq!(texts(&merge.merge(slices.iter().rev(), &Nodes::default())), texts(&merged), "the order of slices does not matter");
    }
}
