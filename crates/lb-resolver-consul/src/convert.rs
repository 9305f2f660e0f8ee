//! From Consul's words to ours; the convention is described on the [crate's page](crate#attributes).

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::net::IpAddr;
use std::str::FromStr;
use std::sync::Arc;

use lb_core::Address;
use lb_core::Attributes;
use lb_core::Endpoint;
use lb_core::Locality;
use lb_core::RegistryHealth;

use crate::model::Check;
use crate::model::Entry;

/// More complaints than these about one answer help nobody.
const MOST_COMPLAINTS: usize = 8;

/// What the checks of a whole machine and of one service are called while they are in maintenance.
const MAINTENANCE: [&str; 2] = ["_node_maintenance", "_service_maintenance"];

/// Keys of `Meta`, and of tags written `key=value`, that set an attribute.
const KEYS: [&str; 11] =
    ["weight", "capabilities", "region", "zone", "sub_zone", "priority", "cost", "capacity", "hostname", "id", "replica_of"];

/// What an answer comes to.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Converted {
    /// Sorted by key, so that the order of an answer is no change.
    pub(crate) endpoints: Vec<Endpoint>,
    /// How many entries there were.
    pub(crate) entries: usize,
    /// Entries left out because they do not pass their checks.
    pub(crate) failing: usize,
    /// Entries left out because they cannot be reached as written.
    pub(crate) unusable: usize,
    /// What was wrong with them or with values that were left out, the first few.
    pub(crate) complaints: Vec<String>,
}

/// How to read an answer.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Reading {
    /// Leave out what does not pass its checks.
    pub(crate) passing: bool,
    /// What stands before our keys in `Meta`.
    pub(crate) prefix: String,
}

impl Reading {
    pub(crate) fn convert(&self, entries: Vec<Entry>) -> Converted {
        let mut converted = Converted { entries: entries.len(), ..Converted::default() };
        let mut endpoints = BTreeMap::new();
        for entry in &entries {
            if let Some(endpoint) = self.endpoint(entry, &mut converted) {
                // The same address twice, left behind by an agent that is gone, is one endpoint: the healthier one counts.
                let known = endpoints.get(endpoint.key()).map(rank);
                if known.is_none_or(|known| rank(&endpoint) < known) {
                    endpoints.insert(endpoint.key().clone(), endpoint);
                }
            }
        }
        converted.endpoints = endpoints.into_values().collect();
        converted
    }

    fn endpoint(&self, entry: &Entry, converted: &mut Converted) -> Option<Endpoint> {
        let health = health(&entry.checks);
        if self.passing && health != RegistryHealth::Healthy {
            converted.failing += 1;
            return None;
        }
        match address(entry) {
            Ok(address) => Some(Endpoint::new(address).with_attributes(self.attributes(entry, health, converted))),
            Err(why) => {
                converted.unusable += 1;
                converted.complain(entry, why);
                None
            }
        }
    }

    fn attributes(&self, entry: &Entry, health: RegistryHealth, converted: &mut Converted) -> Attributes {
        let words = Words::of(entry, &self.prefix);
        let mut attributes = Attributes::default();
        attributes.health = health;
        attributes.weight = words.number("weight").unwrap_or_else(|| weight(entry, health));
        attributes.priority = words.number("priority").unwrap_or(0);
        attributes.capacity = words.number("capacity").filter(|capacity| *capacity > 0);
        attributes.cost = words.number("cost").filter(|cost: &f64| cost.is_finite() && *cost >= 0.0);
        attributes.capabilities = words.capabilities();
        attributes.locality = locality(entry, &words);
        attributes.id = Some(words.get("id").map_or_else(|| id(entry), Into::into));
        attributes.hostname = words.get("hostname").map(Into::into);
        attributes.replica_of = words.get("replica_of").map(Into::into);
        let unread = |key: &str, read: bool| words.get(key).filter(|_| !read).map(|value| format!("{key} is {value:?}"));
        let bad = [
            unread("weight", words.number::<u32>("weight").is_some()),
            unread("priority", words.number::<u32>("priority").is_some()),
            unread("capacity", attributes.capacity.is_some()),
            unread("cost", attributes.cost.is_some()),
        ];
        bad.into_iter().flatten().for_each(|why| converted.complain(entry, why));
        attributes.metadata = words.rest;
        attributes
    }
}

impl Converted {
    fn complain(&mut self, entry: &Entry, why: String) {
        if self.complaints.len() < MOST_COMPLAINTS {
            self.complaints.push(format!("{} on {}: {why}", entry.service.id, entry.node.node));
        }
    }
}

/// What an entry says in `Meta` and tags. A service's word counts before its machine's, `Meta` before tags.
struct Words<'a> {
    known: BTreeMap<&'static str, &'a str>,
    capabilities: Vec<&'a str>,
    rest: BTreeMap<Arc<str>, Arc<str>>,
}

