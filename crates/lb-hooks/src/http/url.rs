//! Where a backend is.

use std::fmt;

use http::Uri;
use http::uri::Scheme;
use lb_core::ConfigError;

/// An `http` or `https` URL, taken apart.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Url {
    /// Without brackets.
    pub(crate) host: String,
    pub(crate) port: u16,
    pub(crate) tls: bool,
    /// As in the `Host` header.
    pub(crate) authority: String,
    /// Path and query.
    pub(crate) path: String,
}

impl Url {
    pub(crate) fn parse(text: &str) -> Result<Self, ConfigError> {
        // Said without the text itself: a wrong one may hold a password.
        let error = |what: &str| ConfigError::new("hooks.url", what, "an http or https URL without user, password and fragment");
        if text.contains('#') {
            return Err(error("one with a fragment"));
        }
        let uri: Uri = text.parse().map_err(|_| error("not a URL"))?;
        let tls = match uri.scheme() {
            Some(scheme) if *scheme == Scheme::HTTP => false,
            Some(scheme) if *scheme == Scheme::HTTPS => true,
            _ => return Err(error("another scheme, or none")),
        };
        let authority = uri.authority().ok_or_else(|| error("one without a host"))?;
        if authority.as_str().contains('@') {
            return Err(error("one with a user"));
        }
        let host = authority.host().trim_start_matches('[').trim_end_matches(']');
        let port = authority.port_u16().unwrap_or(if tls { 443 } else { 80 });
        let written = authority.as_str().strip_prefix(authority.host()).unwrap_or_default();
        if host.is_empty() || port == 0 || !(written.is_empty() || authority.port_u16().is_some()) {
            return Err(error("one without a host, or with a port that is none"));
        }
        let path = uri.path_and_query().map_or("/", |path| path.as_str());
        Ok(Self { host: host.to_owned(), port, tls, authority: authority.to_string(), path: path.to_owned() })
    }
}

impl fmt::Debug for Url {
    /// Without the query, where receivers like to keep keys.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.path.split('?').next().unwrap_or_default();
        write!(f, "{}://{}{path}", if self.tls { "https" } else { "http" }, self.authority)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls() {
        let url = |text| Url::parse(text).map(|url| (url.host, url.port, url.tls, url.authority, url.path));
        let whole =
            |host: &str, port, tls, authority: &str, path: &str| Ok((host.into(), port, tls, authority.into(), path.into()));
        assert_eq!(url("http://a"), whole("a", 80, false, "a", "/"));
        assert_eq!(url("https://a.b/c?d=e"), whole("a.b", 443, true, "a.b", "/c?d=e"));
        assert_eq!(url("http://[::1]:8080/x"), whole("::1", 8080, false, "[::1]:8080", "/x"));
        for bad in [
            "",
            "a",
            "/a",
            "ftp://a",
            "http://",
            "http://:80",
            "http://a:0",
            "http://a:99999",
            "http://u:p@a",
            "http://a/#b",
            "http://a b",
        ] {
            let error = url(bad).expect_err(bad).to_string();
            assert!(error.contains("hooks.url") && !error.contains("u:p"), "{error}");
        }
    }

    #[test]
    fn what_is_printed_holds_no_query() {
        let url = Url::parse("https://hooks:8443/in?key=secret").expect("a URL");
        assert_eq!(format!("{url:?}"), "https://hooks:8443/in");
    }
}
