//! From slices to endpoints.
//!
//! A service has many slices: one per hundred pods, per family and, while ports change, per set of ports. Each is a part, none is the whole.
//! A pod may stand in two of them while a controller moves it; then the better news counts, because the worse one is about to go. The IPv4
//! and IPv6 address of one pod are one endpoint. A pod that is replaced may leave its address to another: an address belongs to one
//! endpoint only, the healthier one.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use lb_core::{Address, AddressFamily, Attributes, Endpoint, Locality, RegistryHealth};

use crate::nodes::Nodes;
use crate::slice::{Named, Slice, SliceEndpoint, SlicePort, TargetRef};
use crate::target::PortChoice;
use crate::traits::Traits;

/// Reads slices the way one stream was asked to.
#[derive(Debug, Clone)]
pub(crate) struct Merge {
    pub(crate) port: PortChoice,
    pub(crate) traits: Traits,
    pub(crate) terminating_fallback: bool,
    /// Decides on the order of the endpoints, so that clients which use the first do not all use the same.
    pub(crate) seed: u64,
}

/// What the slices say together.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Merged {
    pub(crate) endpoints: Vec<Endpoint>,
    /// What could not be used.
    pub(crate) complaints: Vec<String>,
    /// A word for people whose calls fail.
    pub(crate) note: Option<String>,
    /// Why there is nothing, if it is for want of a port.
    pub(crate) no_port: Option<String>,
}

/// An address in a slice.
#[derive(Debug, Clone)]
struct Candidate {
    pod: Option<TargetRef>,
    address: Address,
    attributes: Attributes,
    /// Ends, but may still get calls if nobody else can.
    last_resort: bool,
}

impl Merge {
    pub(crate) fn merge<'a>(&self, slices: impl Iterator<Item = &'a Slice> + Clone, nodes: &Nodes) -> Merged {
        let mut merged = Merged::default();
        let (mut candidates, mut with_port) = (Vec::new(), false);
        for slice in slices.clone() {
            if let Some((number, protocol)) = self.port_of(slice) {
                with_port = true;
                let complaints = &mut merged.complaints;
                let traits = self.traits.read(&slice.metadata, complaints);
                candidates.extend(read(slice, number, protocol, &traits, nodes, complaints));
            }
        }
        let missing = !with_port && slices.clone().any(|slice| slice.endpoints.as_ref().is_some_and(|all| !all.is_empty()));
        merged.note = self.unlisted(slices.clone());
        merged.no_port = missing.then(|| self.missing_port(slices));
        if self.terminating_fallback && !candidates.iter().any(|it| it.attributes.health.takes_calls()) {
            candidates.iter_mut().filter(|it| it.last_resort).for_each(|it| it.attributes.health = RegistryHealth::Degraded);
        }
        merged.endpoints = endpoints(group(candidates));
        merged.endpoints.sort_by_cached_key(|endpoint| (place(self.seed, endpoint), endpoint.key().clone()));
        merged
    }

    /// The port to use of this slice, and what is spoken there.
    fn port_of<'a>(&self, slice: &'a Slice) -> Option<(u16, Option<&'a str>)> {
        let ports = || slice.ports.iter().flatten().filter(|port| port.is_tcp());
        let number = |port: &'a SlicePort| {
            let number = port.port.and_then(|number| u16::try_from(number).ok()).filter(|number| *number > 0)?;
            Some((number, port.app_protocol.as_deref()))
        };
        match &self.port {
            PortChoice::Named(name) => ports().find(|port| port.name() == name).and_then(number),
            PortChoice::Number(wanted) => {
                let listed = ports().find(|port| port.port == Some(i64::from(*wanted)));
                Some((*wanted, listed.and_then(|port| port.app_protocol.as_deref())))
            }
            PortChoice::Any if ports().count() == 1 => ports().next().and_then(number),
            PortChoice::Any => ports().find(|port| port.name() == "grpc").and_then(number),
        }
    }

    /// A number may be that of the service instead of the pods'; the slices cannot tell.
    fn unlisted<'a>(&self, slices: impl Iterator<Item = &'a Slice>) -> Option<String> {
        let PortChoice::Number(wanted) = self.port else { return None };
        let listed: BTreeSet<i64> = slices.flat_map(|slice| slice.ports.iter().flatten()).filter_map(|port| port.port).collect();
        let odd = !listed.is_empty() && !listed.contains(&i64::from(wanted));
        odd.then(|| format!("port {wanted} is none that the service leads to; a number in the target is a port of the pods"))
    }

    fn missing_port<'a>(&self, slices: impl Iterator<Item = &'a Slice>) -> String {
        let ports = slices.flat_map(|slice| slice.ports.iter().flatten());
        let text = |port: &SlicePort| match port.port {
            Some(number) => format!("{:?} ({number})", port.name()),
            None => format!("{:?}", port.name()),
        };
        /// A service has at most a hundred.
        const NAMED: usize = 20;
        let all: Vec<_> = ports.map(text).collect::<BTreeSet<_>>().into_iter().take(NAMED).collect();
        let there = if all.is_empty() { "no ports".to_owned() } else { all.join(", ") };
        match &self.port {
            PortChoice::Named(name) => format!("no TCP port is named {name:?}; there are {there}"),
            PortChoice::Any | PortChoice::Number(_) => format!("the target must name a port; there are {there}"),
        }
    }
}

