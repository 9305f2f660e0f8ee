//! The form of etcd's gRPC naming (`clientv3/naming/endpoints`): `{"Op":0,"Addr":"10.0.0.1:50051","Metadata":…}`.
//!
//! `Metadata` is whatever its writer likes. In an object, members that are named and typed like our attributes are attributes; every other
//! becomes a text in the endpoint's metadata, and so does a `Metadata` that is no object, as `Metadata`. Nothing in it can make the
//! endpoint bad. Keys are compared as Go does, without regard to case.

use lb_core::Attributes;
use lb_core::Endpoint;
use serde_json::Map;
use serde_json::Value;
use serde_json::json;

use super::attributes;

/// The member of that name.
pub(super) fn find<'a>(object: &'a Map<String, Value>, key: &str) -> Option<&'a Value> {
    object.get(key).or_else(|| object.iter().find(|(name, _)| name.eq_ignore_ascii_case(key)).map(|(_, value)| value))
}

pub(super) fn endpoint(address: &Value, metadata: Option<&Value>) -> Result<Endpoint, String> {
    let mut endpoint = Endpoint::new(super::text_address("Addr", address)?);
    match metadata {
        None | Some(Value::Null) => {}
        Some(Value::Object(members)) => {
            // First, because it replaces the texts that the others add to.
            let ours = members.get("metadata").map(|value| fill(&mut endpoint.attributes, "metadata", value));
            let others = members.iter().filter(|(key, _)| ours.is_none() || *key != "metadata");
            others.for_each(|(key, value)| fill(&mut endpoint.attributes, key, value));
        }
        Some(other) => fill(&mut endpoint.attributes, "Metadata", other),
    }
    Ok(endpoint)
}

fn fill(attributes: &mut Attributes, key: &str, value: &Value) {
    if let Ok(true) = attributes::set(attributes, key, value) {
        return;
    }
    let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    attributes.metadata.insert(key.into(), text.into());
}

pub(super) fn format(endpoint: &Endpoint) -> Value {
    let address = endpoint.addresses().first().map(ToString::to_string);
    json!({ "Op": 0, "Addr": address, "Metadata": endpoint.attributes })
}
