use proptest::prelude::*;

use super::*;

fn json(text: &str) -> Result<ResolverUpdate, String> {
    Format::Json.parse(text, 1000)
}

fn yaml(text: &str) -> Result<ResolverUpdate, String> {
    Format::Yaml.parse(text, 1000)
}

const FULL_YAML: &str = r#"
endpoints:
  - 10.0.0.1:50051
  - address: orders-2.internal:50051
    weight: 3
    priority: 1
    locality: {region: eu-west-1, zone: eu-west-1b, subZone: rack-4}
    capabilities: [gpu, gpu]
    capacity: 100
    cost: 0.25
    health: draining
    id: orders-2
    replicaOf: orders-1
    hostname: orders.example
    metadata: {owner: shop}
  - addresses: ["10.0.0.3:50051", "[2001:db8::3]:50051"]
serviceConfig: {loadBalancingConfig: [{round_robin: {}}]}
"#;

const FULL_JSON: &str = r#"{
  "endpoints": [
    "10.0.0.1:50051",
    {"address": "orders-2.internal:50051", "weight": 3, "priority": 1,
     "locality": {"region": "eu-west-1", "zone": "eu-west-1b", "subZone": "rack-4"},
     "capabilities": ["gpu"], "capacity": 100, "cost": 0.25, "health": "draining", "id": "orders-2",
     "replicaOf": "orders-1", "hostname": "orders.example", "metadata": {"owner": "shop"}},
    {"addresses": ["10.0.0.3:50051", "[2001:db8::3]:50051"]}
  ],
  "serviceConfig": {"loadBalancingConfig": [{"round_robin": {}}]}
}"#;

#[test]
fn every_key_is_read_and_both_formats_say_the_same() {
    let update = yaml(FULL_YAML).unwrap();
    assert_eq!(update, json(FULL_JSON).unwrap());
    let [short, full, dual] = &update.endpoints[..] else { panic!("{update:?}") };
    assert_eq!(*short, Endpoint::new("10.0.0.1:50051".parse::<Address>().unwrap()));
    assert_eq!(full.attributes.locality, Locality::new("eu-west-1", "eu-west-1b", "rack-4"));
    assert_eq!((full.attributes.weight, full.attributes.priority), (3, 1));
    assert_eq!((full.attributes.capacity, full.attributes.cost), (Some(100), Some(0.25)));
    assert_eq!(full.attributes.health, RegistryHealth::Draining);
    assert_eq!(full.attributes.id.as_deref(), Some("orders-2"));
    assert_eq!(full.attributes.replica_of.as_deref(), Some("orders-1"));
    assert_eq!(full.attributes.hostname.as_deref(), Some("orders.example"));
    assert!(full.attributes.capabilities.contains("gpu"));
    assert_eq!(full.attributes.metadata["owner"].as_ref(), "shop");
    assert_eq!(dual.addresses().len(), 2);
    assert!(matches!(&update.service_config, ServiceConfigUpdate::Json(config) if config.get("loadBalancingConfig").is_some()));
}