/// The endpoints of one slice.
fn read(
    slice: &Slice,
    port: u16,
    protocol: Option<&str>,
    traits: &Attributes,
    nodes: &Nodes,
    complaints: &mut Vec<String>,
) -> Vec<Candidate> {
    let one = |endpoint: &SliceEndpoint| {
        let text = endpoint.addresses.first()?;
        let Some(address) = address(&slice.address_type, text, port) else {
            complaints.push(format!("slice {}: {text:?} is no {} address", slice.metadata.name, slice.address_type));
            return None;
        };
        let node = endpoint.node_name.as_deref().and_then(|name| nodes.of(name));
        Some(candidate(endpoint, address, protocol, traits.clone(), node))
    };
    slice.endpoints.iter().flatten().filter_map(one).collect()
}

fn address(kind: &str, text: &str, port: u16) -> Option<Address> {
    let ip = || text.parse::<IpAddr>().ok().filter(|ip| !ip.is_unspecified() && !ip.is_multicast());
    match kind {
        "IPv4" => ip().filter(IpAddr::is_ipv4).map(|ip| Address::Tcp(SocketAddr::new(ip, port))),
        "IPv6" => ip().filter(IpAddr::is_ipv6).map(|ip| Address::Tcp(SocketAddr::new(ip, port))),
        "FQDN" => Address::host(text, port).ok(),
        _ => None,
    }
}

fn candidate(
    endpoint: &SliceEndpoint,
    address: Address,
    protocol: Option<&str>,
    traits: Attributes,
    node: Option<&Locality>,
) -> Candidate {
    let conditions = endpoint.conditions.unwrap_or_default();
    let ready = conditions.ready.unwrap_or(true);
    let (terminating, serving) = (conditions.terminating.unwrap_or(false), conditions.serving.unwrap_or(ready));
    let mut attributes = traits;
    attributes.health = match (terminating, ready) {
        (true, _) => RegistryHealth::Draining,
        (false, true) => RegistryHealth::Healthy,
        (false, false) => RegistryHealth::Unhealthy,
    };
    attributes.locality = place_of(endpoint, node, attributes.locality);
    attributes.id = endpoint.target_ref.as_ref().and_then(|pod| pod.name.as_deref()).map(Arc::from);
    let mut note = |key: &str, value: Option<String>| {
        if let Some(value) = value.filter(|value| !value.is_empty()) {
            attributes.metadata.insert(key.into(), value.into());
        }
    };
    let hints = endpoint.hints.clone().unwrap_or_default();
    note("node", endpoint.node_name.clone());
    note("zone-hints", hints.for_zones.map(names));
    note("node-hints", hints.for_nodes.map(names));
    note("app-protocol", protocol.map(str::to_owned));
    let pod = endpoint.target_ref.clone().filter(|pod| pod.name.is_some());
    Candidate { pod, address, attributes, last_resort: terminating && serving }
}

/// What is said of the endpoint counts before what is said of its node, and that before what is said of the slice.
fn place_of(endpoint: &SliceEndpoint, node: Option<&Locality>, slice: Locality) -> Locality {
    let first = |parts: [Option<&str>; 3]| parts.into_iter().flatten().find(|part| !part.is_empty()).unwrap_or_default().to_owned();
    let region = first([None, node.map(|node| &*node.region), Some(&slice.region)]);
    let zone = first([endpoint.zone.as_deref(), node.map(|node| &*node.zone), Some(&slice.zone)]);
    Locality::new(region, zone, slice.sub_zone)
}

fn names(of: Vec<Named>) -> String {
    of.into_iter().map(|one| one.name).collect::<Vec<_>>().join(",")
}

/// One entry per endpoint: the addresses of a pod together if they are of different families, any other by itself.
fn group(candidates: Vec<Candidate>) -> Vec<Vec<Candidate>> {
    let mut by_address: BTreeMap<Address, Candidate> = BTreeMap::new();
    for candidate in candidates {
        match by_address.get(&candidate.address) {
            Some(known) if (rank(known), &known.pod) <= (rank(&candidate), &candidate.pod) => {}
            _ => drop(by_address.insert(candidate.address.clone(), candidate)),
        }
    }
    let (mut pods, mut groups): (BTreeMap<TargetRef, Vec<Candidate>>, Vec<Vec<Candidate>>) = Default::default();
    for candidate in by_address.into_values() {
        match &candidate.pod {
            Some(pod) => pods.entry(pod.clone()).or_default().push(candidate),
            None => groups.push(vec![candidate]),
        }
    }
    for pod in pods.into_values() {
        let families: BTreeSet<u8> = pod.iter().map(family).collect();
        if families.len() == pod.len() { groups.push(pod) } else { groups.extend(pod.into_iter().map(|one| vec![one])) }
    }
    groups
}

fn family(candidate: &Candidate) -> u8 {
    match candidate.address.family() {
        AddressFamily::V4 => 0,
        AddressFamily::V6 => 1,
        _ => 2,
    }
}

/// The better, the lower.
fn rank(candidate: &Candidate) -> u8 {
    match candidate.attributes.health {
        RegistryHealth::Unknown | RegistryHealth::Healthy => 0,
        RegistryHealth::Degraded => 1,
        RegistryHealth::Draining => 2,
        _ => 3,
    }
}

/// What is known of an endpoint is what its healthiest address says.
fn endpoints(groups: Vec<Vec<Candidate>>) -> Vec<Endpoint> {
    let endpoint = |mut group: Vec<Candidate>| {
        let best = group.iter().min_by_key(|one| rank(one)).map(|one| one.attributes.clone())?;
        group.sort_by_key(family);
        let endpoint = Endpoint::with_addresses(group.into_iter().map(|one| one.address)).ok()?;
        Some(endpoint.with_attributes(best))
    };
    groups.into_iter().filter_map(endpoint).collect()
}

fn place(seed: u64, endpoint: &Endpoint) -> u64 {
    let mut hasher = DefaultHasher::new();
    (seed, endpoint.key()).hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests;
