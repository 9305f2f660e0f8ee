//! One attribute at a time, by its key in JSON.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::sync::Arc;

use lb_core::Attributes;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::quoted;

/// Sets the attribute called `key`; false if there is none of that name. `null` is as good as absent.
pub(super) fn set(attributes: &mut Attributes, key: &str, value: &Value) -> Result<bool, String> {
    let known = matches!(
        key,
        "weight"
            | "locality"
            | "priority"
            | "capabilities"
            | "capacity"
            | "cost"
            | "health"
            | "id"
            | "replicaOf"
            | "hostname"
            | "metadata"
    );
    if !known || value.is_null() {
        return Ok(known);
    }
    match key {
        "weight" => attributes.weight = read(key, value, "a whole number from 0 to 4294967295")?,
        "locality" => attributes.locality = read(key, value, "an object with texts for region, zone and subZone")?,
        "priority" => attributes.priority = read(key, value, "a whole number from 0 to 4294967295")?,
        "capabilities" => attributes.capabilities = read::<BTreeSet<Arc<str>>>(key, value, "a list of texts")?,
        "capacity" => attributes.capacity = Some(read(key, value, "a whole number from 0 to 4294967295")?),
        "cost" => attributes.cost = Some(cost(value)?),
        "health" => attributes.health = read(key, value, "unknown, healthy, degraded, draining or unhealthy")?,
        "id" => attributes.id = Some(word(key, value)?),
        "replicaOf" => attributes.replica_of = Some(word(key, value)?),
        "hostname" => attributes.hostname = Some(word(key, value)?),
        _ => attributes.metadata = read::<BTreeMap<Arc<str>, Arc<str>>>(key, value, "an object whose values are texts")?,
    }
    Ok(true)
}

fn read<T: DeserializeOwned>(key: &str, value: &Value, allowed: &str) -> Result<T, String> {
    T::deserialize(value).map_err(|_| bad(key, value, allowed))
}

fn bad(key: &str, value: &Value, allowed: &str) -> String {
    format!("`{key}` is {}; allowed is {allowed}", quoted(&value.to_string()))
}

fn cost(value: &Value) -> Result<f64, String> {
    let cost = value.as_f64().filter(|cost| cost.is_finite() && *cost >= 0.0);
    cost.ok_or_else(|| bad("cost", value, "a finite number, not negative"))
}

/// A name that goes into headers and logs.
fn word(key: &str, value: &Value) -> Result<Arc<str>, String> {
    let text = value.as_str().filter(|text| !text.is_empty() && !text.chars().any(|c| c.is_whitespace() || c.is_control()));
    text.map(Into::into).ok_or_else(|| bad(key, value, "a text of one or more characters, no spaces or control characters"))
}
