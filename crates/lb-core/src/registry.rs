//! Which policies a channel knows by name.
//!
//! A registry is a value: the default one knows the built-in policies, and a channel is given another to know more. There is no
//! global one, so that two libraries in one process cannot get in each other's way.
//!
//! Source: gRFC A24 (how one policy is chosen from a list).

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use serde_json::{Map, Value};

use crate::policies::{
    Adaptive, IpHash, LeastLatency, LeastRequest, Maglev, OutlierDetection, PeakEwma, PickFirst, Prequal, Preset,
    PrioritySpillover, Random, RandomSubsetting, Rendezvous, RingHash, RoundRobin, Scored, WeightedRoundRobin, WrrLocality,
};
use crate::policy::{ConfigError, Policy, PolicyBuilder};

/// The policies a channel can use, by their name in service configs. Cheap to clone.
///
/// ```
/// use lb_core::PolicyRegistry;
/// use serde_json::json;
///
/// let registry = PolicyRegistry::default();
/// let (name, _policy) = registry.from_list(&json!([{"not_yet_invented": {}}, {"round_robin": {}}]))?;
/// assert_eq!(&*name, "round_robin");
/// # Ok::<(), lb_core::ConfigError>(())
/// ```
#[derive(Clone)]
pub struct PolicyRegistry {
    builders: BTreeMap<Arc<str>, Arc<dyn PolicyBuilder>>,
}

impl Default for PolicyRegistry {
    /// The built-in policies; those named `_experimental` are also known by their names without it.
    fn default() -> Self {
        Self::empty()
            .with(BuiltIn::arc(LeastLatency::NAME, |config| Ok(Box::new(LeastLatency::from_config(config)?))))
            .with(BuiltIn::arc(PeakEwma::NAME, |config| Ok(Box::new(PeakEwma::from_config(config)?))))
            .with(BuiltIn::arc(PickFirst::NAME, |config| Ok(Box::new(PickFirst::from_config(config)?))))
            .with(BuiltIn::arc(Prequal::NAME, |config| Ok(Box::new(Prequal::from_config(config)?))))
            .with(BuiltIn::arc(RoundRobin::NAME, |config| Ok(Box::new(RoundRobin::from_config(config)?))))
            .with(BuiltIn::arc(Random::NAME, |config| Ok(Box::new(Random::from_config(config)?))))
            .with(BuiltIn::arc(WeightedRoundRobin::NAME, |config| Ok(Box::new(WeightedRoundRobin::from_config(config)?))))
            .with(BuiltIn::arc(LeastRequest::NAME, |config| Ok(Box::new(LeastRequest::from_config(config)?))))
            .with(BuiltIn::arc("least_request", |config| Ok(Box::new(LeastRequest::from_config(config)?))))
            .with(BuiltIn::arc(RingHash::NAME, |config| Ok(Box::new(RingHash::from_config(config)?))))
            .with(BuiltIn::arc("ring_hash", |config| Ok(Box::new(RingHash::from_config(config)?))))
            .with(BuiltIn::arc(Maglev::NAME, |config| Ok(Box::new(Maglev::from_config(config)?))))
            .with(BuiltIn::arc(Rendezvous::NAME, |config| Ok(Box::new(Rendezvous::from_config(config)?))))
            .with(Composite::arc(Adaptive::NAME, |config, known| Ok(Box::new(Adaptive::from_config(config, known)?))))
            .with(Composite::arc(OutlierDetection::NAME, |config, known| {
                Ok(Box::new(OutlierDetection::from_config(config, known)?))
            }))
            .with(Composite::arc(RandomSubsetting::NAME, |config, known| {
                Ok(Box::new(RandomSubsetting::from_config(config, known)?))
            }))
            .with(Composite::arc("random_subsetting", |config, known| Ok(Box::new(RandomSubsetting::from_config(config, known)?))))
            .with(Composite::arc(WrrLocality::NAME, |config, known| Ok(Box::new(WrrLocality::from_config(config, known)?))))
            .with(Composite::arc("wrr_locality", |config, known| Ok(Box::new(WrrLocality::from_config(config, known)?))))
            .with(Composite::arc(PrioritySpillover::NAME, |config, known| {
                Ok(Box::new(PrioritySpillover::from_config(config, known)?))
            }))
            .with(BuiltIn::arc(IpHash::NAME, |config| Ok(Box::new(IpHash::from_config(config)?))))
            .with(BuiltIn::arc(Scored::NAME, |config| Ok(Box::new(Scored::from_config(config)?))))
            .with_all(Preset::ALL.map(|preset| Arc::new(PresetBuilder(preset)) as Arc<dyn PolicyBuilder>))
    }
}

