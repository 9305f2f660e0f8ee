//! Affinity: which endpoints suit which kind of work.
//!
//! Three sources, from the strongest: the call names endpoints ([`PickHints::prefer`](crate::PickHints::prefer)); a rule names what
//! suits its kind of work ([`AffinityRules`]); and what endpoints did with that kind before ([`Experience`]). All of them are
//! preferences: they raise an endpoint's score and exclude nothing. A call says its kind by [`PickHints::kind`](crate::PickHints::kind).
//!
//! **Bound.** At most [`AffinityRules::MOST`] rules; of each endpoint at most [`Experience::KINDS`] kinds are remembered.
//!
//! **When not.** Work that an endpoint *cannot* do: require a capability. State that lives at one endpoint: use a session.
//!
//! ```
//! use lb_core::{AffinityRules, Endpoint};
//!
//! let rules = AffinityRules::from_json(&serde_json::json!([
//!     {"kind": "ocr", "capabilities": ["gpu"], "metadata": {"disk": "ssd"}},
//!     {"kind": "billing", "ids": ["orders-7"]},
//! ]))?;
//! let mut endpoint = Endpoint::new(std::net::SocketAddr::from(([10, 0, 0, 1], 50051)));
//! endpoint.attributes.capabilities.insert("gpu".into());
//! assert_eq!(rules.for_kind("ocr").map(|rule| rule.fit(&endpoint)), Some(0.5));
//! assert!(rules.for_kind("mail").is_none());
//! # Ok::<(), lb_core::ConfigError>(())
//! ```

mod experience;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::endpoint::Endpoint;
use crate::policy::ConfigError;

pub use experience::{Experience, KindOutcome};

/// What suits one kind of work. At least one of the three lists is not empty.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
#[non_exhaustive]
pub struct AffinityRule {
    /// The kind of work, as calls name it.
    pub kind: Arc<str>,
    /// Capabilities that suit it.
    pub capabilities: BTreeSet<Arc<str>>,
    /// Endpoints that suit it, by their [id](crate::Attributes::id) or key.
    pub ids: BTreeSet<Arc<str>>,
    /// Metadata that suits it.
    pub metadata: BTreeMap<Arc<str>, Arc<str>>,
}

impl AffinityRule {
    /// How well an endpoint suits, 0 to 1: the mean, over the lists the rule has, of the share of the list that the endpoint meets. One
    /// of the ids is all of them.
    pub fn fit(&self, endpoint: &Endpoint) -> f64 {
        let attributes = &endpoint.attributes;
        let share = |met: usize, all: usize| (all > 0).then(|| met as f64 / all as f64);
        let capabilities = self.capabilities.iter().filter(|word| attributes.capabilities.contains(*word)).count();
        let metadata = self.metadata.iter().filter(|(name, value)| attributes.metadata.get(*name) == Some(value)).count();
        let is_named = attributes.id.as_ref().is_some_and(|id| self.ids.contains(id)) || self.ids.contains(endpoint.key().as_str());
        let shares = [
            share(capabilities, self.capabilities.len()),
            share(metadata, self.metadata.len()),
            (!self.ids.is_empty()).then_some(f64::from(u8::from(is_named))),
        ];
        let known = shares.iter().flatten().count();
        shares.iter().flatten().sum::<f64>() / known.max(1) as f64
    }

    fn is_empty(&self) -> bool {
        self.capabilities.is_empty() && self.ids.is_empty() && self.metadata.is_empty()
    }
}

/// Rules by kind of work, at most one per kind.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AffinityRules {
    /// Sorted by kind.
    rules: Box<[AffinityRule]>,
}

impl AffinityRules {
    /// The most rules. Each costs a number per endpoint whenever the set of endpoints changes.
    pub const MOST: usize = 64;

    /// Rules in any order.
    ///
    /// # Errors
    /// More than [`MOST`](Self::MOST); two of one kind; one without a kind or without anything that suits.
    pub fn new(rules: impl IntoIterator<Item = AffinityRule>) -> Result<Self, ConfigError> {
        let mut rules: Vec<AffinityRule> = rules.into_iter().collect();
        if rules.len() > Self::MOST {
            return Err(ConfigError::new("rules", format!("{} rules", rules.len()), format!("at most {}", Self::MOST)));
        }
        if let Some(at) = rules.iter().position(|rule| rule.kind.is_empty()) {
            return Err(ConfigError::new(format!("rules[{at}].kind"), "empty", "the name of a kind of work"));
        }
        if let Some(at) = rules.iter().position(AffinityRule::is_empty) {
            return Err(ConfigError::new(format!("rules[{at}]"), "without preference", "capabilities, ids or metadata that suit"));
        }
        rules.sort_by(|one, other| one.kind.cmp(&other.kind));
        if let Some(pair) = rules.windows(2).find(|pair| pair[0].kind == pair[1].kind) {
            return Err(ConfigError::new("rules", format!("two rules for {:?}", pair[0].kind), "one rule per kind of work"));
        }
        Ok(Self { rules: rules.into() })
    }

