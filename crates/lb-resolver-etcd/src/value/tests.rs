use lb_core::Locality;
use lb_core::RegistryHealth;
use proptest::prelude::*;

use super::*;

fn ok(text: &str) -> Endpoint {
    parse(text.as_bytes()).unwrap_or_else(|error| panic!("{text}: {error}"))
}

fn error(value: impl AsRef<[u8]>) -> String {
    parse(value.as_ref()).expect_err(&String::from_utf8_lossy(value.as_ref()))
}

#[test]
fn every_attribute_of_ours_is_read() {
    let endpoint = ok(r#"{"addresses":["10.0.0.1:1","[::1]:1"],"weight":3,"locality":{"region":"eu","zone":"a","subZone":"r1"},
        "priority":1,"capabilities":["gpu"],"capacity":10,"cost":0.5,"health":"draining","id":"s1","replicaOf":"s0","hostname":"h.test",
        "metadata":{"version":"2"},"added later":[1]}"#);
    let attributes = &endpoint.attributes;
    assert_eq!(endpoint.key().as_str(), "10.0.0.1:1,[::1]:1");
    assert_eq!((attributes.weight, attributes.priority, attributes.capacity, attributes.cost), (3, 1, Some(10), Some(0.5)));
    assert_eq!(attributes.locality, Locality::new("eu", "a", "r1"));
    assert!(attributes.capabilities.contains("gpu"));
    assert_eq!(attributes.health, RegistryHealth::Draining);
    assert_eq!((attributes.id.as_deref(), attributes.hostname.as_deref()), (Some("s1"), Some("h.test")));
    assert_eq!(attributes.replica_of.as_deref(), Some("s0"));
    assert_eq!(attributes.metadata.get("version").map(AsRef::as_ref), Some("2"));
}

#[test]
fn the_short_forms_are_an_address() {
    for text in ["10.0.0.1:1", " 10.0.0.1:1\n", "\"10.0.0.1:1\"", r#"{"address":"10.0.0.1:1","id":null}"#] {
        assert_eq!(ok(text), Endpoint::new("10.0.0.1:1".parse::<Address>().unwrap()), "{text}");
    }
}

