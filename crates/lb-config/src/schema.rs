//! The JSON Schema of a configuration, for editors and for checks before a deployment.

use lb_core::human;
use serde_json::{Map, Value, json};

use crate::keys::{self, Kind, Scope, Section};
use crate::layer::MOST_SERVICES;

/// A duration; `never` where that is allowed is told in the description.
const DURATION: &str = r"^\s*([0-9]+(\.[0-9]+)?\s*(ns|us|µs|ms|s|min|m|h|d)\s*)+$";
const DURATION_OR_NEVER: &str = r"^never$|^\s*([0-9]+(\.[0-9]+)?\s*(ns|us|µs|ms|s|min|m|h|d)\s*)+$";
const SIZE: &str = r"^\s*[0-9]+(\.[0-9]+)?\s*(B|KB|kB|MB|GB|KiB|MiB|GiB)?\s*$";

/// The JSON Schema (draft 2020-12) of what [`Config::from_json`](crate::Config::from_json) reads, made from the tables of keys. The
/// repository has it as `crates/lb-config/schema.json`.
///
/// It knows names, types, words and the bounds of numbers. The bounds of durations, and what keys say together, only a
/// [`Config`](crate::Config) knows.
pub fn schema() -> Value {
    let mut defs = Map::new();
    for section in keys::sections() {
        defs.insert(section.path.to_owned(), object(section.path, Some(section), |_| true));
    }
    defs.insert("service".to_owned(), object("", None, |scope| scope != Scope::Top));
    let mut top = object("", None, |_| true);
    top["$schema"] = "https://json-schema.org/draft/2020-12/schema".into();
    top["title"] = "Configuration of evenkeel channels".into();
    top["properties"]["$schema"] = json!({"type": "string"});
    top["properties"]["services"] = json!({
        "description": "Services by name; what is said here counts before what is said for all",
        "type": ["object", "null"],
        "maxProperties": MOST_SERVICES,
        "additionalProperties": {"anyOf": [{"$ref": "#/$defs/service"}, {"type": "null"}]}
    });
    top["$defs"] = defs.into();
    top
}

fn object(path: &str, section: Option<&Section>, concerns: impl Fn(Scope) -> bool) -> Value {
    let mut properties = Map::new();
    for name in keys::names_in(path) {
        let path = if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
        let property = match keys::find(&path) {
            Some(key) => concerns(key.scope).then(|| value(key)),
            None => {
                let is_ours = |key: &keys::Key| concerns(key.scope);
                keys::below(&path).any(is_ours).then(|| json!({"$ref": format!("#/$defs/{path}")}))
            }
        };
        properties.extend(property.map(|property| (name.to_owned(), property)));
    }
    let mut object = json!({"type": "object", "properties": properties, "additionalProperties": false});
    if let Some(section) = section {
        object["description"] = section.about.into();
        object["type"] = if section.switch { json!(["object", "boolean", "null"]) } else { json!(["object", "null"]) };
    }
    object
}

fn value(key: &keys::Key) -> Value {
    let mut schema = kind(&key.kind);
    let default = key.default().map_or(String::new(), |value| format!("; default {}", key.kind.show(&value)));
    schema["description"] = format!("{}. {}{default}", key.about.trim_end_matches('.'), sentence(&key.kind.allowed())).into();
    schema
}

fn sentence(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map(|first| first.to_uppercase().chain(chars).collect()).unwrap_or_default()
}

fn kind(kind: &Kind) -> Value {
    match kind {
        Kind::Flag => json!({"type": ["boolean", "null"]}),
        Kind::Whole(least, most) => json!({"type": ["integer", "null"], "minimum": least, "maximum": most}),
        Kind::Number(least, most) => json!({"type": ["number", "null"], "minimum": least, "maximum": most}),
        Kind::Above(most) => json!({"type": ["number", "null"], "exclusiveMinimum": 0, "maximum": most}),
        Kind::Time(least, _) => json!({"type": ["string", "null"], "pattern": DURATION, "examples": [human::show(*least)]}),
        Kind::TimeOrNever(..) => json!({"type": ["string", "null"], "pattern": DURATION_OR_NEVER, "examples": ["never"]}),
        Kind::Size(least, most) => {
            json!({"type": ["integer", "string", "null"], "minimum": least, "maximum": most, "pattern": SIZE})
        }
        Kind::Text => json!({"type": ["string", "null"], "minLength": 1}),
        Kind::Url => json!({"type": ["string", "null"], "pattern": "^https?://[^/@]"}),
        Kind::Choice(words) => {
            let words: Vec<Value> = words.iter().map(|word| Value::from(*word)).chain([Value::Null]).collect();
            json!({"enum": words})
        }
        Kind::Texts | Kind::Secrets => json!({"type": ["array", "null"], "items": {"type": "string"}}),
        Kind::Codes => json!({"type": ["array", "null"], "items": {"type": ["string", "integer"]}}),
        Kind::Object => json!({"type": ["object", "null"]}),
        Kind::Endpoints => json!({"type": ["array", "null"], "items": {"type": ["string", "object"]}}),
        Kind::MethodRates => json!({
            "type": ["array", "null"],
            "items": {
                "type": "object",
                "properties": {
                    "service": {"type": "string"},
                    "method": {"type": "string"},
                    "perSecond": {"type": "number", "minimum": 0.001, "maximum": 1_000_000},
                    "burst": {"type": "integer", "minimum": 1, "maximum": 1_000_000}
                },
                "required": ["perSecond"],
                "additionalProperties": false
            }
        }),
    }
}
