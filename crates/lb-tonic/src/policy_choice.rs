//! The ways to say which policy a channel shall use.

use std::sync::Arc;

use lb_core::machine::NamedPolicy;
use lb_core::policies::{LeastRequest, PickFirst, Random, RoundRobin, WeightedRoundRobin};
use lb_core::service_config::PolicyConfig;
use lb_core::{ConfigError, Policy, PolicyRegistry};
use serde_json::{Value, json};

/// A policy: by name, by name and configuration, as a value, or as the list of a service config.
///
/// ```
/// # use lb_tonic::PolicyChoice;
/// # use serde_json::json;
/// let _: PolicyChoice = "round_robin".into();
/// let _: PolicyChoice = ("least_request", json!({ "choiceCount": 3 })).into();
/// let _: PolicyChoice = lb_core::policies::RoundRobin::default().into();
/// ```
#[derive(Debug)]
pub struct PolicyChoice(Kind);

#[derive(Debug)]
enum Kind {
    Named(String, Value),
    Built(NamedPolicy),
    List(Value),
}

impl PolicyChoice {
    /// A policy of your own, under a name of your own.
    pub fn custom(name: impl Into<Arc<str>>, policy: impl Policy) -> Self {
        Self(Kind::Built(NamedPolicy::new(name, Box::new(policy))))
    }

    /// The `loadBalancingConfig` list of a service config: the first policy the registry knows (gRFC A24).
    pub fn from_service_config(list: Value) -> Self {
        Self(Kind::List(list))
    }

    pub(crate) fn built(policy: NamedPolicy) -> Self {
        Self(Kind::Built(policy))
    }

    /// What is needed to build it again; `None` for a policy given as a value, of which there is only one.
    pub(crate) fn config(&self, registry: &PolicyRegistry) -> Result<Option<PolicyConfig>, ConfigError> {
        match &self.0 {
            Kind::Named(name, config) => PolicyConfig::try_new(name, config.clone(), registry).map(Some),
            Kind::List(list) => PolicyConfig::from_list(list, registry).map(Some),
            Kind::Built(_) => Ok(None),
        }
    }

    pub(crate) fn build(self, registry: &PolicyRegistry) -> Result<NamedPolicy, ConfigError> {
        match self.0 {
            Kind::Named(name, config) => registry.build(&name, &config).map(|policy| NamedPolicy::new(name, policy)),
            Kind::Built(policy) => Ok(policy),
            Kind::List(list) => registry.from_list(&list).map(|(name, policy)| NamedPolicy::new(name, policy)),
        }
    }
}

impl From<&str> for PolicyChoice {
    fn from(name: &str) -> Self {
        (name, json!({})).into()
    }
}

impl From<String> for PolicyChoice {
    fn from(name: String) -> Self {
        name.as_str().into()
    }
}

impl From<(&str, Value)> for PolicyChoice {
    fn from((name, config): (&str, Value)) -> Self {
        Self(Kind::Named(name.to_owned(), config))
    }
}

macro_rules! from_built_in {
    ($($policy:ty),*) => {$(
        impl From<$policy> for PolicyChoice {
            fn from(policy: $policy) -> Self {
                Self::custom(<$policy>::NAME, policy)
            }
        }
    )*};
}

from_built_in!(LeastRequest, PickFirst, Random, RoundRobin, WeightedRoundRobin);
