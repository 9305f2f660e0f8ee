//! What is read of an EndpointSlice and of the messages around it.
//!
//! These are ours and not k8s-openapi's: the few fields that matter are the same in every version of discovery.k8s.io/v1, the rest is not
//! kept, and a version need not be chosen to read them.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde::de::DeserializeOwned;

/// What a list and a watch can be of.
pub(crate) trait Object: DeserializeOwned {
    fn metadata(&self) -> &Metadata;
}

impl Object for Slice {
    fn metadata(&self) -> &Metadata {
        &self.metadata
    }
}

/// A page of a list. A list that says nothing of itself is not one.
#[derive(Debug, Deserialize)]
pub(crate) struct Page<T = Slice> {
    pub(crate) metadata: PageMetadata,
    /// The server writes `null` for none.
    pub(crate) items: Option<Vec<T>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct PageMetadata {
    pub(crate) resource_version: String,
    #[serde(rename = "continue")]
    pub(crate) next: Option<String>,
}

/// A line of a watch.
#[derive(Debug, Deserialize)]
#[serde(tag = "type", content = "object", rename_all = "UPPERCASE")]
pub(crate) enum Message<T = Slice> {
    Added(T),
    Modified(T),
    Deleted(T),
    Bookmark(Bookmark),
    Error(Status),
}

/// Says how far the watch has come.
#[derive(Debug, Deserialize)]
pub(crate) struct Bookmark {
    pub(crate) metadata: BookmarkMetadata,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct BookmarkMetadata {
    pub(crate) resource_version: String,
}

/// Why the server refuses.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Status {
    pub(crate) code: u16,
    pub(crate) message: String,
    pub(crate) reason: String,
}

/// Any object, for its labels.
#[derive(Debug, Deserialize)]
pub(crate) struct Labelled {
    pub(crate) metadata: Metadata,
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Slice {
    pub(crate) metadata: Metadata,
    pub(crate) address_type: String,
    pub(crate) endpoints: Option<Vec<SliceEndpoint>>,
    pub(crate) ports: Option<Vec<SlicePort>>,
}

#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Metadata {
    pub(crate) name: String,
    pub(crate) resource_version: Option<String>,
    pub(crate) labels: Option<BTreeMap<String, String>>,
    pub(crate) annotations: Option<BTreeMap<String, String>>,
}

#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct SliceEndpoint {
    /// Only the first one means anything.
    pub(crate) addresses: Vec<String>,
    pub(crate) conditions: Option<Conditions>,
    pub(crate) hints: Option<Hints>,
    pub(crate) node_name: Option<String>,
    pub(crate) target_ref: Option<TargetRef>,
    pub(crate) zone: Option<String>,
}

/// Each may be absent, which is not the same as false.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub(crate) struct Conditions {
    pub(crate) ready: Option<bool>,
    pub(crate) serving: Option<bool>,
    pub(crate) terminating: Option<bool>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct Hints {
    pub(crate) for_zones: Option<Vec<Named>>,
    pub(crate) for_nodes: Option<Vec<Named>>,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(crate) struct Named {
    pub(crate) name: String,
}

/// The object an endpoint stands for, mostly a pod.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(default)]
pub(crate) struct TargetRef {
    pub(crate) kind: Option<String>,
    pub(crate) namespace: Option<String>,
    pub(crate) name: Option<String>,
    pub(crate) uid: Option<String>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct SlicePort {
    pub(crate) name: Option<String>,
    /// Absent means every port. Checked when used, because a number is only text until then.
    pub(crate) port: Option<i64>,
    pub(crate) protocol: Option<String>,
    pub(crate) app_protocol: Option<String>,
}

impl SlicePort {
    /// The name, which may be empty.
    pub(crate) fn name(&self) -> &str {
        self.name.as_deref().unwrap_or_default()
    }

    /// gRPC needs TCP, which is what is meant if nothing is said.
    pub(crate) fn is_tcp(&self) -> bool {
        self.protocol.as_deref().is_none_or(|protocol| protocol == "TCP")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_told_by_its_type() {
        let added = r#"{"type":"ADDED","object":{"kind":"EndpointSlice","metadata":{"name":"a","resourceVersion":"7"},
            "addressType":"IPv4","endpoints":null,"ports":null}}"#;
        let Message::<Slice>::Added(slice) = serde_json::from_str(added).unwrap() else { panic!("not added") };
        assert_eq!((slice.metadata.name.as_str(), slice.endpoints), ("a", None));
        let bookmark = r#"{"type":"BOOKMARK","object":{"metadata":{"resourceVersion":"9"},"endpoints":null,"addressType":""}}"#;
        assert!(
            matches!(serde_json::from_str(bookmark), Ok(Message::<Slice>::Bookmark(it)) if it.metadata.resource_version == "9")
        );
        let error = r#"{"type":"ERROR","object":{"kind":"Status","code":410,"reason":"Expired"}}"#;
        assert!(matches!(serde_json::from_str(error), Ok(Message::<Slice>::Error(it)) if it.code == 410));
    }

    #[test]
    fn wrong_types_are_errors() {
        for text in [
            r#"{"type":"ADDED","object":{"metadata":{"name":7},"addressType":"IPv4"}}"#,
            r#"{"type":"ADDED","object":{"metadata":{"name":"a"},"addressType":"IPv4","endpoints":{}}}"#,
            r#"{"type":"ADDED","object":{"metadata":{"name":"a"},"addressType":"IPv4","endpoints":[{"addresses":"10.0.0.1"}]}}"#,
            r#"{"type":"ADDED","object":{"metadata":{"name":"a"},"addressType":"IPv4","endpoints":[{"addresses":[],"conditions":{"ready":"yes"}}]}}"#,
            r#"{"type":"ELSE","object":{}}"#,
            r#"{"type":"ADDED"}"#,
            "[]",
        ] {
            assert!(serde_json::from_str::<Message>(text).is_err(), "{text}");
        }
        assert!(serde_json::from_str::<Page>(r#"{"items":[]}"#).is_err());
        let deep = |inside: &str| {
            let nested = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
            let fields = if inside == "items" { String::new() } else { r#""items":[],"#.to_owned() };
            serde_json::from_str::<Page>(&format!(r#"{{"metadata":{{"resourceVersion":"1"}},{fields}"{inside}":{nested}}}"#))
        };
        assert!(deep("items").is_err());
        assert!(deep("unknown").is_ok(), "what is not read is skipped however deep it is");
    }
}