impl PolicyRegistry {
    /// A registry that knows no policy.
    pub fn empty() -> Self {
        Self { builders: BTreeMap::new() }
    }

    /// Adds a policy; it replaces one of the same name.
    pub fn register(&mut self, builder: Arc<dyn PolicyBuilder>) {
        self.builders.insert(builder.name().into(), builder);
    }

    /// The same registry with one policy more; it replaces one of the same name.
    #[must_use]
    pub fn with(mut self, builder: Arc<dyn PolicyBuilder>) -> Self {
        self.register(builder);
        self
    }

    fn with_all(mut self, builders: impl IntoIterator<Item = Arc<dyn PolicyBuilder>>) -> Self {
        builders.into_iter().for_each(|builder| self.register(builder));
        self
    }

    /// The names it knows, sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.builders.keys().map(|name| &**name)
    }

    /// Builds the policy of this name. `null` stands for a configuration without fields.
    ///
    /// # Errors
    /// The name is unknown, the configuration is no object, or the policy refuses it.
    pub fn build(&self, name: &str, config: &Value) -> Result<Box<dyn Policy>, ConfigError> {
        let builder = self.builders.get(name).ok_or_else(|| self.unknown("policy", format!("{name:?}")))?;
        match config {
            Value::Object(_) => builder.build(config, self),
            Value::Null => builder.build(&Value::Object(Map::new()), self),
            other => Err(ConfigError::new(name, other, "an object")),
        }
    }

    /// Builds the first policy of a `loadBalancingConfig` list that is known. Unknown ones before it are passed over, what follows
    /// it is not looked at.
    ///
    /// # Errors
    /// It is not a list, names no known policy, or an element up to the chosen one is not an object of one name and one object; or
    /// the chosen policy refuses its configuration: then no other one is tried.
    pub fn from_list(&self, list: &Value) -> Result<(Arc<str>, Box<dyn Policy>), ConfigError> {
        let (name, config) = self.first_known(list)?;
        Ok((name.into(), self.build(name, config)?))
    }

    /// The first policy of a list that is known, and its configuration, unread.
    pub(crate) fn first_known<'a>(&self, list: &'a Value) -> Result<(&'a str, &'a Value), ConfigError> {
        const FIELD: &str = "loadBalancingConfig";
        let elements = list.as_array().ok_or_else(|| ConfigError::new(FIELD, list, "a list of {name: {…}}"))?;
        for (index, element) in elements.iter().enumerate() {
            let (name, config) = single(element).ok_or_else(|| {
                ConfigError::new(format!("{FIELD}[{index}]"), element, "an object of one policy name and one object")
            })?;
            if self.builders.contains_key(name.as_str()) {
                return Ok((name, config));
            }
        }
        Err(self.unknown(FIELD, list))
    }

    fn unknown(&self, field: &str, value: impl fmt::Display) -> ConfigError {
        let names: Vec<&str> = self.names().collect();
        ConfigError::new(field, value, format!("one of {}", names.join(", ")))
    }
}

impl fmt::Debug for PolicyRegistry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.builders.keys()).finish()
    }
}

/// The only pair of an object with one key, if its value is an object too.
fn single(element: &Value) -> Option<(&String, &Value)> {
    let object = element.as_object().filter(|object| object.len() == 1)?;
    object.iter().next().filter(|(_, config)| config.is_object())
}

/// A policy that comes with the crate.
#[derive(Debug)]
struct BuiltIn {
    name: &'static str,
    build: fn(&Value) -> Result<Box<dyn Policy>, ConfigError>,
}

impl BuiltIn {
    fn arc(name: &'static str, build: fn(&Value) -> Result<Box<dyn Policy>, ConfigError>) -> Arc<dyn PolicyBuilder> {
        Arc::new(Self { name, build })
    }
}

impl PolicyBuilder for BuiltIn {
    fn name(&self) -> &str {
        self.name
    }

    fn build(&self, config: &Value, _registry: &PolicyRegistry) -> Result<Box<dyn Policy>, ConfigError> {
        (self.build)(config)
    }
}

/// A preset of the policy `score`.
#[derive(Debug)]
struct PresetBuilder(Preset);

impl PolicyBuilder for PresetBuilder {
    fn name(&self) -> &str {
        self.0.name()
    }