#[test]
fn a_bare_list_and_an_empty_one() {
    assert_eq!(json(r#"["a:1", "b"]"#).unwrap().endpoints[1].key().as_str(), "b:443");
    assert_eq!(yaml("- a:1\n- address: b").unwrap().endpoints.len(), 2);
    assert_eq!(json("[]").unwrap(), ResolverUpdate::default());
    assert_eq!(yaml("endpoints: []").unwrap(), ResolverUpdate::default());
    assert_eq!(json("\u{feff}[]").unwrap(), ResolverUpdate::default());
}

#[test]
fn nothing_is_not_a_list_of_nothing() {
    for text in ["", "  \n", "null", "{}", "{\"endpoints\": null}", "3", "\"a:1\""] {
        assert!(json(text).is_err(), "{text}");
        assert!(yaml(text).is_err(), "{text}");
    }
    assert!(yaml("endpoints:").is_err());
    assert!(yaml("# all commented out\n#- a:1\n").is_err());
}

#[test]
fn errors_name_line_value_and_what_is_allowed() {
    for (text, expected) in [
        ("[\n {\"address\": \"a:1\", \"wieght\": 3}\n]", vec!["`wieght`", "`weight`", "line 2"]),
        ("[\n {\"address\": \"a:1\", \"weight\": -3}\n]", vec!["-3", "u32", "line 2"]),
        ("[\n \"a:x\"\n]", vec!["\"a:x\"", "0 to 65535", "line 2"]),
        ("[\n {\"address\": \"a:1\", \"health\": \"sick\"}\n]", vec!["`sick`", "`healthy`", "line 2"]),
        ("[\n {\"address\": \"a:1\", \"cost\": -0.5}\n]", vec!["`cost` is -0.5", "not negative", "line 2"]),
        ("[\n {\"address\": \"a:1\", \"addresses\": []}\n]", vec!["exactly one of", "line 2"]),
        ("[\n {\"addresses\": []}\n]", vec!["`addresses` is empty", "line 2"]),
        ("[\n {\"weight\": 1}\n]", vec!["exactly one of", "line 2"]),
        ("[\n {\"address\": \"a:1\", \"id\": \"\"}\n]", vec!["`id` is \"\"", "line 2"]),
        ("[\n {\"address\": \"a:1\", \"locality\": {\"rack\": \"1\"}}\n]", vec!["`rack`", "`subZone`", "line 2"]),
        ("{\n\"endpoint\": []}", vec!["`endpoint`", "`endpoints`", "line 2"]),
        ("[\n 7\n]", vec!["7", "an address", "line 2"]),
    ] {
        // The two parsers quote names differently.
        for error in [json(text), yaml(text)].map(|result| result.unwrap_err().replace('`', "")) {
            for part in expected.iter().map(|part| part.replace('`', "")) {
                assert!(error.contains(&part), "{text}: {error:?} lacks {part:?}");
            }
        }
    }
    assert!(json(r#"{"endpoints": [], "serviceConfig": 3}"#).unwrap_err().contains("serviceConfig: 3; allowed is an object"));
}

#[test]
fn the_place_is_quoted_and_short() {
    let error = json(&format!("[{} {{\"addres\": 1}}]", "\"a:1\",".repeat(1000))).unwrap_err();
    assert!(error.contains("{\"addres\": 1}"), "{error}");
    assert!(error.len() < 400, "{error}");
    assert!(json("[\n\n").unwrap_err().contains("line"));
}

#[test]
fn the_number_of_endpoints_is_limited() {
    assert!(Format::Json.parse(r#"["a:1","b:1"]"#, 2).is_ok());
    let error = Format::Json.parse(r#"["a:1","b:1","c:1"]"#, 2).unwrap_err();
    assert_eq!(error, "endpoints: 3 of them; at most 2 are allowed");
}

/// More nodes than the parser allows by default.
#[test]
fn a_large_yaml_file_is_read_whole() {
    let words = "x,".repeat(260);
    let text: String = (0..1000).map(|i| format!("- {{address: \"a:{i}\", capabilities: [{words}]}}\n")).collect();
    assert_eq!(Format::Yaml.parse(&text, 1000).unwrap().endpoints.len(), 1000);
}

#[test]
fn hostile_nesting_and_aliases_are_errors() {
    assert!(json(&"[".repeat(100_000)).is_err());
    assert!(yaml(&"[".repeat(100_000)).is_err());
    assert!(yaml(&"- ".repeat(10_000)).is_err());
    let mut bomb = "a: &a0 [x, x, x, x, x, x, x, x, x]\n".to_owned();
    for i in 1..12 {
        bomb.push_str(&format!("b{i}: &a{i} [{}]\n", vec![format!("*a{}", i - 1); 9].join(", ")));
    }
    assert!(yaml(&format!("serviceConfig:\n  {}\nendpoints: []", bomb.trim_end().replace('\n', "\n  "))).is_err());
}

proptest! {
    #[test]
    fn no_text_makes_it_panic(text in "\\PC{0,200}") {
        let _ = json(&text);
        let _ = yaml(&text);
    }

    #[test]
    fn near_misses_do_not_panic_and_never_lose_endpoints(
        cut in 0..FULL_YAML.len(), insert in prop::sample::select(vec!["", "\"", "{", "]", ":", "- ", "\t", "&a", "*a", "!!x ", "\0"])
    ) {
        if FULL_YAML.is_char_boundary(cut) {
            let _ = yaml(&format!("{}{insert}{}", &FULL_YAML[..cut], &FULL_YAML[cut..]));
        }
        // JSON cut anywhere is never a smaller set of endpoints.
        if cut < FULL_JSON.len() && FULL_JSON.is_char_boundary(cut) {
            prop_assert!(json(&FULL_JSON[..cut]).is_err());
        }
    }

    #[test]
    fn what_is_written_is_read(
        endpoints in prop::collection::vec(("[a-z]{1,20}", any::<u16>(), any::<u32>(), any::<u32>(), any::<u16>()), 0..30)
    ) {
        let list: Vec<_> = endpoints.iter().map(|(host, port, weight, priority, cost)| {
            serde_json::json!({"address": format!("{host}:{port}"), "weight": weight, "priority": priority, "cost": f64::from(*cost) / 4.0})
        }).collect();
        let text = serde_json::to_string(&list).unwrap();
        let update = json(&text).unwrap();
        // JSON is YAML.
        prop_assert_eq!(&update, &yaml(&text).unwrap());
        prop_assert_eq!(update.endpoints.len(), endpoints.len());
        for (read, (host, port, weight, priority, _)) in update.endpoints.iter().zip(&endpoints) {
            prop_assert_eq!(read.key().to_string(), format!("{host}:{port}"));
            prop_assert_eq!((read.attributes.weight, read.attributes.priority), (*weight, *priority));
        }
    }
}
