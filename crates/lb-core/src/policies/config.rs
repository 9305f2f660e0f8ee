//! Reading fields of a policy's JSON configuration: absent and `null` mean the default, a wrong type is an error.

use std::time::Duration;

use serde_json::Value;

use crate::policy::ConfigError;

pub(crate) fn flag(policy: &str, config: &Value, field: &str) -> Result<bool, ConfigError> {
    match config.get(field) {
        None | Some(Value::Null) => Ok(false),
        Some(Value::Bool(flag)) => Ok(*flag),
        Some(other) => Err(ConfigError::new(format!("{policy}.{field}"), other, "true or false")),
    }
}

pub(crate) fn unsigned(policy: &str, config: &Value, field: &str, default: u32) -> Result<u32, ConfigError> {
    let error = |value: &Value| ConfigError::new(format!("{policy}.{field}"), value, "a whole number from 0 to 4294967295");
    match config.get(field) {
        None | Some(Value::Null) => Ok(default),
        Some(value) => value.as_u64().and_then(|number| number.try_into().ok()).ok_or_else(|| error(value)),
    }
}

/// Whether `selectionMethod`, as Envoy's least_request has it, asks for all endpoints to be compared. By name or number, as proto3 JSON has
/// enums.
pub(crate) fn full_scan(policy: &str, config: &Value) -> Result<bool, ConfigError> {
    const FIELD: &str = "selectionMethod";
    match config.get(FIELD) {
        None | Some(Value::Null) => Ok(false),
        Some(value) if value == "N_CHOICES" || value == 0 => Ok(false),
        Some(value) if value == "FULL_SCAN" || value == 1 => Ok(true),
        Some(other) => Err(ConfigError::new(format!("{policy}.{FIELD}"), other, "\"N_CHOICES\" or \"FULL_SCAN\"")),
    }
}

/// A duration in proto3 JSON: seconds with up to nine decimals and an `s`, at most 10 000 years either way. Below 0 is 0.
pub(crate) fn duration(policy: &str, config: &Value, field: &str, default: Duration) -> Result<Duration, ConfigError> {
    let error = |value: &Value| {
        ConfigError::new(format!("{policy}.{field}"), value, "seconds with up to 9 decimals and an s, such as \"0.5s\"")
    };
    match config.get(field) {
        None | Some(Value::Null) => Ok(default),
        Some(value) => value.as_str().and_then(parse_duration).ok_or_else(|| error(value)),
    }
}

fn parse_duration(text: &str) -> Option<Duration> {
    const MOST_SECONDS: u64 = 315_576_000_000;
    let digits = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
    let number = text.strip_suffix('s')?;
    let size = number.strip_prefix('-').unwrap_or(number);
    let (whole, decimals) = size.split_once('.').unwrap_or((size, "0"));
    if !digits(whole) || !digits(decimals) || decimals.len() > 9 {
        return None;
    }
    let seconds = whole.parse().ok().filter(|seconds: &u64| *seconds <= MOST_SECONDS)?;
    let nanos = format!("{decimals:0<9}").parse().ok()?;
    Some(if number.starts_with('-') { Duration::ZERO } else { Duration::new(seconds, nanos) })
}

/// A number that may not be negative.
pub(crate) fn not_negative(policy: &str, config: &Value, field: &str, default: f64) -> Result<f64, ConfigError> {
    match config.get(field) {
        None | Some(Value::Null) => Ok(default),
        Some(value) => value
            .as_f64()
            .filter(|number| *number >= 0.0)
            .ok_or_else(|| ConfigError::new(format!("{policy}.{field}"), value, "a number from 0")),
    }
}

/// A list of texts; absent is empty.
pub(crate) fn texts<'a>(policy: &str, config: &'a Value, field: &str) -> Result<Vec<&'a str>, ConfigError> {
    let error = |value: &Value| ConfigError::new(format!("{policy}.{field}"), value, "a list of texts");
    match config.get(field) {
        None | Some(Value::Null) => Ok(Vec::new()),
        Some(value) => {
            let list = value.as_array().ok_or_else(|| error(value))?;
            list.iter().map(|text| text.as_str().ok_or_else(|| error(value))).collect()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        for (good, millis) in [
            ("10s", 10_000),
            ("0.1s", 100),
            ("0s", 0),
            ("-1.5s", 0),
            ("1.123456789s", 1_123),
            ("007s", 7_000),
            ("315576000000s", 315_576_000_000_000),
        ] {
            assert_eq!(parse_duration(good).map(|duration| duration.as_millis()), Some(millis), "{good}");
        }
        for bad in [
            "",
            "s",
            "10",
            "1.s",
            ".5s",
            "-s",
            "1.1234567890s",
            "315576000001s",
            "--1s",
            "+1s",
            "1e3s",
            "1 s",
            "1m",
            "99999999999999999999s",
        ] {
            assert_eq!(parse_duration(bad), None, "{bad}");
        }
    }
}
