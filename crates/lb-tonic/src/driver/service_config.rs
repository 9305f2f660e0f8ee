//! The part of a resolver's service config that is followed: which policy picks.
//!
//! A service config that cannot be used never replaces one that can, and the endpoints that came with it still count (gRFC A21).
//! One that is absent changes nothing. The same config again changes nothing either, so that a policy keeps its state.

use std::sync::Arc;

use lb_core::machine::NamedPolicy;
use lb_core::{PolicyRegistry, ServiceConfigUpdate};
use serde_json::Value;

/// The field that lists policies (gRFC A24).
const FIELD: &str = "loadBalancingConfig";

/// Turns service configs into policies.
#[derive(Debug)]
pub(crate) struct ServiceConfigs {
    registry: PolicyRegistry,
    last: Option<Value>,
}

impl ServiceConfigs {
    pub(crate) fn new(registry: PolicyRegistry) -> Self {
        Self { registry, last: None }
    }

    /// The policy to switch to, if the config brings another one. `Err` says for people why it is refused.
    pub(crate) fn apply(&mut self, update: &ServiceConfigUpdate) -> Result<Option<NamedPolicy>, Arc<str>> {
        let config = match update {
            ServiceConfigUpdate::Json(config) => config,
            ServiceConfigUpdate::Broken(reason) => return Err(Arc::clone(reason)),
            _ => return Ok(None),
        };
        let fields = config.as_object().ok_or_else(|| Arc::from("the service config is no JSON object"))?;
        let Some(list) = fields.get(FIELD).filter(|list| self.last.as_ref() != Some(list)) else { return Ok(None) };
        let (name, policy) = self.registry.from_list(list).map_err(|error| Arc::from(error.to_string()))?;
        self.last = Some(list.clone());
        Ok(Some(NamedPolicy::new(name, policy)))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn applied(configs: &mut ServiceConfigs, config: Value) -> Result<Option<String>, String> {
        let result = configs.apply(&ServiceConfigUpdate::Json(config));
        result.map(|policy| policy.map(|policy| policy.name.to_string())).map_err(|error| error.to_string())
    }

    #[test]
    fn the_first_known_policy_is_taken_once_and_a_bad_config_changes_nothing() {
        let mut configs = ServiceConfigs::new(PolicyRegistry::default());
        let good = json!({ "loadBalancingConfig": [{ "no_such": {} }, { "random": {} }], "unknown": 1 });
        assert_eq!(applied(&mut configs, good.clone()), Ok(Some("random".into())));
        assert_eq!(applied(&mut configs, good), Ok(None));
        for bad in [
            json!([]),
            json!({ "loadBalancingConfig": [] }),
            json!({ "loadBalancingConfig": [{ "least_request": { "choiceCount": 1 } }] }),
        ] {
            assert!(applied(&mut configs, bad.clone()).is_err(), "{bad}");
        }
        assert_eq!(applied(&mut configs, json!({})), Ok(None));
        assert_eq!(configs.apply(&ServiceConfigUpdate::Absent).map(|policy| policy.is_none()), Ok(true));
        assert_eq!(
            applied(&mut configs, json!({ "loadBalancingConfig": [{ "round_robin": {} }] })),
            Ok(Some("round_robin".into()))
        );
    }
}
