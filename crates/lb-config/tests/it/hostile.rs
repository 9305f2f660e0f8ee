//! What nobody means to write.

use lb_config::{Config, Format, Problems, keys};
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::layers::tempdir;
use crate::{config, problems};

fn load(name: &str, content: &[u8]) -> Result<Config, Problems> {
    let directory = tempdir(&format!("hostile-{name}"));
    let file = directory.join(name);
    std::fs::write(&file, content).expect("a directory of ours");
    let loaded = Config::sources().file(&file).load();
    std::fs::remove_dir_all(directory).expect("a directory of ours");
    loaded
}

#[test]
fn a_value_of_100_mb_is_told_in_a_line() {
    let long = "x".repeat(100 << 20);
    let found = problems(json!({"timeout": long, "policyConfig": [&long], &long: 1})).to_string();
    assert!(found.len() < 20_000 && found.contains("timeout is \"xxx"), "{}", &found[..1000]);
    let found = Config::sources().environment([("LB_TIMEOUT", &*long)]).load().unwrap_err().to_string();
    assert_eq!(found, "environment LB_TIMEOUT: LB_TIMEOUT is 104857600 bytes long, allowed is at most 131072 bytes");
}

#[test]
fn a_large_file_is_refused_and_so_is_what_is_none() {
    let found = load("large.json", &vec![b' '; (8 << 20) + 1]).unwrap_err().to_string();
    assert!(found.contains("at most 8388608 are allowed"), "{found}");
    let found = Config::sources().file(std::env::temp_dir()).load().unwrap_err().to_string();
    assert!(found.contains("of an unknown kind by its name, allowed is .json, .yaml, .yml or .toml"), "{found}");
    let found = Config::sources().file("/nowhere/lb.json").load().unwrap_err().to_string();
    assert!(found.contains("file /nowhere/lb.json: cannot be read"), "{found}");
    assert!(Config::sources().optional_file("/nowhere/lb.json").load().is_ok());
}

