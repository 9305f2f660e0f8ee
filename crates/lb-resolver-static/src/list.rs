//! Addresses written into a target.
//!
//! A list is separated by commas; every element is an endpoint of its own. Errors name the element, what is wrong with it
//! and what is allowed.

use std::net::IpAddr;
use std::net::Ipv4Addr;
use std::net::Ipv6Addr;
use std::net::SocketAddr;
use std::net::SocketAddrV4;
use std::net::SocketAddrV6;

use lb_core::Address;
use lb_core::Endpoint;

/// gRPC's port where a target names none.
const DEFAULT_PORT: u16 = 443;

/// `sun_path` has 108 bytes on Linux, one of which is the terminating (or, for abstract sockets, the leading) NUL.
const LONGEST_SOCKET_NAME: usize = 107;

/// The endpoints of a `static:` target: addresses of any kind with parameters after semicolons.
pub(crate) fn endpoints(list: &str) -> Result<Vec<Endpoint>, String> {
    each(list, endpoint)
}

/// The endpoints of an `ipv4:` target.
pub(crate) fn ipv4(list: &str) -> Result<Vec<Endpoint>, String> {
    each(list, |text| {
        let address = text.parse::<SocketAddrV4>().or_else(|_| Ok(SocketAddrV4::new(text.parse::<Ipv4Addr>()?, DEFAULT_PORT)));
        address
            .map(|address| Endpoint::new(SocketAddr::V4(address)))
            .map_err(|_: std::net::AddrParseError| format!("{text:?} is no IPv4 address; allowed are a.b.c.d and a.b.c.d:port"))
    })
}

/// The endpoints of an `ipv6:` target.
pub(crate) fn ipv6(list: &str) -> Result<Vec<Endpoint>, String> {
    each(list, |text| {
        let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
        let address =
            text.parse::<SocketAddrV6>().or_else(|_| Ok(SocketAddrV6::new(bare.parse::<Ipv6Addr>()?, DEFAULT_PORT, 0, 0)));
        address
            .map(|address| Endpoint::new(SocketAddr::V6(address)))
            .map_err(|_: std::net::AddrParseError| format!("{text:?} is no IPv6 address; allowed are a::b, [a::b] and [a::b]:port"))
    })
}

/// The address of a `unix:` target.
pub(crate) fn unix(path: &str) -> Result<Address, String> {
    socket_name(path, "the path of the socket")?;
    Ok(Address::Unix(path.into()))
}

/// The address of a `unix-abstract:` target; `name` is without the leading NUL.
pub(crate) fn unix_abstract(name: &str) -> Result<Address, String> {
    socket_name(name, "the name of the socket")?;
    Ok(Address::UnixAbstract(name.into()))
}

/// One address of any kind; an IP address or host name without a port gets the default one.
pub(crate) fn address(text: &str) -> Result<Address, String> {
    if let Some(path) = text.strip_prefix("unix:") {
        return unix(path);
    }
    if let Some(name) = text.strip_prefix("unix-abstract:") {
        return unix_abstract(name);
    }
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    if let Ok(ip) = bare.parse::<IpAddr>() {
        return Ok(SocketAddr::new(ip, DEFAULT_PORT).into());
    }
    let address = if text.contains(':') { text.parse() } else { Address::host(text, DEFAULT_PORT) };
    address.map_err(|error| error.to_string())
}

fn each(list: &str, parse: impl Fn(&str) -> Result<Endpoint, String>) -> Result<Vec<Endpoint>, String> {
    list.split(',')
        .enumerate()
        .map(|(index, text)| match text.trim() {
            "" => Err(format!("address {} of the list is empty; allowed are addresses separated by single commas", index + 1)),
            text => parse(text),
        })
        .collect()
}

fn endpoint(text: &str) -> Result<Endpoint, String> {
    let mut parts = text.split(';');
    let mut endpoint = Endpoint::new(address(parts.next().unwrap_or_default().trim_end())?);
    for parameter in parts {
        let (key, value) = parameter.split_once('=').unwrap_or((parameter, ""));
        let number = || {
            value.parse::<u32>().map_err(|_| format!("{key} of {text:?} is {value:?}; allowed is a number from 0 to 4294967295"))
        };
        match key.trim() {
            "weight" => endpoint.attributes.weight = number()?,
            "priority" => endpoint.attributes.priority = number()?,
            "id" | "hostname" | "replica_of" if value.is_empty() => return Err(format!("{key} of {text:?} is empty")),
            "id" => endpoint.attributes.id = Some(value.into()),
            "hostname" => endpoint.attributes.hostname = Some(value.into()),
            "replica_of" => endpoint.attributes.replica_of = Some(value.into()),
            _ => {
                return Err(format!("{text:?} has a parameter {key:?}; allowed are weight, priority, id, hostname and replica_of"));
            }
        }
    }
    Ok(endpoint)
}

