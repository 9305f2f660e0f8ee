//! Reading fields of a policy's JSON configuration: absent and `null` mean the default, a wrong type is an error.

use serde_json::Value;

use crate::policy::ConfigError;

pub(super) fn flag(policy: &str, config: &Value, field: &str) -> Result<bool, ConfigError> {
    match config.get(field) {
        None | Some(Value::Null) => Ok(false),
        Some(Value::Bool(flag)) => Ok(*flag),
        Some(other) => Err(ConfigError::new(format!("{policy}.{field}"), other, "true or false")),
    }
}

pub(super) fn unsigned(policy: &str, config: &Value, field: &str, default: u32) -> Result<u32, ConfigError> {
    let error = |value: &Value| ConfigError::new(format!("{policy}.{field}"), value, "a whole number from 0 to 4294967295");
    match config.get(field) {
        None | Some(Value::Null) => Ok(default),
        Some(value) => value.as_u64().and_then(|number| number.try_into().ok()).ok_or_else(|| error(value)),
    }
}
