//! Target URIs: what a user gives to say where a service is.

/// A parsed target (gRPC naming).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    scheme: String,
    authority: String,
    path: String,
    query: Vec<(String, String)>,
    text: String,
}

/// A text that is no target.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("target {text:?}: {reason}")]
pub struct TargetError {
    text: String,
    reason: String,
}

impl Target {
    /// Parses a target. `known` says whether a resolver for a scheme is registered; what does not parse with a known scheme is
    /// taken as `dns:///` + the whole text.
    pub fn parse(text: &str, known: &dyn Fn(&str) -> bool) -> Result<Self, TargetError> {
        let _ = known;
        Err(TargetError { text: text.to_owned(), reason: String::new() })
    }

    /// The scheme, lower case.
    pub fn scheme(&self) -> &str {
        &self.scheme
    }

    /// What stands between `//` and the next `/`: a name server, an agent; mostly empty.
    pub fn authority(&self) -> &str {
        &self.authority
    }

    /// The endpoint: the path without its leading slash, or the opaque part; percent-decoded.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The query, decoded, in order.
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
}
