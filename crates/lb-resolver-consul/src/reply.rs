//! What an answer's headers say.

use http::HeaderMap;

/// The index rules: a blocking query is asked with the index of the last answer, and
///
/// - an index that went backwards (a new or restored cluster) is not trusted: the next query does not block;
/// - 0 or none at all would not block either, and is taken as 1, on which Consul blocks until there is anything at all.
///
/// What would then come back at once again and again is held by the least interval between two requests.
pub(crate) fn next_index(before: Option<u64>, headers: &HeaderMap) -> Option<u64> {
    let index = number(headers, "x-consul-index").unwrap_or(0).max(1);
    match before {
        Some(before) if index < before => None,
        _ => Some(index),
    }
}

/// Whether the server that answered knew no leader, so that its answer may be old.
pub(crate) fn leaderless(headers: &HeaderMap) -> bool {
    headers.get("x-consul-knownleader").is_some_and(|known| known == "false")
}

/// Whether Consul says (since 1.12, and to those with a token only) that it left something out that the token may not see.
pub(crate) fn filtered(headers: &HeaderMap) -> bool {
    headers.get("x-consul-results-filtered-by-acls").is_some_and(|filtered| filtered == "true")
}

fn number(headers: &HeaderMap, name: &str) -> Option<u64> {
    headers.get(name)?.to_str().ok()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(index: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert("x-consul-index", index.parse().unwrap());
        headers
    }

    #[test]
    fn an_index_is_trusted_only_forwards() {
        assert_eq!(next_index(None, &with("18")), Some(18));
        assert_eq!(next_index(Some(18), &with("18")), Some(18));
        assert_eq!(next_index(Some(18), &with("20")), Some(20));
        assert_eq!(next_index(Some(18), &with("8")), None);
        assert_eq!(next_index(None, &with("0")), Some(1));
        assert_eq!(next_index(Some(5), &with("0")), None);
        for nonsense in ["", "-1", "1e9", "99999999999999999999999", "x"] {
            assert_eq!(next_index(None, &with(nonsense)), Some(1), "{nonsense}");
        }
        assert_eq!(next_index(None, &HeaderMap::new()), Some(1));
    }
}
