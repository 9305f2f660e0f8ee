//! Consul's answers, as far as they matter here.
//!
//! Of what Consul sends this keeps what becomes an endpoint and skips the rest; its Go servers write `null` for an empty list or map.
//! Numbers are read wide, so that one port out of range costs one endpoint and not the answer. Memory is bounded by the size of
//! the body, which the client bounds; nesting by `serde_json`, at 128.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde::Deserializer;

/// One endpoint as `/v1/health/service/…` lists it: where it runs, what it is, how it fares.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct Entry {
    pub(crate) node: Machine,
    pub(crate) service: Service,
    #[serde(deserialize_with = "nullable")]
    pub(crate) checks: Vec<Check>,
}

/// What Consul calls a node: the agent an endpoint is registered with.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct Machine {
    pub(crate) node: String,
    pub(crate) address: String,
    #[serde(deserialize_with = "nullable")]
    pub(crate) datacenter: String,
    #[serde(deserialize_with = "nullable")]
    pub(crate) meta: Meta,
    pub(crate) locality: Option<Place>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct Service {
    #[serde(rename = "ID")]
    pub(crate) id: String,
    pub(crate) service: String,
    #[serde(deserialize_with = "nullable")]
    pub(crate) tags: Vec<String>,
    #[serde(deserialize_with = "nullable")]
    pub(crate) address: String,
    #[serde(deserialize_with = "nullable")]
    pub(crate) meta: Meta,
    pub(crate) port: i64,
    pub(crate) weights: Option<Weights>,
    pub(crate) locality: Option<Place>,
}

pub(crate) type Meta = BTreeMap<String, String>;

/// Shares of calls while the checks pass, and while one warns.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct Weights {
    pub(crate) passing: i64,
    pub(crate) warning: i64,
}

impl Default for Weights {
    /// Consul's.
    fn default() -> Self {
        Self { passing: 1, warning: 1 }
    }
}

/// Since Consul 1.17.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct Place {
    pub(crate) region: String,
    pub(crate) zone: String,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct Check {
    #[serde(rename = "CheckID")]
    pub(crate) check_id: String,
    pub(crate) status: String,
}

/// The answer to a prepared query.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Prepared {
    #[serde(deserialize_with = "nullable")]
    nodes: Vec<Entry>,
}

/// Reads the answer of `/v1/health/service/…`.
pub(crate) fn entries(body: &[u8]) -> Result<Vec<Entry>, serde_json::Error> {
    // `null` for an empty list.
    serde_json::from_slice::<Option<Vec<Entry>>>(body).map(Option::unwrap_or_default)
}

/// Reads the answer of `/v1/query/…/execute`.
pub(crate) fn prepared(body: &[u8]) -> Result<Vec<Entry>, serde_json::Error> {
    serde_json::from_slice::<Prepared>(body).map(|prepared| prepared.nodes)
}

fn nullable<'de, D: Deserializer<'de>, T: Default + Deserialize<'de>>(deserializer: D) -> Result<T, D::Error> {
    Option::<T>::deserialize(deserializer).map(Option::unwrap_or_default)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn nulls_are_empty_and_strangers_are_skipped() {
        let body = br#"[{"Node":{"Node":"n","Address":"10.0.0.1","Meta":null,"Datacenter":null,"X":[{}]},"Checks":null,
            "Service":{"ID":"s1","Service":"s","Tags":null,"Meta":null,"Port":80,"Weights":null,"Connect":{}}}]"#;
        let entries = entries(body).unwrap();
        assert_eq!((entries.len(), entries[0].service.port, entries[0].checks.len()), (1, 80, 0));
        assert!(super::entries(b"null").unwrap().is_empty());
        assert_eq!(prepared(br#"{"Service":"s","Nodes":null}"#).unwrap().len(), 0);
    }

    #[test]
    fn what_is_no_answer_is_an_error() {
        let deep = "[".repeat(100_000);
        let deep_inside = format!(r#"[{{"X":{}"#, "[".repeat(100_000));
        for bad in ["", "[", "{}", "[1]", r#"[{"Service":{"Port":"80"}}]"#, r#"[{"Service":{"Port":1e99}}]"#, &deep, &deep_inside] {
            assert!(entries(bad.as_bytes()).is_err(), "{}", &bad[..bad.len().min(40)]);
        }
        assert!(entries(b"[{\"Service\":{\"ID\":\"\xff\"}}]").is_err(), "not UTF-8");
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(body in proptest::collection::vec(any::<u8>(), 0..500)) {
            let _ = (entries(&body), prepared(&body));
        }
    }
}
