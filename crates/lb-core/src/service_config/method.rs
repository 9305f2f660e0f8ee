//! What a service config says of some methods.

use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

use super::fields;
use super::policy::{self, PolicyConfig};
use crate::hints::PickHints;
use crate::policy::ConfigError;
use crate::registry::PolicyRegistry;
use crate::retry::{HedgingPolicy, RetryPolicy};

/// One `methodConfig`. Nothing in it is merged with that of another.
#[derive(Debug, Clone, Default, PartialEq)]
#[non_exhaustive]
pub struct MethodConfig {
    /// How long a call may take from its start; the call's own deadline counts where it is earlier.
    pub timeout: Option<Duration>,
    /// Whether calls that do not say themselves wait while no endpoint can take them.
    pub wait_for_ready: Option<bool>,
    /// The largest request message in bytes, as it is sent; 0 allows empty ones. A smaller limit of the channel counts instead.
    pub max_request_message: Option<u32>,
    /// The largest response message in bytes; likewise.
    pub max_response_message: Option<u32>,
    /// Which failed attempts are followed by another. Not beside hedging.
    pub retry: Option<RetryPolicy>,
    /// How several attempts are made at once. Not beside retries.
    pub hedging: Option<HedgingPolicy>,
    /// The policy of these methods, if they have one of their own; the call's own wish wins.
    pub policy: Option<PolicyConfig>,
    /// What a call without wishes wishes: the policy by its [full name](PolicyConfig::full_name).
    hints: Option<Box<PickHints>>,
}

impl MethodConfig {
    /// Reads the object at `at`; its names are read elsewhere.
    pub(super) fn from_json(at: &str, method: &Value, registry: &PolicyRegistry) -> Result<Self, ConfigError> {
        let policy = policy::of_list(at, method, registry)?;
        let retry = fields::read(at, method, "retryPolicy", RetryPolicy::from_json)?;
        let hedging = fields::read(at, method, "hedgingPolicy", HedgingPolicy::from_json)?;
        if retry.is_some() && hedging.is_some() {
            return Err(ConfigError::new(fields::path(at, "hedgingPolicy"), "an object", "nothing beside a retryPolicy"));
        }
        let hints = policy.as_ref().map(|policy| Box::new(PickHints::new().policy(policy.full_name())));
        Ok(Self {
            timeout: fields::duration(at, method, "timeout")?,
            wait_for_ready: fields::flag(at, method, "waitForReady")?,
            max_request_message: fields::whole(at, method, "maxRequestMessageBytes")?,
            max_response_message: fields::whole(at, method, "maxResponseMessageBytes")?,
            retry,
            hedging,
            policy,
            hints,
        })
    }

    /// The wishes of a call that has none of its own; `None` if the methods have no policy of their own.
    #[inline]
    pub fn hints(&self) -> Option<&PickHints> {
        self.hints.as_deref()
    }

    /// The [full name](PolicyConfig::full_name) of these methods' own policy.
    #[inline]
    pub fn policy_name(&self) -> Option<&Arc<str>> {
        self.hints.as_ref()?.policy.as_ref()
    }
}
