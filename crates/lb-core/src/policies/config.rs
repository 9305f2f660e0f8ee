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

/// Whether `selectionMethod`, as Envoy's least_request has it, asks for all endpoints to be compared. By name or number, as proto3 JSON has
/// enums.
pub(super) fn full_scan(policy: &str, config: &Value) -> Result<bool, ConfigError> {
    const FIELD: &str = "selectionMethod";
    match config.get(FIELD) {
        None | Some(Value::Null) => Ok(false),
        Some(value) if value == "N_CHOICES" || value == 0 => Ok(false),
        Some(value) if value == "FULL_SCAN" || value == 1 => Ok(true),
        Some(other) => Err(ConfigError::new(format!("{policy}.{FIELD}"), other, "\"N_CHOICES\" or \"FULL_SCAN\"")),
    }
}

/// Checks a duration in proto3 JSON: seconds with up to nine decimals and an `s`, at most 10 000 years either way.
pub(super) fn check_duration(policy: &str, config: &Value, field: &str) -> Result<(), ConfigError> {
    match config.get(field) {
        None | Some(Value::Null) => Ok(()),
        Some(Value::String(text)) if is_duration(text) => Ok(()),
        Some(other) => {
            Err(ConfigError::new(format!("{policy}.{field}"), other, "seconds with up to 9 decimals and an s, such as \"0.5s\""))
        }
    }
}

fn is_duration(text: &str) -> bool {
    const MOST_SECONDS: u64 = 315_576_000_000;
    let digits = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
    let Some(number) = text.strip_suffix('s') else { return false };
    let number = number.strip_prefix('-').unwrap_or(number);
    let (whole, decimals) = number.split_once('.').unwrap_or((number, "0"));
    let seconds = if digits(whole) { whole.parse().ok() } else { None };
    seconds.is_some_and(|seconds: u64| seconds <= MOST_SECONDS) && digits(decimals) && decimals.len() <= 9
}

/// Checks a number that may not be negative.
pub(super) fn check_not_negative(policy: &str, config: &Value, field: &str) -> Result<(), ConfigError> {
    match config.get(field) {
        None | Some(Value::Null) => Ok(()),
        Some(value) if value.as_f64().is_some_and(|number| number >= 0.0) => Ok(()),
        Some(other) => Err(ConfigError::new(format!("{policy}.{field}"), other, "a number from 0")),
    }
}

/// Checks a list of texts.
pub(super) fn check_texts(policy: &str, config: &Value, field: &str) -> Result<(), ConfigError> {
    match config.get(field) {
        None | Some(Value::Null) => Ok(()),
        Some(Value::Array(list)) if list.iter().all(Value::is_string) => Ok(()),
        Some(other) => Err(ConfigError::new(format!("{policy}.{field}"), other, "a list of texts")),
    }
}

#[cfg(test)]
mod tests {
    use super::is_duration;

    #[test]
    fn durations() {
        for good in ["10s", "0.1s", "0s", "-1.5s", "1.123456789s", "315576000000s"] {
            assert!(is_duration(good), "{good}");
        }
        for bad in [
            "",
            "s",
            "10",
            "1.s",
            ".5s",
            "1.1234567890s",
            "315576000001s",
            "--1s",
            "+1s",
            "1e3s",
            "1 s",
            "1m",
            "99999999999999999999s",
        ] {
            assert!(!is_duration(bad), "{bad}");
        }
    }
}
