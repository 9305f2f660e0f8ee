//! Where an endpoint can be reached.
//!
//! An [`Address`] is one thing a connector can dial. IP addresses and socket paths are dialled as they are; a host name is
//! looked up by the connector at each attempt, so that a name whose addresses change is followed without a resolver.

use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;

/// One dialable address of an endpoint.
///
/// The text form (`Display`, `FromStr`) is `10.0.0.1:50051`, `[::1]:50051`, `orders.internal:50051`, `unix:/run/orders.sock`
/// or `unix-abstract:orders`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Address {
    /// An IP address and port.
    Tcp(SocketAddr),
    /// A host name, looked up by the connector at each attempt, and a port.
    Host(Arc<str>, u16),
    /// A Unix domain socket in the file system.
    Unix(PathBuf),
    /// A Linux abstract socket; the name has no leading NUL.
    UnixAbstract(Arc<str>),
}

/// Which family an address belongs to, for interleaving as RFC 8305 §4 has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum AddressFamily {
    /// IPv4, and IPv4-mapped IPv6.
    V4,
    /// IPv6.
    V6,
    /// Anything that is not an IP address.
    Other,
}

/// A text that is not an address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("address {text:?}: {reason}; allowed are ip:port, [ipv6]:port, host:port, unix:path and unix-abstract:name")]
pub struct AddressError {
    text: String,
    reason: &'static str,
}

impl Address {
    /// A host name and port; an IPv4 address given as a name is the address. `Err` for an empty name, one over 253 bytes, or one with
    /// characters no host name has.
    pub fn host(name: &str, port: u16) -> Result<Self, AddressError> {
        if let Ok(ip) = name.parse::<Ipv4Addr>() {
            return Ok(Self::Tcp((ip, port).into()));
        }
        let error = |reason| AddressError { text: format!("{name}:{port}"), reason };
        // RFC 1035 allows 255 octets on the wire, which is 253 characters of text.
        match name.strip_suffix('.').unwrap_or(name) {
            "" => Err(error("the host name is empty")),
            long if long.len() > 253 => Err(error("the host name is longer than 253 bytes")),
            odd if odd.bytes().any(|b| !(b.is_ascii_alphanumeric() || b"-_.".contains(&b))) => {
                Err(error("the host name may hold only letters, digits, '-', '_' and '.'"))
            }
            _ => Ok(Self::Host(name.into(), port)),
        }
    }

    /// The family used to interleave addresses.
    pub fn family(&self) -> AddressFamily {
        match self {
            Self::Tcp(SocketAddr::V4(_)) => AddressFamily::V4,
            Self::Tcp(SocketAddr::V6(v6)) if v6.ip().to_ipv4_mapped().is_some() => AddressFamily::V4,
            Self::Tcp(SocketAddr::V6(_)) => AddressFamily::V6,
            _ => AddressFamily::Other,
        }
    }

    /// The path of a Unix socket in the file system.
    pub fn unix_path(&self) -> Option<&Path> {
        match self {
            Self::Unix(path) => Some(path),
            _ => None,
        }
    }
}

impl From<SocketAddr> for Address {
    fn from(address: SocketAddr) -> Self {
        Self::Tcp(address)
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Host(name, port) => write!(f, "{name}:{port}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
            Self::UnixAbstract(name) => write!(f, "unix-abstract:{name}"),
        }
    }
}

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let error = |reason| AddressError { text: text.to_owned(), reason };
        if let Some(path) = text.strip_prefix("unix:") {
            return if path.is_empty() { Err(error("the socket path is empty")) } else { Ok(Self::Unix(path.into())) };
        }
        if let Some(name) = text.strip_prefix("unix-abstract:") {
            return if name.is_empty() { Err(error("the socket name is empty")) } else { Ok(Self::UnixAbstract(name.into())) };
        }
        if let Ok(address) = text.parse() {
            return Ok(Self::Tcp(address));
        }
        let (name, port) = text.rsplit_once(':').ok_or_else(|| error("the port is missing"))?;
        // Digits only: `parse` alone would take `+80`.
        let digits = Some(port).filter(|port| port.bytes().all(|b| b.is_ascii_digit()));
        let port = digits.and_then(|port| port.parse().ok()).ok_or_else(|| error("the port must be a number from 0 to 65535"))?;
        Self::host(name, port)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_form_round_trips() {
        for text in ["10.0.0.1:50051", "[::1]:1", "orders.internal:50051", "unix:/run/x.sock", "unix:rel", "unix-abstract:a:b/c"] {
            assert_eq!(text.parse::<Address>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn bad_text_is_a_typed_error_that_names_it() {
        for text in [
            "",
            "host",
            "host:",
            "host:65536",
            "host:+80",
            "10.0.0.1:+80",
            "ho st:1",
            ":1",
            "unix:",
            "unix-abstract:",
            "::1",
            "[::1]",
        ] {
            let error = text.parse::<Address>().unwrap_err();
            assert!(error.to_string().contains(&format!("{text:?}")) || text.ends_with(":1"), "{error}");
        }
    }

    #[test]
    fn an_address_in_another_spelling_is_the_same_address() {
        let plain: Address = "10.0.0.1:80".parse().unwrap();
        assert_eq!("10.0.0.1:0000080".parse(), Ok(plain.clone()));
        assert_eq!(Address::host("10.0.0.1", 80), Ok(plain));
    }

    #[test]
    fn a_mapped_address_counts_as_v4() {
        assert_eq!("[::ffff:10.0.0.1]:1".parse::<Address>().unwrap().family(), AddressFamily::V4);
        assert_eq!("[2001:db8::1]:1".parse::<Address>().unwrap().family(), AddressFamily::V6);
    }

    #[test]
    fn the_longest_host_name_is_253_bytes() {
        assert!(Address::host(&"a".repeat(253), 1).is_ok());
        assert!(Address::host(&"a".repeat(255), 1).is_err());
    }
}
