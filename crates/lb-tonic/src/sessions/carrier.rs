//! Where a token is in a request and goes in a response.

use std::time::Duration;

use http::header::{COOKIE, HeaderMap, HeaderName, HeaderValue, SET_COOKIE};
use lb_core::ConfigError;

const DEFAULT_COOKIE: &str = "evenkeel-session";

/// More cookies of one name than this are no browser's doing, and each costs an HMAC.
const MOST_TOKENS: usize = 4;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Carrier {
    Cookie(String),
    Metadata(HeaderName),
}

impl Carrier {
    pub(super) fn cookie(name: &str) -> Result<Self, ConfigError> {
        // What may be in a token (RFC 9110) is what may be in a header's name, in either case.
        match HeaderName::from_bytes(name.as_bytes()) {
            Ok(_) => Ok(Self::Cookie(name.to_owned())),
            Err(_) => Err(ConfigError::new("sessions.token.cookie", format!("{name:?}"), "letters, digits and !#$%&'*+-.^_`|~")),
        }
    }

    pub(super) fn metadata(name: &str) -> Result<Self, ConfigError> {
        let taken = |name: &HeaderName| {
            let name = name.as_str();
            name.starts_with("grpc-") || name.ends_with("-bin") || ["content-type", "te", "user-agent", "host"].contains(&name)
        };
        match HeaderName::from_bytes(name.as_bytes()) {
            Ok(name) if !taken(&name) => Ok(Self::Metadata(name)),
            _ => Err(ConfigError::new(
                "sessions.token.metadata",
                format!("{name:?}"),
                "the name of metadata, not binary, not gRPC's own",
            )),
        }
    }

    /// The tokens of a request.
    pub(super) fn find<'a>(&'a self, headers: &'a HeaderMap) -> impl Iterator<Item = &'a str> {
        let (header, cookie) = match self {
            Self::Cookie(name) => (&COOKIE, Some(name.as_str())),
            Self::Metadata(name) => (name, None),
        };
        let values = headers.get_all(header).into_iter().filter_map(|value| value.to_str().ok());
        let tokens = values.flat_map(move |value| {
            // Without a cookie's name the value is the token, and has no semicolons.
            value.split(';').filter_map(move |pair| match cookie {
                Some(cookie) => pair.trim().split_once('=').filter(|(name, _)| *name == cookie).map(|(_, token)| unquoted(token)),
                None => Some(pair),
            })
        });
        tokens.take(MOST_TOKENS)
    }

    /// Adds a token to a response.
    pub(super) fn add(&self, headers: &mut HeaderMap, token: &str, path: &str, ttl: Duration) {
        let (header, text) = match self {
            Self::Cookie(name) => (&SET_COOKIE, format!("{name}={token}; Max-Age={}; Path={path}; HttpOnly", ttl.as_secs())),
            Self::Metadata(name) => (name, token.to_owned()),
        };
        if let Ok(value) = HeaderValue::from_str(&text) {
            headers.append(header, value);
        }
    }
}

impl Default for Carrier {
    fn default() -> Self {
        Self::Cookie(DEFAULT_COOKIE.to_owned())
    }
}

fn unquoted(value: &str) -> &str {
    value.strip_prefix('"').and_then(|value| value.strip_suffix('"')).unwrap_or(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(carrier: &Carrier, headers: &[(&'static str, &'static str)]) -> Vec<String> {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, HeaderValue::from_static(value));
        }
        carrier.find(&map).map(str::to_owned).collect()
    }

    #[test]
    fn cookies_are_found_among_others_and_over_several_headers() {
        let carrier = Carrier::cookie("s").unwrap();
        let headers = [("cookie", "a=1; s=x; ss=2;S=3"), ("cookie", "s=\"y\";s=z=; s"), ("s", "no cookie")];
        assert_eq!(found(&carrier, &headers), ["x", "y", "z="]);
        assert_eq!(found(&carrier, &[("cookie", "s=1;s=2;s=3;s=4;s=5")]).len(), MOST_TOKENS);
        assert_eq!(found(&carrier, &[]), [""; 0]);
    }

    #[test]
    fn metadata_is_the_whole_value() {
        assert_eq!(found(&Carrier::metadata("X-S").unwrap(), &[("x-s", "x=y"), ("cookie", "x-s=z")]), ["x=y"]);
    }

    #[test]
    fn a_cookie_is_kept_from_scripts_and_ends_with_its_token() {
        let mut headers = HeaderMap::new();
        Carrier::default().add(&mut headers, "abc", "/x", Duration::from_secs(90));
        assert_eq!(headers[SET_COOKIE], "evenkeel-session=abc; Max-Age=90; Path=/x; HttpOnly");
    }

    #[test]
    fn names_that_cannot_be_used() {
        for name in ["", "a b", "a;b", "a=b", "ä"] {
            assert!(Carrier::cookie(name).is_err() && Carrier::metadata(name).is_err(), "{name:?}");
        }
        for name in ["grpc-status", "x-bin", "te", "Content-Type"] {
            assert!(Carrier::metadata(name).is_err(), "{name}");
        }
    }
}