    fn build(&self, config: &Value, _registry: &PolicyRegistry) -> Result<Box<dyn Policy>, ConfigError> {
        Ok(Box::new(Scored::preset_from_config(self.0, config)?))
    }
}

type BuildComposite = fn(&Value, &PolicyRegistry) -> Result<Box<dyn Policy>, ConfigError>;

/// A policy that comes with the crate and contains others.
#[derive(Debug)]
struct Composite {
    name: &'static str,
    build: BuildComposite,
}

impl Composite {
    fn arc(name: &'static str, build: BuildComposite) -> Arc<dyn PolicyBuilder> {
        Arc::new(Self { name, build })
    }
}

impl PolicyBuilder for Composite {
    fn name(&self) -> &str {
        self.name
    }

    fn build(&self, config: &Value, registry: &PolicyRegistry) -> Result<Box<dyn Policy>, ConfigError> {
        (self.build)(config, registry)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn chosen(list: Value) -> Result<String, ConfigError> {
        PolicyRegistry::default().from_list(&list).map(|(name, _)| name.to_string())
    }

    #[test]
    fn every_built_in_policy_builds_without_fields_but_those_with_others_within() {
        let registry = PolicyRegistry::default();
        let names: Vec<&str> = registry.names().collect();
        for known in [RoundRobin::NAME, LeastRequest::NAME, "least_request", RingHash::NAME, "ring_hash"] {
            assert!(names.contains(&known), "{known} of {names:?}");
        }
        const WITH_OTHERS: [&str; 6] = [
            OutlierDetection::NAME,
            RandomSubsetting::NAME,
            "random_subsetting",
            WrrLocality::NAME,
            "wrr_locality",
            PrioritySpillover::NAME,
        ];
        for name in names {
            let builds = !WITH_OTHERS.contains(&name);
            assert_eq!(registry.build(name, &json!({})).is_ok(), builds, "{name}");
            assert_eq!(registry.build(name, &Value::Null).is_ok(), builds, "{name}");
            assert!(registry.build(name, &json!([])).is_err(), "{name}");
        }
    }

    #[test]
    fn the_first_known_one_is_chosen() {
        assert_eq!(chosen(json!([{"unknown": {}}, {"round_robin": {}}, {"pick_first": {}}])).unwrap(), "round_robin");
        assert_eq!(chosen(json!([{"least_request": {"choiceCount": 3, "new": true}}, "anything"])).unwrap(), "least_request");
    }

    #[test]
    fn lists_that_are_refused() {
        for (list, field) in [
            (json!([{"unknown": {}}, {"other": {}}]), "loadBalancingConfig"),
            (json!([]), "loadBalancingConfig"),
            (json!({"round_robin": {}}), "loadBalancingConfig"),
            (json!("round_robin"), "loadBalancingConfig"),
            (json!([{"round_robin": {}, "pick_first": {}}]), "loadBalancingConfig[0]"),
            (json!([{}, {"round_robin": {}}]), "loadBalancingConfig[0]"),
            (json!([{"round_robin": "string"}]), "loadBalancingConfig[0]"),
            (json!([{"unknown": null}, {"round_robin": {}}]), "loadBalancingConfig[0]"),
            (json!([{"unknown": {}}, 5]), "loadBalancingConfig[1]"),
            (json!([{"least_request": {"choiceCount": 1}}, {"round_robin": {}}]), "least_request_experimental.choiceCount"),
            (json!([{"pick_first": {"shuffleAddressList": 1}}, {"round_robin": {}}]), "pick_first.shuffleAddressList"),
        ] {
            assert_eq!(chosen(list.clone()).unwrap_err().field, field, "{list}");
        }
    }

    #[test]
    fn an_unknown_name_is_told_what_is_known() {
        let error = PolicyRegistry::default().build("round_robbin", &json!({})).unwrap_err().to_string();
        assert!(error.starts_with("policy is \"round_robbin\", allowed is one of ") && error.contains(" round_robin,"), "{error}");
    }

    #[test]
    fn a_registered_policy_replaces_one_of_its_name() {
        let refusing = BuiltIn::arc("random", |_| Err(ConfigError::new("random", "anything", "nothing")));
        let registry = PolicyRegistry::default().with(refusing);
        assert_eq!(registry.build("random", &json!({})).unwrap_err().field, "random");
        assert!(PolicyRegistry::empty().from_list(&json!([{"random": {}}])).is_err());
    }
}
