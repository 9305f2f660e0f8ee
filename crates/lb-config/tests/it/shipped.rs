//! What the repository ships is what the code says. After a change of the keys: `EVENKEEL_WRITE=1 cargo test -p lb-config --all-features shipped`.

use std::path::PathBuf;
use std::sync::LazyLock;

use lb_config::{Config, document, keys, schema};
use serde_json::{Value, json};

fn root(path: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..").join(path)
}

/// The file, or with `EVENKEEL_WRITE` in the environment what it should be.
fn shipped(path: &str, wanted: impl FnOnce(&str) -> String) {
    let path = root(path);
    let is = std::fs::read_to_string(&path).unwrap_or_default();
    let wanted = wanted(&is);
    if std::env::var_os("EVENKEEL_WRITE").is_some() {
        std::fs::write(&path, &wanted).expect("the file can be written");
    } else {
        assert!(is == wanted, "{} is not what the code says: write it anew", path.display());
    }
}

#[test]
fn the_schema_is_current() {
    shipped("crates/lb-config/schema.json", |_| format!("{:#}\n", schema()));
}

#[test]
fn the_tables_of_the_documentation_are_current() {
    const BEGIN: &str = "<!-- keys: made from the code -->\n";
    const END: &str = "<!-- end of keys -->";
    shipped("docs/CONFIG.md", |text| {
        let (before, rest) = text.split_once(BEGIN).expect("it has a place for the tables");
        let (_, after) = rest.split_once(END).expect("which ends");
        format!("{before}{BEGIN}{}\n{END}{after}", document::tables())
    });
}

#[test]
fn every_block_of_the_documentation_is_a_configuration() {
    let text = std::fs::read_to_string(root("docs/CONFIG.md")).unwrap();
    let mut blocks = 0;
    for (language, block) in text.split("```").skip(1).step_by(2).filter_map(|block| block.split_once('\n')) {
        if !matches!(language, "yaml" | "toml" | "json") {
            continue;
        }
        blocks += 1;
        let directory = crate::layers::tempdir(&format!("docs{blocks}"));
        let file = directory.join(format!("lb.{language}"));
        std::fs::write(&file, block).unwrap();
        let config = Config::sources().file(&file).load().unwrap_or_else(|problems| panic!("{problems}\n{block}"));
        validates(&config.to_json());
        std::fs::remove_dir_all(directory).unwrap();
    }
    assert!(blocks >= 3, "{blocks} blocks");
}

#[test]
fn the_schema_takes_what_a_configuration_takes_and_refuses_what_it_refuses() {
    for key in keys::all().iter().filter(|key| key.default().is_some()) {
        let tree = key.path.rsplit('.').fold(key.default().unwrap(), |value, name| json!({name: value}));
        validates(&tree);
    }
    for tree in [
        json!({"$schema": "x", "timeout": "1m30s", "retry": true, "hedging": {}, "health": null, "tls": false}),
        json!({"services": {"a": {"endpoints": ["x", {"address": "y"}], "sessions": {"rules": {"gone": "lend"}}}, "b": null}}),
    ] {
        let mut tree = tree;
        tree.as_object_mut().unwrap().remove("health");
        validates(&tree);
        Config::sources()
            .defaults(json!({"services": {"b": {"target": "static:///1.2.3.4:5"}}}))
            .overrides(tree.clone())
            .load()
            .err()
            .into_iter()
            .for_each(|problems| {
                assert!(problems.iter().all(|problem| !problem.value.contains("no key")), "{problems}");
            });
    }
    for tree in [
        json!([]),
        json!({"timeot": "1s"}),
        json!({"timeout": 5}),
        json!({"retry": {"maxAttempts": 1}}),
        json!({"retry": {"max": 1}}),
        json!({"retry": 5}),
        json!({"healthCheck": {"mode": "wach"}}),
        json!({"services": {"a": {"preset": "client"}}}),
        json!({"services": {"a": {"metrics": {}}}}),
        json!({"rateLimits": {"methods": [{"service": "a"}]}}),
    ] {
        assert!(!fits(&SCHEMA, &SCHEMA, &tree), "{tree}");
        assert!(Config::from_json(&tree).is_err(), "{tree}");
    }
}

fn validates(tree: &Value) {
    assert!(fits(&SCHEMA, &SCHEMA, tree), "the schema refuses {tree}");
}

static SCHEMA: LazyLock<Value> = LazyLock::new(schema);

/// As much of JSON Schema as ours uses; patterns are the business of the tests of durations.
fn fits(root: &Value, schema: &Value, value: &Value) -> bool {
    if let Some(reference) = schema["$ref"].as_str() {
        return fits(root, &root["$defs"][reference.strip_prefix("#/$defs/").expect("references are to definitions")], value);
    }
    if let Some(any) = schema["anyOf"].as_array() {
        return any.iter().any(|schema| fits(root, schema, value));
    }
    if let Some(words) = schema["enum"].as_array() {
        return words.contains(value);
    }
    let is = |name: &str| match name {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "null" => value.is_null(),
        "integer" => value.is_u64() || value.is_i64(),
        "number" => value.is_number(),
        other => panic!("{other}"),
    };
    let types = match &schema["type"] {
        Value::String(name) => is(name),
        Value::Array(names) => names.iter().filter_map(Value::as_str).any(is),
        _ => true,
    };
    let bounds = value.as_f64().is_none_or(|number| {
        schema["minimum"].as_f64().is_none_or(|least| number >= least)
            && schema["maximum"].as_f64().is_none_or(|most| number <= most)
    });
    let required =
        schema["required"].as_array().into_iter().flatten().all(|name| value.get(name.as_str().unwrap_or_default()).is_some());
    let members = value.as_object().into_iter().flatten().all(|(name, member)| match schema["properties"].get(name) {
        Some(property) => fits(root, property, member),
        None => match &schema["additionalProperties"] {
            Value::Bool(allowed) => *allowed,
            Value::Null => true,
            other => fits(root, other, member),
        },
    });
    let items = value.as_array().into_iter().flatten().all(|item| schema.get("items").is_none_or(|items| fits(root, items, item)));
    types && bounds && required && members && items
}