#[test]
fn files_that_are_no_files_of_their_kind() {
    let nested = format!("{}1{}", "[".repeat(100_000), "]".repeat(100_000));
    let bomb =
        format!("a0: &a0 [x,x]\n{}", (1..40).map(|i| format!("a{i}: &a{i} [*a{}, *a{}]\n", i - 1, i - 1)).collect::<String>());
    for (name, content) in [
        ("a.json", &b"{"[..]),
        ("b.json", b"\xff\xfe"),
        ("c.json", b"[]"),
        ("d.json", b"\"timeout\""),
        ("e.json", br#"{"timeout": "1s", "timeout": "2s"}"#),
        ("f.json", nested.as_bytes()),
        ("a.yaml", b"timeout: [1s"),
        ("b.yaml", b"timeout: 1s\ntimeout: 2s"),
        ("c.yaml", b"--- {}\n--- {}\n"),
        ("d.yml", nested.as_bytes()),
        ("e.yml", bomb.as_bytes()),
        ("a.toml", b"timeout = "),
        ("b.toml", b"timeout = \"1s\"\ntimeout = \"2s\""),
        ("c.toml", b"timeout = 1979-05-27T07:32:00Z"),
        ("a.ini", b"timeout = 1s"),
    ] {
        let found = load(name, content).expect_err(name).to_string();
        assert!(found.contains(name) && found.len() < 20_000, "{name}: {found}");
    }
}

#[test]
fn the_same_in_every_format_with_a_mark_in_front_and_when_empty() {
    let json = load(
        "same.json",
        "\u{feff}{\"endpoints\": [\"1.2.3.4:5\"], \"retry\": {\"maxAttempts\": 4}, \"timeout\": \"1m\"}".as_bytes(),
    )
    .unwrap();
    let yaml = load("same.yaml", b"endpoints: ['1.2.3.4:5']\nretry: {maxAttempts: 4}\ntimeout: 1m\n").unwrap();
    let toml = load("same.toml", b"endpoints = [\"1.2.3.4:5\"]\ntimeout = \"1m\"\n[retry]\nmaxAttempts = 4\n").unwrap();
    assert!(json == yaml && yaml == toml);
    for name in ["empty.json", "empty.yaml", "empty.toml"] {
        assert_eq!(load(name, b"\n ").unwrap().services().count(), 0, "{name}");
    }
    assert_eq!(Format::of("x.JSON".as_ref()), Some(Format::Json));
}

#[test]
fn a_secret_does_not_show_when_its_file_cannot_be_read() {
    for (name, content) in [
        ("s.json", r#"{"sessions": {"tokenKeys": ["hunter2hunter2"}}"#),
        ("s.yaml", "sessions:\n  tokenKeys: [hunter2hunter2\n"),
        ("s.toml", "[sessions]\ntokenKeys = [\"hunter2hunter2\"\n"),
    ] {
        let found = load(name, content.as_bytes()).unwrap_err().to_string();
        assert!(!found.contains("hunter2"), "{found}");
    }
}

#[test]
fn many_faults_are_counted_not_told() {
    let tree: Value = (0..10_000).map(|index| (format!("nobody{index}"), json!(1))).collect::<serde_json::Map<_, _>>().into();
    let found = problems(tree);
    assert_eq!((found.iter().count(), found.more()), (100, 9_900));
    assert!(found.to_string().ends_with("and 9900 more"));
    let services: serde_json::Map<_, _> = (0..1001).map(|index| (format!("s{index}"), json!({"target": "x"}))).collect();
    assert!(problems(json!({"services": services})).to_string().contains("at most 1000"));
    for name in ["", " ", "a b", "\u{7}", &"x".repeat(201)] {
        assert!(problems(json!({"services": {name: {"target": "x"}}})).to_string().contains("1 to 200 bytes"), "{name:?}");
    }
}

#[test]
fn every_key_refuses_what_it_is_not() {
    let values =
        [json!(true), json!(-1), json!(1.5e300), json!("\u{0}"), json!([[[]]]), json!({"a": {"b": null}}), json!(u64::MAX)];
    for key in keys::all() {
        for value in &values {
            let loaded = Config::sources().defaults(json!({"endpoints": ["1.2.3.4:5"]})).set(key.path, value.clone()).load();
            if let Err(problems) = loaded {
                assert!(problems.iter().all(|problem| problem.source == "code" && !problem.allowed.is_empty()), "{problems}");
            }
        }
    }
}

#[test]
fn a_dot_in_a_name_is_no_path() {
    assert!(problems(json!({"retry.maxAttempts": 3})).to_string().contains("retry.maxAttempts is no key"));
    assert_eq!(config(json!({"services": {"a.timeout": {"target": "static:///1.2.3.4:5"}}})).services().count(), 1);
}

/// Names that are keys, sections, nearly either, or nothing.
fn name() -> impl Strategy<Value = String> {
    let known: Vec<String> = keys::all().iter().flat_map(|key| key.path.split('.').map(str::to_owned)).collect();
    prop_oneof![8 => proptest::sample::select(known), 1 => "[a-zA-Z.]{0,12}", 1 => Just("services".to_owned())]
}

fn tree() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        "\\PC{0,8}|[0-9]{1,3}(ms|s|m|h|KiB)|never|round_robin".prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 64, 8, |inner| {
        prop_oneof![
            1 => proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            4 => proptest::collection::btree_map(name(), inner, 0..8).prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Nothing panics, and what is taken is taken again as the same.
    #[test]
    fn any_tree_is_taken_or_refused(tree in tree(), variables in proptest::collection::btree_map("(LB_)?[A-Z_]{0,20}(_HOSTS|_WEIGHT)?", "\\PC{0,12}", 0..6)) {
        let loaded = Config::sources().defaults(tree).environment(variables).load();
        match loaded {
            Ok(config) => {
                let again = config.replaced("again", &config.to_json());
                prop_assert!(again.is_ok_and(|again| again == config), "{:?}", config);
                let _ = (config.effective(), config.explain().to_string());
            }
            Err(problems) => prop_assert!(problems.iter().count() > 0 && !problems.to_string().is_empty()),
        }
    }

    /// Settings that are right, in any number: set key by key they are what they are set at once.
    #[test]
    fn key_by_key_is_at_once(picks in proptest::collection::btree_set(0..keys::all().len(), 0..20)) {
        let said: Vec<_> = picks.into_iter().map(|at| &keys::all()[at]).filter_map(|key| Some((key.path, key.default()?))).collect();
        let one = said.iter().fold(Config::sources(), |sources, (path, value)| sources.set(*path, value.clone()));
        let mut tree = json!({});
        for (path, value) in &said {
            let at = path.split('.').fold(&mut tree, |at, name| &mut at[name]);
            *at = value.clone();
        }
        let (one, other) = (one.load(), Config::from_json(&tree));
        prop_assert_eq!(one.as_ref().map(Config::to_json).map_err(ToString::to_string), other.as_ref().map(Config::to_json).map_err(ToString::to_string));
    }
}

/// Linear in the services: a change of what all have is told of each.
#[test]
fn many_services_are_one_configuration_like_any_other() {
    let service = json!({"endpoints": ["1.2.3.4:5"], "timeout": "3s", "retry": {"maxAttempts": 4}});
    let services: serde_json::Map<_, _> = (0..200).map(|index| (format!("s{index}"), service.clone())).collect();
    let one = config(json!({"services": services, "preset": "gateway"}));
    let other = one.with("test", &json!({"timeout": "9s", "maxAttempts": 7})).unwrap();
    assert_eq!(one.diff(&other).changed.len(), 200, "the timeout is each one's own");
    assert!(one.diff(&one).is_empty());
}