fn socket_name(name: &str, what: &str) -> Result<(), String> {
    match name.len() {
        0 => Err(format!("{what} is empty")),
        _ if name.contains('\0') => Err(format!("{what} {name:?} holds a NUL")),
        long if long > LONGEST_SOCKET_NAME => {
            Err(format!("{what} {name:?} has {long} bytes; the system allows {LONGEST_SOCKET_NAME}"))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn keys(endpoints: Result<Vec<Endpoint>, String>) -> Vec<String> {
        endpoints.unwrap().iter().map(|endpoint| endpoint.key().to_string()).collect()
    }

    #[test]
    fn addresses_of_all_kinds_with_the_default_port() {
        let list = "10.0.0.1:1,10.0.0.2,[::1]:2,[::1],2001:db8::5,orders.internal,orders:3,unix:/run/a.sock,unix-abstract:a:b";
        assert_eq!(
            keys(endpoints(list)),
            [
                "10.0.0.1:1",
                "10.0.0.2:443",
                "[::1]:2",
                "[::1]:443",
                "[2001:db8::5]:443",
                "orders.internal:443",
                "orders:3",
                "unix:/run/a.sock",
                "unix-abstract:a:b"
            ]
        );
    }

    #[test]
    fn parameters_become_attributes() {
        let parsed = endpoints("a:1;weight=3;priority=1;id=x;hostname=a.example,b:1;replica_of=x").unwrap();
        assert_eq!((parsed[0].attributes.weight, parsed[0].attributes.priority), (3, 1));
        assert_eq!(parsed[0].attributes.id.as_deref(), Some("x"));
        assert_eq!(parsed[0].attributes.hostname.as_deref(), Some("a.example"));
        assert_eq!((parsed[1].attributes.weight, parsed[1].attributes.replica_of.as_deref()), (1, Some("x")));
    }

    #[test]
    fn errors_name_the_element_and_what_is_allowed() {
        for (list, expected) in [
            ("", "address 1 of the list is empty"),
            ("a:1,,b:1", "address 2 of the list is empty"),
            ("a:1,", "address 2 of the list is empty"),
            ("a:", "must be a number from 0 to 65535"),
            ("a:99999", "\"a:99999\""),
            ("a b", "may hold only"),
            ("unix:", "is empty"),
            ("a:1;weight=x", "weight of \"a:1;weight=x\" is \"x\""),
            ("a:1;weight=-1", "0 to 4294967295"),
            ("a:1;speed=3", "allowed are weight, priority, id, hostname and replica_of"),
            ("a:1;id=", "is empty"),
        ] {
            let error = endpoints(list).unwrap_err();
            assert!(error.contains(expected), "{list}: {error}");
        }
        assert!(endpoints(&"a".repeat(255)).unwrap_err().contains("longer than 253"));
    }

    #[test]
    fn ip_lists_take_literals_only() {
        assert_eq!(keys(ipv4("10.0.0.1,10.0.0.2:80")), ["10.0.0.1:443", "10.0.0.2:80"]);
        assert_eq!(keys(ipv6("[::1]:80,[::2],::3")), ["[::1]:80", "[::2]:443", "[::3]:443"]);
        for list in ["orders", "[::1]", "::1", "10.0.0", "10.0.0.1:", "10.0.0.1:65536", "10.0.0.1,,"] {
            assert!(ipv4(list).is_err(), "{list}");
        }
        for list in ["orders", "10.0.0.1", "[::1", "::1]:80", "[::1]:", "[::1]:x", "[10.0.0.1]:1"] {
            assert!(ipv6(list).is_err(), "{list}");
        }
    }

    #[test]
    fn socket_names_are_bounded() {
        assert!(unix(&"a".repeat(107)).is_ok());
        assert!(unix(&"a".repeat(108)).unwrap_err().contains("108 bytes"));
        assert!(unix_abstract("a\0b").unwrap_err().contains("NUL"));
        assert!(unix_abstract("").is_err());
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "[a-z0-9:.,;=\\[\\]%\\PC]{0,60}") {
            for parse in [endpoints, ipv4, ipv6] {
                if let Ok(endpoints) = parse(&text) {
                    prop_assert_eq!(endpoints.len(), text.split(',').count());
                }
            }
        }
    }
}
