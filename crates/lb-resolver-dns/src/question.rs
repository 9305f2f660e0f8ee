//! What a `dns:` target asks for.

use std::net::IpAddr;
use std::net::SocketAddr;

use lb_core::ResolveError;
use lb_core::ResolveErrorKind;
use lb_core::Target;

use crate::config::DnsConfig;

/// gRPC's port where a target names none.
const DEFAULT_PORT: u16 = 443;

/// The port of name servers.
const DNS_PORT: u16 = 53;

/// RFC 1035 §2.3.4.
const LONGEST_LABEL: usize = 63;

/// A target, understood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Question {
    pub(crate) name: Name,
    /// The name server that the target names.
    pub(crate) server: Option<SocketAddr>,
}

/// What to look up, or what needs no lookup.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Name {
    /// An address, with its port.
    Literal(SocketAddr),
    /// This machine (RFC 6761), with a port.
    Localhost(u16),
    /// A name with A and AAAA records, and a port.
    Host(String, u16),
    /// A name with SRV records.
    Service(String),
}

impl Question {
    /// Understands a target.
    pub(crate) fn parse(target: &Target, config: &DnsConfig) -> Result<Self, ResolveError> {
        let invalid =
            |reason: String| ResolveError::new(ResolveErrorKind::InvalidTarget, format!("target {:?}: {reason}", target.as_str()));
        let server = server(target.authority()).map_err(invalid)?;
        // The error says the target itself.
        let (host, port) = target
            .host_port(DEFAULT_PORT)
            .map_err(|error| ResolveError::new(ResolveErrorKind::InvalidTarget, error.to_string()))?;
        let name = match host.parse::<IpAddr>() {
            Ok(ip) => Name::Literal(SocketAddr::new(ip, port)),
            Err(_) if is_localhost(&host) => Name::Localhost(port),
            Err(_) => named(target, host, port, config.srv).map_err(invalid)?,
        };
        Ok(Self { name, server })
    }

    /// The `:authority` where it is not the target's path: a service without its `_grpc._tcp.`, a name without its final dot.
    pub(crate) fn authority(&self, target: &Target) -> Option<String> {
        match &self.name {
            Name::Service(name) => {
                let labels = name.trim_end_matches('.').split('.').skip_while(|label| label.starts_with('_'));
                Some(labels.collect::<Vec<_>>().join("."))
            }
            Name::Host(name, port) if name.ends_with('.') => {
                let bare = name.trim_end_matches('.');
                Some(if has_port(target) { format!("{bare}:{port}") } else { bare.to_owned() })
            }
            _ => None,
        }
    }
}

fn server(authority: &str) -> Result<Option<SocketAddr>, String> {
    if authority.is_empty() {
        return Ok(None);
    }
    let bare = authority.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(authority);
    let ip = bare.parse::<IpAddr>().map(|ip| SocketAddr::new(ip, DNS_PORT));
    ip.or_else(|_| authority.parse()).map(Some).map_err(|_| {
        format!(
            "name server {authority:?} is no IP address; allowed are dns://ip/name and dns://ip:port/name, IPv6 in brackets, and \
             dns:///name with three slashes for the system's name servers"
        )
    })
}

fn is_localhost(host: &str) -> bool {
    let host = host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase();
    host == "localhost" || host.ends_with(".localhost")
}

fn named(target: &Target, host: String, port: u16, srv: bool) -> Result<Name, String> {
    let labels = host.strip_suffix('.').unwrap_or(&host);
    if let Some(odd) = labels.split('.').find(|label| label.is_empty() || label.len() > LONGEST_LABEL) {
        return Err(format!("name {host:?} has a part {odd:?}; allowed are 1 to {LONGEST_LABEL} bytes between dots"));
    }
    let srv = match target.query_value("srv") {
        None => srv || host.starts_with('_'),
        Some("" | "true" | "1") => true,
        Some("false" | "0") => false,
        Some(odd) => return Err(format!("srv is {odd:?}; allowed are ?srv, ?srv=true and ?srv=false")),
    };
    match srv {
        true if has_port(target) => {
            Err(format!("SRV records say the port, so the target must not; write {host:?} without :{port}"))
        }
        true => Ok(Name::Service(host)),
        false => Ok(Name::Host(host, port)),
    }
}

