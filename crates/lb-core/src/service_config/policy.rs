//! Which policy a service config asks for.

use std::sync::Arc;

use serde_json::Value;

use super::fields;
use crate::machine::NamedPolicy;
use crate::policy::ConfigError;
use crate::registry::PolicyRegistry;

const LIST: &str = "loadBalancingConfig";
const DEPRECATED: &str = "loadBalancingPolicy";

/// A policy by name, with its configuration: one that a registry knows, and that can be built.
#[derive(Debug, Clone, PartialEq)]
pub struct PolicyConfig {
    name: Arc<str>,
    config: Value,
}

impl PolicyConfig {
    /// From a `loadBalancingConfig` list: the first policy the registry knows (gRFC A24).
    ///
    /// # Errors
    /// As for [`PolicyRegistry::from_list`].
    pub fn from_list(list: &Value, registry: &PolicyRegistry) -> Result<Self, ConfigError> {
        let (name, config) = registry.first_known(list)?;
        Self::checked(name, config.clone(), registry)
    }

    /// A policy with its configuration.
    ///
    /// # Errors
    /// As for [`PolicyRegistry::build`].
    pub fn try_new(name: &str, config: Value, registry: &PolicyRegistry) -> Result<Self, ConfigError> {
        Self::checked(name, config, registry)
    }

    fn checked(name: &str, config: Value, registry: &PolicyRegistry) -> Result<Self, ConfigError> {
        registry.build(name, &config)?;
        Ok(Self { name: name.into(), config })
    }

    /// Its name, such as `round_robin`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its configuration, an object.
    pub fn config(&self) -> &Value {
        &self.config
    }

    /// A name of its own among all policies with all configurations; says what it is.
    pub fn full_name(&self) -> Arc<str> {
        format!("{} {}", self.name, self.config).into()
    }

    /// The policy itself.
    ///
    /// # Errors
    /// As for [`PolicyRegistry::build`], if `registry` is another one than it was found in.
    pub fn build(&self, registry: &PolicyRegistry) -> Result<NamedPolicy, ConfigError> {
        Ok(NamedPolicy::new(Arc::clone(&self.name), registry.build(&self.name, &self.config)?))
    }
}

/// The channel's policy. The deprecated field counts only without the list.
pub(super) fn of_channel(config: &Value, registry: &PolicyRegistry) -> Result<Option<PolicyConfig>, ConfigError> {
    let deprecated = fields::text("", config, DEPRECATED)?;
    if let Some(policy) = of_list("", config, registry)? {
        return Ok(Some(policy));
    }
    // As an enum of proto3 it was written in capitals.
    let Some(name) = deprecated.filter(|name| !name.is_empty()).map(str::to_ascii_lowercase) else { return Ok(None) };
    let named = PolicyConfig::checked(&name, Value::Object(serde_json::Map::new()), registry);
    named.map(Some).map_err(|mut error| {
        error.field = DEPRECATED.to_owned();
        error
    })
}

/// The policy of the list in an object at this path, if it has one.
pub(super) fn of_list(at: &str, within: &Value, registry: &PolicyRegistry) -> Result<Option<PolicyConfig>, ConfigError> {
    let Some(list) = within.get(LIST).filter(|list| !list.is_null()) else { return Ok(None) };
    PolicyConfig::from_list(list, registry).map(Some).map_err(|mut error| {
        let within = if error.field.starts_with(LIST) { error.field } else { format!("{LIST}.{}", error.field) };
        error.field = fields::path(at, &within);
        error
    })
}
