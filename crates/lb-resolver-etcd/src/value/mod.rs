//! What a key's value says: one endpoint, in one of three forms.
//!
//! Ours and the one of etcd's own gRPC naming are objects of JSON, told apart by the key `Addr`; a plain address stands for itself. Every
//! endpoint has one value, so a bad one costs that endpoint and no other. Size and depth are bounded before anything is built.

mod attributes;
mod naming;

use lb_core::Address;
use lb_core::Attributes;
use lb_core::Endpoint;
use serde::Serialize;
use serde_json::Map;
use serde_json::Value;

/// An endpoint with all its attributes needs a few hundred bytes; a value beyond this is something else.
const MOST_BYTES: usize = 64 << 10;

/// Characters of a value that an error shows.
const QUOTED: usize = 60;

/// How [`EtcdRegistration`](crate::EtcdRegistration) writes an endpoint; [`EtcdResolver`](crate::EtcdResolver) reads both.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum EtcdFormat {
    /// With all attributes: `{"addresses":["10.0.0.1:50051"],"weight":3,…}`.
    #[default]
    Attributes,
    /// For clients in Go too: `{"Op":0,"Addr":"10.0.0.1:50051","Metadata":{"weight":3,…}}`. Has the first address only.
    GrpcNaming,
}

/// The endpoint of a value, or what is wrong with it and what is allowed.
pub(crate) fn parse(bytes: &[u8]) -> Result<Endpoint, String> {
    if bytes.len() > MOST_BYTES {
        return Err(format!("it has {} bytes; at most {MOST_BYTES} are allowed", bytes.len()));
    }
    let text = std::str::from_utf8(bytes).map_err(|error| format!("it is not UTF-8: {error}"))?.trim();
    if text.starts_with('{') {
        let object: Map<String, Value> = serde_json::from_str(text).map_err(|error| format!("{}: {error}", quoted(text)))?;
        return match naming::find(&object, "Addr") {
            Some(address) => naming::endpoint(address, naming::find(&object, "Metadata")),
            None => ours(&object),
        };
    }
    let plain = if text.starts_with('"') { serde_json::from_str(text).unwrap_or_default() } else { text.to_owned() };
    address(&plain).map(Endpoint::new)
}

/// The value of an endpoint.
pub(crate) fn format(endpoint: &Endpoint, format: EtcdFormat) -> Vec<u8> {
    #[derive(Serialize)]
    struct Ours<'a> {
        addresses: Vec<String>,
        #[serde(flatten)]
        attributes: &'a Attributes,
    }
    let value = match format {
        EtcdFormat::GrpcNaming => naming::format(endpoint),
        EtcdFormat::Attributes => {
            let addresses = endpoint.addresses().iter().map(Address::to_string).collect();
            serde_json::to_value(Ours { addresses, attributes: &endpoint.attributes }).unwrap_or_default()
        }
    };
    value.to_string().into_bytes()
}

fn ours(object: &Map<String, Value>) -> Result<Endpoint, String> {
    let addresses = match (object.get("address"), object.get("addresses")) {
        (Some(one), None) => vec![text_address("address", one)?],
        (None, Some(Value::Array(many))) => many.iter().map(|one| text_address("addresses", one)).collect::<Result<_, _>>()?,
        (None, Some(other)) => {
            return Err(format!("`addresses` is {}; allowed is a list of addresses", quoted(&other.to_string())));
        }
        _ => return Err("it needs exactly one of the keys `address` and `addresses` (or `Addr`, as gRPC naming has it)".to_owned()),
    };
    let mut endpoint =
        Endpoint::with_addresses(addresses).map_err(|_| "`addresses` is empty; allowed are one or more".to_owned())?;
    for (key, value) in object {
        // What a newer writer adds is not a reason to lose the endpoint.
        attributes::set(&mut endpoint.attributes, key, value)?;
    }
    Ok(endpoint)
}

fn text_address(key: &str, value: &Value) -> Result<Address, String> {
    let text = value.as_str().ok_or_else(|| format!("`{key}` has {}; allowed is a text", quoted(&value.to_string())))?;
    address(text).map_err(|error| format!("`{key}`: {error}"))
}

fn address(text: &str) -> Result<Address, String> {
    if text.len() > 1024 {
        return Err(format!("the address has {} bytes; at most 1024 are allowed", text.len()));
    }
    text.parse().map_err(|error: lb_core::AddressError| error.to_string())
}

/// The beginning of a text, fit for one line of a log.
pub(crate) fn quoted(text: &str) -> String {
    let mut beginning: String = text.chars().take(QUOTED).collect();
    if beginning.len() < text.len() {
        beginning.push('…');
    }
    format!("{beginning:?}")
}

#[cfg(test)]
mod tests;