    /// Rules from JSON: a list of `{"kind", "capabilities", "ids", "metadata"}`.
    ///
    /// # Errors
    /// As [`new`](Self::new), and what is not such a list.
    pub fn from_json(list: &Value) -> Result<Self, ConfigError> {
        const SHAPE: &str = "a list of {\"kind\": text, \"capabilities\": [text], \"ids\": [text], \"metadata\": {name: text}}";
        let elements = list.as_array().ok_or_else(|| ConfigError::new("rules", list, SHAPE))?;
        let rule = |(at, element): (usize, &Value)| {
            AffinityRule::deserialize(element)
                .map_err(|error| ConfigError::new(format!("rules[{at}]"), element, format!("{SHAPE} ({error})")))
        };
        Self::new(elements.iter().enumerate().map(rule).collect::<Result<Vec<_>, _>>()?)
    }

    /// The rule for a kind of work.
    pub fn for_kind(&self, kind: &str) -> Option<&AffinityRule> {
        self.at(self.position(kind)?)
    }

    /// The rule at this place in [`iter`](Self::iter).
    pub(crate) fn at(&self, place: usize) -> Option<&AffinityRule> {
        self.rules.get(place)
    }

    /// Where the rule for a kind stands in [`iter`](Self::iter).
    pub(crate) fn position(&self, kind: &str) -> Option<usize> {
        self.rules.binary_search_by(|rule| (*rule.kind).cmp(kind)).ok()
    }

    /// All rules, by kind.
    pub fn iter(&self) -> impl Iterator<Item = &AffinityRule> {
        self.rules.iter()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn endpoint() -> Endpoint {
        let mut endpoint = Endpoint::new(std::net::SocketAddr::from(([10, 0, 0, 1], 1)));
        endpoint.attributes.id = Some("a".into());
        endpoint.attributes.capabilities = ["gpu".into(), "avx".into()].into();
        endpoint.attributes.metadata.insert("disk".into(), "ssd".into());
        endpoint
    }

    #[test]
    fn fit_is_the_mean_share_of_what_a_rule_names() {
        for (rule, fit) in [
            (json!({"kind": "k", "capabilities": ["gpu"]}), 1.0),
            (json!({"kind": "k", "capabilities": ["gpu", "tpu"]}), 0.5),
            (json!({"kind": "k", "ids": ["a", "b", "c"]}), 1.0),
            (json!({"kind": "k", "ids": ["10.0.0.1:1"]}), 1.0),
            (json!({"kind": "k", "ids": ["b"]}), 0.0),
            (json!({"kind": "k", "metadata": {"disk": "hdd"}}), 0.0),
            (json!({"kind": "k", "capabilities": ["gpu"], "ids": ["b"], "metadata": {"disk": "ssd"}}), 2.0 / 3.0),
        ] {
            let rules = AffinityRules::from_json(&json!([rule])).unwrap();
            assert!((rules.for_kind("k").unwrap().fit(&endpoint()) - fit).abs() < 1e-9, "{rules:?}");
        }
    }

    #[test]
    fn rules_that_are_refused_say_which() {
        let many: Vec<Value> = (0..65).map(|n| json!({"kind": n.to_string(), "ids": ["a"]})).collect();
        for (list, field) in [
            (json!({}), "rules"),
            (json!(many), "rules"),
            (json!([{"kind": "k", "ids": ["a"]}, {"ids": ["a"]}]), "rules[1].kind"),
            (json!([{"kind": "k"}]), "rules[0]"),
            (json!([{"kind": "k", "ids": "a"}]), "rules[0]"),
            (json!([{"kind": "k", "ids": ["a"]}, {"kind": "k", "ids": ["b"]}]), "rules"),
            (json!([5]), "rules[0]"),
        ] {
            assert_eq!(AffinityRules::from_json(&list).unwrap_err().field, field, "{list}");
        }
    }

    #[test]
    fn rules_are_found_by_kind_whatever_their_order() {
        let rules =
            AffinityRules::from_json(&json!([{"kind": "z", "ids": ["a"]}, {"kind": "b", "ids": ["a"], "unknown": 1}])).unwrap();
        assert!(["z", "b"].iter().all(|kind| &*rules.for_kind(kind).unwrap().kind == *kind));
        assert_eq!(rules.iter().count(), 2);
    }
}
