//! Changing only what one has seen: `ETag` and `If-Match` (RFC 9110).

use std::fmt;

use http::header::{ETAG, IF_MATCH};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use serde::Serialize;
use sha2::{Digest, Sha256};

use crate::problem::Problem;

/// The tag of data: equal data has equal tags.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Tag(String);

impl fmt::Display for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Tag {
    /// Of what is served.
    pub(crate) fn of(data: &impl Serialize) -> Self {
        // What cannot be written is not served either.
        let digest = Sha256::digest(serde_json::to_vec(data).unwrap_or_default());
        Self(digest.iter().take(12).map(|byte| format!("{byte:02x}")).collect())
    }

    /// The header that says so.
    pub(crate) fn header(&self) -> Option<(HeaderName, HeaderValue)> {
        Some((ETAG, HeaderValue::try_from(format!("\"{}\"", self.0)).ok()?))
    }

    /// Refuses who has seen something else. Who does not say what they have seen wants the change anyhow.
    pub(crate) fn check(&self, headers: &HeaderMap) -> Result<(), Problem> {
        let mut asked = headers.get_all(IF_MATCH).iter().peekable();
        if asked.peek().is_none() {
            return Ok(());
        }
        let own = format!("\"{}\"", self.0);
        let matches = |tag: &str| tag == "*" || tag == own;
        let seen = |value: &HeaderValue| value.to_str().is_ok_and(|tags| tags.split(',').map(str::trim).any(matches));
        if asked.any(seen) {
            return Ok(());
        }
        let problem = Problem::new(StatusCode::PRECONDITION_FAILED, "it has changed since you saw it: look again");
        Err(match self.header() {
            Some((name, value)) => problem.with(name, value),
            None => problem,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_who_has_seen_it_may_change_it() {
        let tag = Tag::of(&"round_robin");
        let own = tag.header().unwrap().1.to_str().unwrap().to_owned();
        let allowed = |values: &[&str]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(IF_MATCH, HeaderValue::from_str(value).unwrap());
            }
            tag.check(&headers).is_ok()
        };
        assert!(allowed(&[]) && allowed(&["*"]) && allowed(&[&own]) && allowed(&[&format!("\"x\", {own}")]));
        assert!(allowed(&["\"x\"", &own]));
        for other in ["\"x\"", "", own.trim_matches('"'), &format!("W/{own}"), "\"\u{e4}\""] {
            assert!(!allowed(&[other]), "{other}");
        }
        assert_ne!(tag, Tag::of(&"random"));
    }
}