#[test]
fn grpc_naming_is_read_and_its_metadata_is_never_a_fault() {
    let endpoint = ok(r#"{"Op":0,"Addr":"a.test:1","Metadata":{"weight":7,"priority":"high","build":{"n":1},"id":"s 1"}}"#);
    assert_eq!(endpoint.attributes.weight, 7);
    assert_eq!((endpoint.attributes.priority, endpoint.attributes.id.as_ref()), (0, None));
    let metadata: Vec<_> = endpoint.attributes.metadata.iter().map(|(key, value)| format!("{key}={value}")).collect();
    assert_eq!(metadata, [r#"build={"n":1}"#, "id=s 1", "priority=high"]);

    assert_eq!(ok(r#"{"addr":"a.test:1","metadata":null}"#).attributes, Attributes::default());
    assert_eq!(ok(r#"{"Addr":"a.test:1","Metadata":"blue"}"#).attributes.metadata["Metadata"].as_ref(), "blue");
    let nested = ok(r#"{"Addr":"a.test:1","Metadata":{"build":1,"metadata":{"x":"y"}}}"#);
    assert_eq!(nested.attributes.metadata.len(), 2);
}

#[test]
fn a_bad_value_says_what_is_wrong_and_what_is_allowed() {
    for (value, expected) in [
        ("", "allowed are ip:port"),
        ("nonsense", "port is missing"),
        ("10.0.0.1:70000", "0 to 65535"),
        ("{}", "exactly one of"),
        (r#"{"address":"a:1","addresses":["b:1"]}"#, "exactly one of"),
        (r#"{"addresses":[]}"#, "is empty"),
        (r#"{"addresses":"a:1"}"#, "a list of addresses"),
        (r#"{"address":1}"#, "allowed is a text"),
        (r#"{"Addr":{}}"#, "`Addr` has"),
        (r#"{"address":"a:1","weight":-1}"#, "`weight` is \"-1\""),
        (r#"{"address":"a:1","weight":4294967296}"#, "`weight`"),
        (r#"{"address":"a:1","cost":-0.5}"#, "not negative"),
        (r#"{"address":"a:1","cost":1e999}"#, "number out of range"),
        (r#"{"address":"a:1","health":"fine"}"#, "draining"),
        (r#"{"address":"a:1","id":"a b"}"#, "no spaces"),
        (r#"{"address":"a:1","capabilities":["gpu",1]}"#, "a list of texts"),
        (r#"{"address":"a:1","metadata":{"a":1}}"#, "values are texts"),
        (r#"{"address":"a:1""#, "EOF"),
    ] {
        let error = error(value);
        assert!(error.contains(expected), "{value}: {error}");
    }
}

#[test]
fn hostile_values_are_short_errors() {
    let deep = format!("{{\"address\":\"a:1\",\"metadata\":{}{}}}", "[".repeat(20_000), "]".repeat(20_000));
    let long = format!("{{\"address\":\"{}:1\"}}", "a".repeat(60_000));
    let big = vec![b'x'; MOST_BYTES + 1];
    for (value, expected) in [
        (&b"\xff\xfe"[..], "not UTF-8"),
        (deep.as_bytes(), "recursion limit"),
        (long.as_bytes(), "at most 1024"),
        (&big, "at most 65536"),
    ] {
        let error = error(value);
        assert!(error.contains(expected) && error.len() < 400, "{error}");
    }
}

fn endpoints() -> impl Strategy<Value = Endpoint> {
    let addresses = prop::collection::vec(
        (1_u16.., any::<[u8; 4]>()).prop_map(|(port, ip)| Address::from(std::net::SocketAddr::from((ip, port)))),
        1..4,
    );
    let texts = || prop::collection::btree_map("[a-z]{1,5}", ".{0,8}", 0..3);
    let numbers =
        (any::<u32>(), any::<u32>(), any::<Option<u32>>(), prop::option::of(any::<u32>().prop_map(|cost| f64::from(cost) / 8.0)));
    (addresses, numbers, texts(), prop::option::of("[a-z0-9-]{1,9}"), "[a-z]{0,4}").prop_map(
        |(addresses, numbers, texts, id, zone)| {
            let mut endpoint = Endpoint::with_addresses(addresses).unwrap();
            let attributes = &mut endpoint.attributes;
            (attributes.weight, attributes.priority, attributes.capacity, attributes.cost) = numbers;
            attributes.metadata = texts.into_iter().map(|(key, value)| (key.into(), value.into())).collect();
            attributes.id = id.map(Into::into);
            attributes.locality = Locality::new("", zone, "");
            endpoint
        },
    )
}

proptest! {
    #[test]
    fn what_is_written_is_read(endpoint in endpoints()) {
        prop_assert_eq!(&parse(&format(&endpoint, EtcdFormat::Attributes)).unwrap(), &endpoint);
        let naming = parse(&format(&endpoint, EtcdFormat::GrpcNaming)).unwrap();
        prop_assert_eq!(naming.addresses(), &endpoint.addresses()[..1]);
        prop_assert_eq!(naming.attributes, endpoint.attributes);
    }

    #[test]
    fn any_bytes_are_an_endpoint_or_a_short_error(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        prop_assert!(parse(&bytes).map_or_else(|error| error.len() < 2000, |_| true));
    }

    #[test]
    fn any_json_is_an_endpoint_or_a_short_error(
        key in "address|addresses|Addr|weight|cost|id|Metadata|metadata|locality|health|[a-z]{0,3}",
        value in r#"null|-?[0-9]{1,20}|[0-9]e[0-9]{1,3}|"[a-z0-9:. ]{0,20}"|\[("a:1",)*"b:2"\]|\{"a":1\}"#,
    ) {
        for text in [format!("{{{key:?}:{value}}}"), format!("{{\"address\":\"a:1\",{key:?}:{value}}}"), format!("{{\"Addr\":\"a:1\",{key:?}:{value}}}")] {
            prop_assert!(parse(text.as_bytes()).map_or_else(|error| error.len() < 2000, |_| true));
        }
    }
}