/// Whether the port is the target's own rather than a default.
fn has_port(target: &Target) -> bool {
    let with = |default| target.host_port(default).ok().map(|(_, port)| port);
    with(1) == with(2)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(text: &str) -> Target {
        Target::parse(text, &|scheme| scheme == "dns").unwrap()
    }

    fn name(text: &str) -> Name {
        Question::parse(&target(text), &DnsConfig::new()).unwrap().name
    }

    fn host(name: &str, port: u16) -> Name {
        Name::Host(name.to_owned(), port)
    }

    #[test]
    fn names_ports_and_what_needs_no_lookup() {
        assert_eq!(name("orders"), host("orders", 443));
        assert_eq!(name("orders.shop:1"), host("orders.shop", 1));
        assert_eq!(name("dns:orders:1"), host("orders", 1));
        assert_eq!(name("dns:///orders.shop.:1"), host("orders.shop.", 1));
        assert_eq!(name("dns:///10.0.0.1"), Name::Literal("10.0.0.1:443".parse().unwrap()));
        assert_eq!(name("dns:///[::1]:5"), Name::Literal("[::1]:5".parse().unwrap()));
        assert_eq!(name("dns:///::1"), Name::Literal("[::1]:443".parse().unwrap()));
        assert_eq!(name(":80"), Name::Localhost(80));
        assert_eq!(name("LocalHost.:1"), Name::Localhost(1));
        assert_eq!(name("a.localhost"), Name::Localhost(443));
        assert_eq!(name("notlocalhost"), host("notlocalhost", 443));
    }

    #[test]
    fn the_authority_of_the_target_is_a_name_server() {
        let server = |text| Question::parse(&target(text), &DnsConfig::new()).unwrap().server.map(|server| server.to_string());
        assert_eq!(server("dns:///orders"), None);
        assert_eq!(server("dns://8.8.8.8/orders").as_deref(), Some("8.8.8.8:53"));
        assert_eq!(server("dns://127.0.0.1:8600/orders").as_deref(), Some("127.0.0.1:8600"));
        assert_eq!(server("dns://[::1]/orders").as_deref(), Some("[::1]:53"));
        assert_eq!(server("dns://[::1]:54/orders").as_deref(), Some("[::1]:54"));
    }

    #[test]
    fn srv_by_name_by_query_and_by_configuration() {
        let service = |name: &str| Name::Service(name.to_owned());
        assert_eq!(name("dns:///_grpc._tcp.orders"), service("_grpc._tcp.orders"));
        assert_eq!(name("dns:///orders.service.consul?srv"), service("orders.service.consul"));
        assert_eq!(name("dns:///_odd?srv=false"), host("_odd", 443));
        let always = DnsConfig::new().with_srv(true);
        assert_eq!(Question::parse(&target("dns:///orders"), &always).unwrap().name, service("orders"));
        assert_eq!(Question::parse(&target("dns:///10.0.0.1"), &always).unwrap().name, name("10.0.0.1"));
    }

    #[test]
    fn errors_name_the_target_and_what_is_allowed() {
        for (text, expected) in [
            ("dns://ns.example/orders", "three slashes"),
            ("dns:///orders:", "port"),
            ("dns:///orders:x", "port"),
            ("dns:///", ""),
            ("dns:///a..b", "1 to 63 bytes"),
            ("dns:///_grpc._tcp.orders:50051", "must not"),
            ("dns:///orders?srv=maybe", "?srv=true"),
            ("nonexist:///x", "port"),
        ] {
            let error = Question::parse(&target(text), &DnsConfig::new()).unwrap_err();
            assert_eq!(error.kind(), ResolveErrorKind::InvalidTarget, "{text}");
            assert!(error.message().contains(expected) && error.message().contains(text), "{text}: {error}");
        }
        for long in ["a".repeat(64), "a".repeat(255), format!("{}.{0}.{0}.{0}.{0}", "a".repeat(60))] {
            assert!(Question::parse(&target(&long), &DnsConfig::new()).is_err(), "{long}");
        }
    }

    #[test]
    fn the_authority_is_a_name_a_certificate_can_have() {
        let authority = |text| Question::parse(&target(text), &DnsConfig::new()).unwrap().authority(&target(text));
        assert_eq!(authority("dns:///orders:50051"), None);
        assert_eq!(authority("dns:///_grpc._tcp.orders.shop.").as_deref(), Some("orders.shop"));
        assert_eq!(authority("dns:///orders.shop.:50051").as_deref(), Some("orders.shop:50051"));
        assert_eq!(authority("dns:///orders.shop.").as_deref(), Some("orders.shop"));
    }
}
