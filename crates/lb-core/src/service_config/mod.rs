//! The service config: what the owner of a service tells its clients, in gRPC's JSON.
//!
//! ```
//! use lb_core::PolicyRegistry;
//! use lb_core::service_config::ServiceConfig;
//!
//! let text = r#"{
//!     "loadBalancingConfig": [{ "least_request": { "choiceCount": 3 } }, { "round_robin": {} }],
//!     "methodConfig": [
//!         { "name": [{ "service": "orders.v1.Orders", "method": "Place" }], "timeout": "2s", "waitForReady": true },
//!         { "name": [{ "service": "orders.v1.Orders" }], "timeout": "1s" },
//!         { "name": [{}], "maxResponseMessageBytes": 1048576 }
//!     ]
//! }"#;
//! let config = ServiceConfig::parse(text, &PolicyRegistry::default())?;
//! let place = config.methods.find("/orders.v1.Orders/Place").expect("it is named");
//! assert_eq!((place.timeout.map(|timeout| timeout.as_secs()), place.wait_for_ready), (Some(2), Some(true)));
//! // One entry counts, whole: nothing is merged.
//! assert_eq!(place.max_response_message, None);
//! # Ok::<(), lb_core::ConfigError>(())
//! ```
//!
//! **All or nothing.** A config is read whole: every field it knows must be right, or the config is refused with the path of the first field
//! that is not. Fields it does not know are ignored at every level, so that the owner of a service can use what newer clients know. An
//! empty object is a config. What is refused never replaces what was accepted: that is the channel's part (gRFC A21).
//!
//! **Which method config counts.** The one that names the method; else the one that names its service; else the one whose name is
//! empty; else none. A name that stands anywhere twice makes two answers to one question, and the config is refused.
//!
//! **Ours.** `loadBalancingConfig` within a `methodConfig` gives its methods a policy of their own, by the same rule as the list of that
//! name at the top. The object `evenkeel` at the top has [limits](ConfigLimits). Other clients ignore both.
//!
//! **Bound.** Finding a method's config is one hash of its path, and a second one of its service if only that is named, whatever the size of the
//! config. [`MAX_METHOD_POLICIES`] different policies of methods are allowed, because each of them is asked at every change of the endpoints.
//!
//! Sources: gRPC's service_config.proto; gRFC A2, A6, A21, A24, and the order of precedence of its naming and service config documents.

mod fields;
mod limits;
mod method;
mod name;
mod policy;
mod table;
#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::Arc;

use serde::Serialize;
use serde_json::Value;

use crate::policy::ConfigError;
use crate::registry::PolicyRegistry;
use crate::retry::Throttling;

pub use limits::ConfigLimits;
pub use method::MethodConfig;
pub use policy::PolicyConfig;
pub use table::{MAX_METHOD_POLICIES, MethodTable};

/// A service config that has been read and found right. See the module's essay.
#[derive(Debug, Clone, Default, PartialEq)]
#[non_exhaustive]
pub struct ServiceConfig {
    /// Which policy picks: from `loadBalancingConfig`, or from the deprecated `loadBalancingPolicy`. `None` leaves it to the channel.
    pub policy: Option<PolicyConfig>,
    /// What holds for single methods, from `methodConfig`.
    pub methods: Arc<MethodTable>,
    /// How retries are held back while many attempts fail, from `retryThrottling`.
    pub throttling: Option<Throttling>,
    /// Which service's health is watched, from `healthCheckConfig.serviceName`: `None` if the config does not say, empty for the server
    /// as a whole.
    pub health_service: Option<Arc<str>>,
    /// Limits on calls, from `evenkeel`; ours.
    pub limits: ConfigLimits,
}

/// Where the service config in use comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ConfigSource {
    /// Nobody gave one, or the channel's default one.
    Default,
    /// The resolver.
    Resolver,
    /// The program, while the channel runs.
    Program,
}

impl fmt::Display for ConfigSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Default => "the channel's default",
            Self::Resolver => "the resolver's",
            Self::Program => "the program's",
        })
    }
}

impl ServiceConfig {
    /// Reads a config. Policies are looked for in `registry`, and built once to see whether they can be.
    ///
    /// # Errors
    /// The first field that is wrong, with its path: `methodConfig[1].timeout`.
    pub fn from_json(config: &Value, registry: &PolicyRegistry) -> Result<Self, ConfigError> {
        if !config.is_object() {
            return Err(ConfigError::new("service config", config, "an object"));
        }
        Ok(Self {
            policy: policy::of_channel(config, registry)?,
            methods: Arc::new(MethodTable::from_json(config, registry)?),
            throttling: fields::read("", config, "retryThrottling", Throttling::from_json)?,
            health_service: health_service(config)?,
            limits: ConfigLimits::from_json(config)?,
        })
    }

    /// Reads a config from its text.
    ///
    /// # Errors
    /// The text is not JSON, or as for [`from_json`](Self::from_json).
    pub fn parse(text: &str, registry: &PolicyRegistry) -> Result<Self, ConfigError> {
        let config = serde_json::from_str(text)
            .map_err(|error| ConfigError::new("service config", format_args!("not JSON ({error})"), "a JSON object"))?;
        Self::from_json(&config, registry)
    }
}

/// `healthCheckConfig.serviceName`; unset is not the same as empty (gRFC A17).
fn health_service(config: &Value) -> Result<Option<Arc<str>>, ConfigError> {
    const FIELD: &str = "healthCheckConfig";
    match fields::object("", config, FIELD)? {
        Some(health) => Ok(fields::text(FIELD, health, "serviceName")?.map(Arc::from)),
        None => Ok(None),
    }
}
