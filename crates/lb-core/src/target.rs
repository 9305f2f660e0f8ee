//! Target URIs: what a user gives to say where a service is.
//!
//! A target is `scheme:[//authority/]path[?query]`, read as RFC 3986 has it. What is no URI, or a URI of a scheme nobody registered,
//! is a name for `dns`: `orders:50051` is `dns:///orders:50051`. Parsing asks nobody and never panics; whether a resolver can do
//! something with the path is for the resolver to say.
//!
//! | text | scheme | authority | path |
//! |---|---|---|---|
//! | `orders:50051` | `dns` | | `orders:50051` |
//! | `dns://8.8.8.8/orders` | `dns` | `8.8.8.8` | `orders` |
//! | `unix:/run/a.sock`, `unix:///run/a.sock` | `unix` | | `run/a.sock`; [`file_path`](Target::file_path) `/run/a.sock` |
//! | `unix-abstract:a:b/c` | `unix-abstract` | | `a:b/c` |
//!
//! Source: gRPC naming; RFC 3986. Differences: a known scheme with a malformed authority or percent-encoding is an error at once
//! instead of a `dns` name that cannot resolve, and `+` in a query is a plus sign.

mod host_port;
mod parse;
#[cfg(test)]
mod tests;

use std::fmt;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

/// What may stand in `:authority` as it is: unreserved, sub-delims and `:[]@` (RFC 3986 §3.2).
const AUTHORITY_ENCODED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~')
    .remove(b'!')
    .remove(b'$')
    .remove(b'&')
    .remove(b'\'')
    .remove(b'(')
    .remove(b')')
    .remove(b'*')
    .remove(b'+')
    .remove(b',')
    .remove(b';')
    .remove(b'=')
    .remove(b':')
    .remove(b'[')
    .remove(b']')
    .remove(b'@');

/// A parsed target.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Target {
    text: String,
    canonical: String,
    scheme: String,
    authority: String,
    /// Decoded, with its leading slash if it has one.
    file_path: String,
    query: Vec<(String, String)>,
}

/// A text that is no target, or a target that does not name what it should.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("target {text:?}: {kind}")]
pub struct TargetError {
    text: String,
    kind: TargetErrorKind,
}

/// What is wrong with a target.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TargetErrorKind {
    /// The text is empty.
    #[error("it is empty; allowed is scheme:path, scheme://authority/path or a host name with an optional port")]
    Empty,
    /// The text holds a control character, or its decoded form a NUL.
    #[error("it holds a control character")]
    ControlCharacter,
    /// A `%` is not followed by two hex digits, or the bytes it stands for are not UTF-8.
    #[error("its percent-encoding is wrong; allowed is % and two hex digits, together UTF-8; a plain percent sign is %25")]
    PercentEncoding,
    /// The authority holds a character that is not allowed there.
    #[error("the authority holds {0:?}; allowed are letters, digits, %xx and -._~!$&'()*+,;=:[]@")]
    AuthorityCharacter(char),
    /// The scheme takes no authority, but there is one.
    #[error("scheme {scheme:?} takes no authority, found {authority:?}; write {scheme}:path or {scheme}:///path")]
    UnexpectedAuthority {
        /// The scheme.
        scheme: String,
        /// What stands where an authority would.
        authority: String,
    },
    /// The path does not begin with a host name or an IP address.
    #[error("{0}")]
    Host(String),
    /// What follows the host name is not a port.
    #[error("the port is {0:?}; allowed is a number from 0 to 65535")]
    Port(String),
}

impl Target {
    /// Parses a target. `known` says whether a resolver for a scheme is registered; what does not parse with a known scheme is
    /// taken as `dns:///` + the whole text. A fragment (`#…`) is ignored.
    ///
    /// # Errors
    /// The text is empty, holds control characters or wrong percent-encoding, or its scheme is known and the authority is malformed,
    /// or present where the scheme (`ipv4`, `ipv6`, `unix`, `unix-abstract`, `vsock`) takes none.
    pub fn parse(text: &str, known: &dyn Fn(&str) -> bool) -> Result<Self, TargetError> {
        parse::parse(text, known).map_err(|kind| TargetError { text: text.to_owned(), kind })
    }

    /// The scheme, lower case.
    pub fn scheme(&self) -> &str {
        &self.scheme
    }

    /// What stands between `//` and the next `/`, decoded: a name server, an agent; mostly empty.
    pub fn authority(&self) -> &str {
        &self.authority
    }

    /// The endpoint: the path without one leading slash, or the opaque part; decoded. For paths in the file system use
    /// [`file_path`](Self::file_path).
    pub fn path(&self) -> &str {
        self.file_path.strip_prefix('/').unwrap_or(&self.file_path)
    }

    /// The path with its leading slash if it has one; decoded. `unix:/a` and `unix:///a` are `/a`, `unix:a` is `a`.
    pub fn file_path(&self) -> &str {
        &self.file_path
    }

    /// The query, decoded, in order; a key without `=` has an empty value.
    pub fn query(&self) -> &[(String, String)] {
        &self.query
    }

    /// The last value of a query key.
    pub fn query_value(&self, key: &str) -> Option<&str> {
        self.query.iter().rev().find(|(k, _)| k == key).map(|(_, value)| value.as_str())
    }

    /// The text it was parsed from.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The form for metrics and logs, scheme included and query left out: `orders` and `dns:orders` are `dns:///orders`.
    pub fn canonical(&self) -> &str {
        &self.canonical
    }

    /// Host and port of a target that names one, as `dns` targets do: `host`, `host:port`, `ip`, `[ipv6]:port`; `:port` is a port of
    /// `localhost`. The host comes without brackets.
    ///
    /// # Errors
    /// The host is empty, longer than 253 bytes, or has characters no host name has; the port is empty or not a number below 65536.
    pub fn host_port(&self, default_port: u16) -> Result<(String, u16), TargetError> {
        host_port::split(self.path(), default_port).map_err(|kind| TargetError { text: self.text.clone(), kind })
    }

    /// The `:authority` of calls unless somebody says otherwise: `localhost` for sockets of the same machine, else the path, with
    /// `localhost` before a lone port and what is not allowed in an authority percent-encoded.
    pub fn default_authority(&self) -> String {
        match (self.scheme.as_str(), self.path()) {
            ("unix" | "unix-abstract" | "vsock", _) => "localhost".to_owned(),
            (_, path) => {
                let localhost = if path.starts_with(':') { "localhost" } else { "" };
                format!("{localhost}{}", utf8_percent_encode(path, AUTHORITY_ENCODED))
            }
        }
    }
}

impl fmt::Display for Target {
    /// The canonical form.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.canonical)
    }
}

impl TargetError {
    /// What is wrong.
    pub fn kind(&self) -> &TargetErrorKind {
        &self.kind
    }

    /// The target's text.
    pub fn text(&self) -> &str {
        &self.text
    }
}
