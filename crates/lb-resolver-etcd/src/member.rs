//! Addresses of etcd's members, as people write them.

use http::Uri;
use http::uri::Authority;

/// Where etcd serves its clients.
const DEFAULT_PORT: u16 = 2379;

/// More members than any cluster has; a list beyond that is a mistake.
const MOST_MEMBERS: usize = 64;

/// One member.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Member {
    /// With a port.
    pub(crate) authority: String,
    /// As written; `None` where the configuration decides.
    pub(crate) https: Option<bool>,
}

impl Member {
    /// `host`, `host:port`, `[ipv6]:port`, each also behind `http://` or `https://`.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let bad = || format!("{text:?}; allowed are host:port, http://host:port and https://host:port");
        let (https, rest) = match text.split_once("://") {
            Some(("http", rest)) => (Some(false), rest),
            Some(("https", rest)) => (Some(true), rest),
            Some(_) => return Err(bad()),
            None => (None, text),
        };
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        let authority: Authority = rest.parse().map_err(|_| bad())?;
        let after_host = authority.as_str().strip_prefix(authority.host());
        match (authority.host(), after_host, authority.port_u16()) {
            ("", ..) | (_, None, _) => Err(bad()),
            (host, Some(""), _) => Ok(Self { authority: format!("{host}:{DEFAULT_PORT}"), https }),
            (host, Some(_), Some(port)) => Ok(Self { authority: format!("{host}:{port}"), https }),
            (_, Some(_), None) => Err(bad()),
        }
    }

    /// A list separated by commas.
    pub(crate) fn parse_list(text: &str) -> Result<Vec<Self>, String> {
        let members: Vec<_> = text.split(',').map(|part| Self::parse(part.trim())).collect::<Result<_, _>>()?;
        if members.len() > MOST_MEMBERS {
            return Err(format!("{} members; at most {MOST_MEMBERS} are allowed", members.len()));
        }
        Ok(members)
    }

    /// Where to connect; `tls` is for members that do not say.
    pub(crate) fn uri(&self, tls: bool) -> Result<Uri, String> {
        let scheme = if self.https.unwrap_or(tls) { "https" } else { "http" };
        format!("{scheme}://{}", self.authority).parse().map_err(|error| format!("{:?}: {error}", self.authority))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_and_schemes_are_optional() {
        for (text, authority, https) in [
            ("a", "a:2379", None),
            ("a:1", "a:1", None),
            ("https://a.b:1/", "a.b:1", Some(true)),
            ("http://[::1]", "[::1]:2379", Some(false)),
            ("[::1]:9", "[::1]:9", None),
        ] {
            assert_eq!(Member::parse(text), Ok(Member { authority: authority.to_owned(), https }), "{text}");
        }
        assert_eq!(Member::parse_list("a, b:1").unwrap().len(), 2);
    }

    #[test]
    fn what_is_no_member_is_named() {
        for text in ["", "a:", "a:70000", "a:b", "ftp://a:1", "a/b", "user@a:1", "a:1,,b:1", "::1"] {
            let error = Member::parse_list(text).unwrap_err();
            assert!(error.contains("allowed"), "{text}: {error}");
        }
        assert!(Member::parse_list(&["a"; 65].join(",")).unwrap_err().contains("65"));
    }
}
