//! Where an agent's HTTP API is.

use std::fmt;
use std::str::FromStr;

use lb_core::ConfigError;

/// Consul's own default.
const PORT: u16 = 8500;

/// Consul's documentation uses it, and so does everybody.
const TLS_PORT: u16 = 8501;

/// One agent: `host`, `host:port`, `[ipv6]:port`, with `http://` or `https://` before it if need be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Agent {
    /// Without brackets.
    pub(crate) host: String,
    pub(crate) port: u16,
    pub(crate) tls: bool,
}

impl Agent {
    /// The agent of this machine.
    pub(crate) fn local() -> Self {
        Self { host: "127.0.0.1".to_owned(), port: PORT, tls: false }
    }

    /// Parses an address; `tls` is for one that does not say it itself.
    pub(crate) fn parse(text: &str, tls: bool) -> Result<Self, ConfigError> {
        let error =
            || ConfigError::new("consul.agent", format!("{text:?}"), "[http://|https://]host[:port], an IPv6 address in brackets");
        let (tls, rest) = match text.split_once("://") {
            None => (tls, text),
            Some(("http", rest)) => (false, rest),
            Some(("https", rest)) => (true, rest),
            Some(_) => return Err(error()),
        };
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        let (host, port) = split(rest).ok_or_else(error)?;
        let port = match port {
            None if tls => TLS_PORT,
            None => PORT,
            Some(port) => u16::from_str(port).ok().filter(|port| *port != 0).ok_or_else(error)?,
        };
        let fine = |c: char| c.is_ascii_alphanumeric() || "-_.:".contains(c);
        if host.is_empty() || !host.chars().all(fine) {
            return Err(error());
        }
        Ok(Self { host: host.to_owned(), port, tls })
    }

    /// Host and port as in the `Host` header.
    pub(crate) fn authority(&self) -> String {
        if self.host.contains(':') { format!("[{}]:{}", self.host, self.port) } else { format!("{}:{}", self.host, self.port) }
    }
}

impl fmt::Display for Agent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", if self.tls { "https" } else { "http" }, self.authority())
    }
}

/// Host without brackets, and the port as text.
fn split(text: &str) -> Option<(&str, Option<&str>)> {
    if let Some(rest) = text.strip_prefix('[') {
        let (host, rest) = rest.split_once(']')?;
        return match rest {
            "" => Some((host, None)),
            rest => Some((host, Some(rest.strip_prefix(':')?))),
        };
    }
    match text.split_once(':') {
        None => Some((text, None)),
        Some((_, port)) if port.contains(':') => None,
        Some((host, port)) => Some((host, Some(port))),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn addresses_of_agents() {
        let told = |text: &str, tls| Agent::parse(text, tls).map(|agent| agent.to_string()).map_err(|error| error.to_string());
        assert_eq!(told("consul", false).unwrap(), "http://consul:8500");
        assert_eq!(told("consul", true).unwrap(), "https://consul:8501");
        assert_eq!(told("http://consul:1/", true).unwrap(), "http://consul:1");
        assert_eq!(told("https://[::1]", false).unwrap(), "https://[::1]:8501");
        assert_eq!(told("[::1]:8500", false).unwrap(), "http://[::1]:8500");
        for bad in ["", ":8500", "a:b", "a:0", "a:70000", "::1", "[::1", "[::1]8500", "unix:///run/x", "a/b", "a b", "user@a"] {
            assert!(told(bad, false).unwrap_err().contains("consul.agent"), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn parsing_never_panics_and_what_it_prints_it_reads(text in any::<String>(), tls in any::<bool>()) {
            if let Ok(agent) = Agent::parse(&text, tls) {
                prop_assert_eq!(Agent::parse(&agent.to_string(), false).unwrap(), agent);
            }
        }
    }
}
