//! What a file may say. Unknown keys are errors, so that a misspelt `weight` does not go unnoticed.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::fmt;
use std::path::Path;

use lb_core::Address;
use lb_core::Endpoint;
use lb_core::Locality;
use lb_core::RegistryHealth;
use lb_core::ResolverUpdate;
use lb_core::ServiceConfigUpdate;
use serde::Deserialize;
use serde::Deserializer;
use serde::de::Error;
use serde::de::MapAccess;
use serde::de::SeqAccess;
use serde::de::Visitor;
use serde::de::value::MapAccessDeserializer;
use serde::de::value::SeqAccessDeserializer;

use crate::list;

/// More than what a file of 100 000 endpoints with all their attributes needs; YAML's aliases cannot go beyond it.
const MOST_YAML_NODES: usize = 8_000_000;

/// Aliases are for a few shared attributes, not for making a small file large.
const MOST_ALIASED_EVENTS: usize = 200_000;

/// Characters of the offending line that an error shows.
const QUOTED: usize = 80;

/// How a file is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    Json,
    Yaml,
}

impl Format {
    /// The format by the name of the file.
    pub(super) fn of(path: &Path) -> Option<Self> {
        let extension = path.extension()?.to_str()?.to_ascii_lowercase();
        match extension.as_str() {
            "json" => Some(Self::Json),
            "yaml" | "yml" => Some(Self::Yaml),
            _ => None,
        }
    }

    /// Parses a whole file. The error names line, value and what is allowed.
    pub(super) fn parse(self, text: &str, most_endpoints: usize) -> Result<ResolverUpdate, String> {
        // Editors on Windows begin UTF-8 with a mark.
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let document: Document = match self {
            Self::Json => serde_json::from_str(text).map_err(|error| quoting(&error, text, error.line(), error.column()))?,
            Self::Yaml => serde_saphyr::from_str_with_options(text, yaml_options()).map_err(|error| {
                let place = error.location().map_or((0, 0), |at| (at.line(), at.column()));
                quoting(&error, text, place.0 as usize, place.1 as usize)
            })?,
        };
        document.into_update(most_endpoints)
    }
}

/// The error and what stands at its place, because not every error names the key and the value. Lines and columns count from 1.
fn quoting(error: &dyn fmt::Display, text: &str, line: usize, column: usize) -> String {
    let line = text.lines().nth(line.saturating_sub(1)).unwrap_or_default();
    let around: String = line.chars().skip(column.saturating_sub(QUOTED / 2)).take(QUOTED).filter(|c| !c.is_control()).collect();
    match around.trim() {
        "" => error.to_string(),
        around => format!("{error}, near `{around}`"),
    }
}

/// Endpoints from JSON as an endpoint file has them: a list of addresses, or of objects with `address`, `weight` and more.
///
/// # Errors
/// What is wrong, and what is allowed.
pub fn endpoints_from_json(list: &serde_json::Value) -> Result<Vec<Endpoint>, String> {
    let Entries(entries) = Entries::deserialize(list).map_err(|error| error.to_string())?;
    Ok(entries.into_iter().map(|entry| entry.0).collect())
}

fn yaml_options() -> serde_saphyr::Options {
    serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_nodes: MOST_YAML_NODES,
            max_events: 2 * MOST_YAML_NODES,
            max_documents: 1,
        },
        alias_limits: serde_saphyr::alias_limits! { max_total_replayed_events: MOST_ALIASED_EVENTS },
        with_snippet: false,
    }
}

#[derive(Debug)]
struct Document {
    endpoints: Vec<Entry>,
    service_config: Option<serde_json::Value>,
}

impl Document {
    fn into_update(self, most_endpoints: usize) -> Result<ResolverUpdate, String> {
        if self.endpoints.len() > most_endpoints {
            return Err(format!("endpoints: {} of them; at most {most_endpoints} are allowed", self.endpoints.len()));
        }
        let config = match self.service_config {
            None => ServiceConfigUpdate::Absent,
            Some(config) if config.is_object() => ServiceConfigUpdate::Json(config),
            Some(other) => return Err(format!("serviceConfig: {other}; allowed is an object")),
        };
        let endpoints = self.endpoints.into_iter().map(|entry| entry.0).collect();
        Ok(ResolverUpdate::new(endpoints).with_service_config(config))
    }
}

impl<'de> Deserialize<'de> for Document {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(DocumentVisitor)
    }
}

struct DocumentVisitor;