impl<'a> Words<'a> {
    fn of(entry: &'a Entry, prefix: &str) -> Self {
        let mut words = Self { known: BTreeMap::new(), capabilities: Vec::new(), rest: BTreeMap::new() };
        words.rest.insert("consul.node".into(), entry.node.node.as_str().into());
        words.rest.insert("consul.service_id".into(), entry.service.id.as_str().into());
        for tag in &entry.service.tags {
            match tag.split_once('=').and_then(|(key, value)| Some((known(key, prefix)?, value))) {
                Some((key, value)) => words.set(key, value),
                None => words.capabilities.push(tag),
            }
        }
        // Later ones overwrite: the machine's, then the service's own.
        for (key, value) in &entry.node.meta {
            match known(key, prefix) {
                // Tags belong to the service.
                Some(key) if words.known.contains_key(key) => {}
                Some(key) => words.set(key, value),
                None => drop(words.rest.insert(key.as_str().into(), value.as_str().into())),
            }
        }
        for (key, value) in &entry.service.meta {
            match known(key, prefix) {
                Some(key) => words.set(key, value),
                None => drop(words.rest.insert(key.as_str().into(), value.as_str().into())),
            }
        }
        words
    }

    fn set(&mut self, key: &'static str, value: &'a str) {
        if !value.is_empty() {
            self.known.insert(key, value);
        }
    }

    fn get(&self, key: &str) -> Option<&'a str> {
        self.known.get(key).copied()
    }

    fn number<T: FromStr>(&self, key: &str) -> Option<T> {
        self.get(key)?.trim().parse().ok()
    }

    fn capabilities(&self) -> BTreeSet<Arc<str>> {
        let listed = self.get("capabilities").unwrap_or_default().split(',').map(str::trim).filter(|word| !word.is_empty());
        listed.chain(self.capabilities.iter().copied()).map(Into::into).collect()
    }
}

fn known(key: &str, prefix: &str) -> Option<&'static str> {
    let key = key.strip_prefix(prefix)?;
    KEYS.into_iter().find(|known| *known == key)
}

/// Maintenance is somebody's wish and counts before what checks see; the worst check counts. A word nobody knows changes nothing.
fn health(checks: &[Check]) -> RegistryHealth {
    let in_maintenance = |check: &Check| MAINTENANCE.iter().any(|prefix| check.check_id.starts_with(prefix));
    if checks.iter().any(|check| in_maintenance(check) && check.status == "critical" || check.status == "maintenance") {
        return RegistryHealth::Draining;
    }
    let is = |status: &str| checks.iter().any(|check| check.status == status);
    if is("critical") {
        RegistryHealth::Unhealthy
    } else if is("warning") {
        RegistryHealth::Degraded
    } else {
        RegistryHealth::Healthy
    }
}

/// The healthier, the lower.
fn rank(endpoint: &Endpoint) -> u8 {
    match endpoint.attributes.health {
        RegistryHealth::Degraded => 1,
        RegistryHealth::Draining => 2,
        RegistryHealth::Unhealthy => 3,
        _ => 0,
    }
}

fn weight(entry: &Entry, health: RegistryHealth) -> u32 {
    let weights = entry.service.weights.unwrap_or_default();
    let weight = if health == RegistryHealth::Degraded { weights.warning } else { weights.passing };
    u32::try_from(weight.max(0)).unwrap_or(u32::MAX)
}

/// The service's address, or that of its machine where it has none of its own.
fn address(entry: &Entry) -> Result<Address, String> {
    let port = u16::try_from(entry.service.port).ok().filter(|port| *port != 0);
    let port = port.ok_or_else(|| format!("port {} is not from 1 to 65535", entry.service.port))?;
    let host = if entry.service.address.is_empty() { &entry.node.address } else { &entry.service.address };
    match IpAddr::from_str(host) {
        Ok(ip) => Ok(Address::Tcp((ip, port).into())),
        Err(_) => Address::host(host, port).map_err(|error| error.to_string()),
    }
}

/// A service's id is unique on its machine only, and by default the same everywhere.
fn id(entry: &Entry) -> Arc<str> {
    format!("{}/{}", entry.node.node, entry.service.id).into()
}

fn locality(entry: &Entry, words: &Words<'_>) -> Locality {
    let place = entry.service.locality.as_ref().or(entry.node.locality.as_ref());
    let or = |word: Option<&str>, place: Option<&str>, last: &str| -> Arc<str> {
        word.or_else(|| place.filter(|place| !place.is_empty())).unwrap_or(last).into()
    };
    Locality::new(
        or(words.get("region"), place.map(|place| place.region.as_str()), &entry.node.datacenter),
        or(words.get("zone"), place.map(|place| place.zone.as_str()), ""),
        or(words.get("sub_zone"), None, ""),
    )
}

#[cfg(test)]
mod tests;
