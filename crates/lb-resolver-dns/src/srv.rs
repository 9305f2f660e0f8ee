//! Endpoints from SRV records (RFC 2782).
//!
//! - A target with one address, or one of each family, is one endpoint with the name `target:port` as its id: the two are taken as the
//!   same server. A target with more is one endpoint per address, each with the record's weight, because they may be many servers.
//! - Priority is the endpoint's priority as it is; the lowest is used first.
//! - Weight is the endpoint's weight. Where all records of a priority have weight 0 there is nothing to choose by, and all get 1.
//!   Where only some have, those shall be used rarely but not never: they get 1, and the others a hundred times their weight.
//! - The certificate is not checked against the target: whoever can forge DNS could else choose it.

use std::collections::HashMap;
use std::net::IpAddr;
use std::net::SocketAddr;

use lb_core::Address;
use lb_core::Endpoint;

use crate::dns::Service;
use crate::known::Merged;
use crate::order::Order;

/// How much more often than one of weight 0 an endpoint of weight 1 is used beside it.
const RARELY: u32 = 100;

/// The endpoints of these records, whose targets have these addresses.
pub(crate) fn endpoints(services: &[Service], addresses: &HashMap<String, Merged>, order: &Order) -> Vec<Endpoint> {
    let mut services: Vec<&Service> = services.iter().collect();
    // The order of records means nothing, so a rotated answer is the same answer; and clients that use only the first endpoint spread.
    services.sort_by_key(|service| (service.priority, order.scatter_name(&service.target), service.port, service.weight));
    let mut endpoints = Vec::new();
    for group in services.chunk_by(|a, b| a.priority == b.priority) {
        for service in group {
            if let Some(merged) = addresses.get(&service.target) {
                endpoints.extend(of_target(service, weight(service.weight, group), merged, order));
            }
        }
    }
    endpoints
}

fn weight(weight: u16, group: &[&Service]) -> u32 {
    let zeros = group.iter().filter(|service| service.weight == 0).count();
    match (zeros, u32::from(weight)) {
        (0, weight) => weight,
        (_, 0) => 1,
        (_, weight) => weight * RARELY,
    }
}

fn of_target(service: &Service, weight: u32, merged: &Merged, order: &Order) -> Vec<Endpoint> {
    let v4 = merged.v4.iter().copied().map(IpAddr::V4);
    let mut ips: Vec<IpAddr> = v4.chain(merged.v6.iter().copied().map(IpAddr::V6)).collect();
    order.apply(&mut ips);
    let addresses = || ips.iter().map(|ip| Address::Tcp(SocketAddr::new(*ip, service.port)));
    let single = merged.v4.len() <= 1 && merged.v6.len() <= 1;
    let mut endpoints: Vec<Endpoint> = match single {
        true => Endpoint::with_addresses(addresses()).into_iter().collect(),
        false => addresses().map(Endpoint::new).collect(),
    };
    for endpoint in &mut endpoints {
        endpoint.attributes.weight = weight;
        endpoint.attributes.priority = service.priority.into();
        if single {
            let name = service.target.trim_end_matches('.');
            endpoint.attributes.id = Some(format!("{name}:{}", service.port).into());
        }
    }
    endpoints
}

#[cfg(test)]
mod tests {
    use super::*;

    fn service(target: &str, weight: u16, priority: u16) -> Service {
        Service { target: target.to_owned(), port: 5, weight, priority }
    }

    fn merged(v4: &[&str], v6: &[&str]) -> Merged {
        let v4 = v4.iter().map(|text| text.parse().unwrap()).collect();
        let v6 = v6.iter().map(|text| text.parse().unwrap()).collect();
        Merged { v4, v6, ..Merged::default() }
    }

    fn weights(services: &[Service]) -> Vec<(u32, u32)> {
        let addresses =
            services.iter().enumerate().map(|(i, service)| (service.target.clone(), merged(&[&format!("10.0.0.{i}")], &[])));
        let endpoints = endpoints(services, &addresses.collect(), &Order::new(1));
        let mut found: Vec<_> =
            endpoints.iter().map(|endpoint| (endpoint.attributes.priority, endpoint.attributes.weight)).collect();
        assert!(found.is_sorted_by_key(|(priority, _)| *priority));
        found.sort_unstable();
        found
    }

    #[test]
    fn weights_and_priorities() {
        assert_eq!(weights(&[service("a.", 10, 1), service("b.", 60, 0)]), [(0, 60), (1, 10)]);
        assert_eq!(weights(&[service("a.", 0, 0), service("b.", 0, 0)]), [(0, 1), (0, 1)]);
        assert_eq!(weights(&[service("a.", 0, 0), service("b.", 7, 0), service("c.", 3, 9)]), [(0, 1), (0, 700), (9, 3)]);
        assert_eq!(weights(&[service("a.", u16::MAX, 0), service("b.", 0, 0)]), [(0, 1), (0, 6_553_500)]);
    }

    #[test]
    fn one_of_each_family_is_one_server_and_more_are_many() {
        let addresses = HashMap::from([
            ("dual.".to_owned(), merged(&["10.0.0.1"], &["::5"])),
            ("many.".to_owned(), merged(&["10.0.0.2", "10.0.0.3"], &["::6"])),
        ]);
        let services = [service("many.", 4, 0), service("dual.", 4, 0), service("gone.", 4, 0)];
        let endpoints = endpoints(&services, &addresses, &Order::new(1));
        let (dual, many): (Vec<_>, Vec<_>) = endpoints.iter().partition(|endpoint| endpoint.addresses().len() == 2);
        assert_eq!((dual.len(), many.len()), (1, 3));
        assert_eq!(dual[0].attributes.id.as_deref(), Some("dual:5"));
        assert!(many.iter().all(|endpoint| endpoint.attributes.id.is_none() && endpoint.attributes.weight == 4));
    }

    #[test]
    fn rotation_is_no_change_and_streams_begin_with_different_targets() {
        let mut services: Vec<_> = (0..20).map(|i| service(&format!("t{i}."), 1, 0)).collect();
        let addresses = services.iter().map(|service| (service.target.clone(), merged(&["10.0.0.1"], &["::5"]))).collect();
        let before = endpoints(&services, &addresses, &Order::new(1));
        services.rotate_left(7);
        assert_eq!(endpoints(&services, &addresses, &Order::new(1)), before);
        let first = |seed| endpoints(&services, &addresses, &Order::new(seed))[0].attributes.id.clone();
        let firsts: std::collections::HashSet<_> = (0..100).map(first).collect();
        assert!(firsts.len() > 10, "{firsts:?}");
    }
}