impl<'de> Visitor<'de> for DocumentVisitor {
    type Value = Document;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of endpoints or an object with the keys `endpoints` and `serviceConfig`")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<Document, A::Error> {
        Ok(Document { endpoints: EntriesVisitor.visit_seq(seq)?.0, service_config: None })
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Document, A::Error> {
        let keys = DocumentKeys::deserialize(MapAccessDeserializer::new(map))?;
        Ok(Document { endpoints: keys.endpoints.0, service_config: keys.service_config })
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct DocumentKeys {
    endpoints: Entries,
    service_config: Option<serde_json::Value>,
}

/// A list. Where a plain `Vec` would do, YAML reads `endpoints:` with nothing behind it as an empty one, and that would drop all
/// connections of somebody who commented the lines out.
#[derive(Debug)]
struct Entries(Vec<Entry>);

impl<'de> Deserialize<'de> for Entries {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(EntriesVisitor)
    }
}

struct EntriesVisitor;

impl<'de> Visitor<'de> for EntriesVisitor {
    type Value = Entries;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of endpoints, `[]` if there are none")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<Entries, A::Error> {
        Deserialize::deserialize(SeqAccessDeserializer::new(seq)).map(Entries)
    }
}

/// One endpoint: an object, or just its address.
#[derive(Debug)]
struct Entry(Endpoint);

impl<'de> Deserialize<'de> for Entry {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(EntryVisitor)
    }
}

struct EntryVisitor;

impl<'de> Visitor<'de> for EntryVisitor {
    type Value = Entry;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an endpoint: an address, or an object with the key `address` or `addresses`")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Entry, E> {
        list::address(text).map(|address| Entry(Endpoint::new(address))).map_err(E::custom)
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Entry, A::Error> {
        EntryKeys::deserialize(MapAccessDeserializer::new(map))?.into_entry().map_err(A::Error::custom)
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct EntryKeys {
    address: Option<FileAddress>,
    addresses: Option<Vec<FileAddress>>,
    #[serde(default = "one")]
    weight: u32,
    #[serde(default)]
    locality: FileLocality,
    #[serde(default)]
    priority: u32,
    #[serde(default)]
    capabilities: BTreeSet<String>,
    capacity: Option<u32>,
    cost: Option<f64>,
    #[serde(default)]
    health: RegistryHealth,
    id: Option<String>,
    replica_of: Option<String>,
    hostname: Option<String>,
    #[serde(default)]
    metadata: BTreeMap<String, String>,
}

fn one() -> u32 {
    1
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
struct FileLocality {
    region: String,
    zone: String,
    sub_zone: String,
}

#[derive(Debug)]
struct FileAddress(Address);

impl<'de> Deserialize<'de> for FileAddress {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        list::address(&String::deserialize(deserializer)?).map(Self).map_err(D::Error::custom)
    }
}

impl EntryKeys {
    fn into_entry(mut self) -> Result<Entry, String> {
        let addresses = match (self.address.take(), self.addresses.take()) {
            (Some(address), None) => vec![address.0],
            (None, Some(addresses)) => addresses.into_iter().map(|address| address.0).collect(),
            _ => return Err("an endpoint needs exactly one of the keys `address` and `addresses`".to_owned()),
        };
        let mut endpoint =
            Endpoint::with_addresses(addresses).map_err(|_| "`addresses` is empty; allowed are one or more".to_owned())?;
        self.fill(&mut endpoint)?;
        Ok(Entry(endpoint))
    }

    fn fill(self, endpoint: &mut Endpoint) -> Result<(), String> {
        let attributes = &mut endpoint.attributes;
        if let Some(cost) = self.cost.filter(|cost| !(cost.is_finite() && *cost >= 0.0)) {
            return Err(format!("`cost` is {cost}; allowed is a finite number, not negative"));
        }
        attributes.id = word("id", self.id)?;
        attributes.replica_of = word("replicaOf", self.replica_of)?;
        attributes.hostname = word("hostname", self.hostname)?;
        attributes.weight = self.weight;
        attributes.locality = Locality::new(self.locality.region, self.locality.zone, self.locality.sub_zone);
        attributes.priority = self.priority;
        attributes.capabilities = self.capabilities.into_iter().map(Into::into).collect();
        attributes.capacity = self.capacity;
        attributes.cost = self.cost;
        attributes.health = self.health;
        attributes.metadata = self.metadata.into_iter().map(|(key, value)| (key.into(), value.into())).collect();
        Ok(())
    }
}

/// A name that goes into headers and logs.
fn word(key: &str, value: Option<String>) -> Result<Option<std::sync::Arc<str>>, String> {
    match value {
        Some(text) if text.is_empty() || text.chars().any(|c| c.is_whitespace() || c.is_control()) => {
            Err(format!("`{key}` is {text:?}; allowed is one or more characters, no spaces or control characters"))
        }
        value => Ok(value.map(Into::into)),
    }
}

#[cfg(test)]
mod tests;
