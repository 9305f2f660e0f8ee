//! The order of addresses.
//!
//! First by class, after RFC 6724 but simpler: its rule 1 (what cannot be reached comes last, where a route is looked for once per
//! family) and rule 6 (precedence: IPv6, then IPv4, then what is only of local use). Within a class by an order that every stream
//! draws once, so that clients which use only the first address spread, and an answer whose records merely rotate is the same answer.

use std::net::IpAddr;
use std::net::Ipv4Addr;
use std::net::Ipv6Addr;
use std::net::SocketAddr;
use std::net::UdpSocket;

use lb_core::Entropy;

/// How one stream orders addresses.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Order {
    seed: u64,
    has_route: fn(IpAddr) -> bool,
}

impl Order {
    pub(crate) fn new(seed: u64) -> Self {
        Self { seed, has_route }
    }

    #[cfg(test)]
    pub(crate) fn with_route(self, has_route: fn(IpAddr) -> bool) -> Self {
        Self { has_route, ..self }
    }

    /// Orders addresses and removes repetitions.
    pub(crate) fn apply(&self, addresses: &mut Vec<IpAddr>) {
        let v6 = addresses.iter().find(|ip| ip.is_ipv6()).copied();
        let mixed = v6.is_some() && addresses.iter().any(IpAddr::is_ipv4);
        let v6_last = mixed && !v6.is_some_and(self.has_route);
        addresses.sort_by_key(|ip| (ip.is_ipv6() && v6_last, u8::MAX - precedence(*ip), self.scatter(*ip), *ip));
        addresses.dedup();
    }

    /// The place of a name among others of its class.
    pub(crate) fn scatter_name(&self, name: &str) -> u64 {
        name.bytes().fold(self.seed, |state, byte| Entropy::mix(state ^ u64::from(byte)))
    }

    fn scatter(&self, ip: IpAddr) -> u64 {
        let bits = match ip {
            IpAddr::V4(v4) => u128::from(v4.to_bits()),
            IpAddr::V6(v6) => v6.to_bits(),
        };
        Entropy::mix(Entropy::mix(self.seed ^ bits as u64) ^ (bits >> 64) as u64)
    }
}

/// The default policy table of RFC 6724 §2.1.
fn precedence(ip: IpAddr) -> u8 {
    let IpAddr::V6(v6) = ip else { return 35 };
    match v6.segments() {
        _ if v6 == Ipv6Addr::LOCALHOST => 50,
        _ if v6.to_ipv4_mapped().is_some() => 35,
        [0x2002, ..] => 30,
        [0x2001, 0, ..] => 5,
        [first, ..] if first & 0xFE00 == 0xFC00 => 3,
        _ => 40,
    }
}

/// Whether the system knows a way there. Connecting a datagram socket asks only that; nothing is sent.
fn has_route(ip: IpAddr) -> bool {
    let any = if ip.is_ipv4() { IpAddr::from(Ipv4Addr::UNSPECIFIED) } else { Ipv6Addr::UNSPECIFIED.into() };
    UdpSocket::bind(SocketAddr::new(any, 0)).and_then(|socket| socket.connect(SocketAddr::new(ip, 443))).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ordered(order: Order, texts: &[&str]) -> Vec<String> {
        let mut addresses = texts.iter().map(|text| text.parse().unwrap()).collect();
        order.apply(&mut addresses);
        addresses.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn by_class_and_without_repetition() {
        let order = Order::new(1).with_route(|_| true);
        let texts = ["fd00::1", "10.0.0.1", "2001:0:1::1", "2002::1", "2a00::1", "10.0.0.1", "::1"];
        assert_eq!(ordered(order, &texts), ["::1", "2a00::1", "10.0.0.1", "2002::1", "2001:0:1::1", "fd00::1"]);
    }

    #[test]
    fn what_has_no_route_comes_last() {
        let order = Order::new(1).with_route(|_| false);
        assert_eq!(ordered(order, &["2a00::1", "10.0.0.1"]), ["10.0.0.1", "2a00::1"]);
    }

    #[test]
    fn rotation_is_no_change_and_streams_differ() {
        let texts: Vec<String> = (0..50).map(|i| format!("10.0.0.{i}")).collect();
        let mut texts: Vec<&str> = texts.iter().map(String::as_str).collect();
        let before = ordered(Order::new(1), &texts);
        texts.rotate_left(17);
        assert_eq!(ordered(Order::new(1), &texts), before);
        let firsts: std::collections::HashSet<_> = (0..200).map(|seed| ordered(Order::new(seed), &texts).remove(0)).collect();
        assert!(firsts.len() > 30, "{} different first addresses of 50", firsts.len());
    }

    #[test]
    fn loopback_has_a_route() {
        assert!(has_route(Ipv4Addr::LOCALHOST.into()));
    }
}
