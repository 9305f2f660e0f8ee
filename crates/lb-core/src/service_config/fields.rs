//! Reading the fields of a service config: absent and `null` are the same, a wrong type is an error that names the path.

use std::time::Duration;

use serde_json::Value;

use crate::policies::config;
use crate::policy::ConfigError;

/// The path of a field within an object at `path`; the path of the whole config is empty.
pub(super) fn path(path: &str, field: &str) -> String {
    if path.is_empty() { field.to_owned() } else { format!("{path}.{field}") }
}

fn present<'a>(within: &'a Value, field: &str) -> Option<&'a Value> {
    within.get(field).filter(|value| !value.is_null())
}

fn wrong(at: &str, field: &str, value: &Value, allowed: &str) -> ConfigError {
    ConfigError::new(path(at, field), value, allowed)
}

pub(super) fn object<'a>(at: &str, within: &'a Value, field: &str) -> Result<Option<&'a Value>, ConfigError> {
    match present(within, field) {
        Some(value) if !value.is_object() => Err(wrong(at, field, value, "an object")),
        value => Ok(value),
    }
}

/// Absent is empty.
pub(super) fn objects<'a>(at: &str, within: &'a Value, field: &str) -> Result<&'a [Value], ConfigError> {
    let Some(value) = present(within, field) else { return Ok(&[]) };
    let list = value.as_array().ok_or_else(|| wrong(at, field, value, "a list of objects"))?;
    match list.iter().position(|element| !element.is_object()) {
        Some(at_fault) => Err(wrong(at, &format!("{field}[{at_fault}]"), &list[at_fault], "an object")),
        None => Ok(list),
    }
}

pub(super) fn text<'a>(at: &str, within: &'a Value, field: &str) -> Result<Option<&'a str>, ConfigError> {
    present(within, field).map(|value| value.as_str().ok_or_else(|| wrong(at, field, value, "a text"))).transpose()
}

pub(super) fn flag(at: &str, within: &Value, field: &str) -> Result<Option<bool>, ConfigError> {
    present(within, field).map(|value| value.as_bool().ok_or_else(|| wrong(at, field, value, "true or false"))).transpose()
}

/// A field that another room of the house reads; `read` names it in its errors.
pub(super) fn read<T>(
    at: &str,
    within: &Value,
    field: &str,
    read: impl FnOnce(&Value) -> Result<T, ConfigError>,
) -> Result<Option<T>, ConfigError> {
    present(within, field).map(read).transpose().map_err(|mut error| {
        error.field = path(at, &error.field);
        error
    })
}

/// A size or a number of 32 bits. One in quotes, which proto3's JSON would allow, is refused as grpc-go refuses it.
pub(super) fn whole(at: &str, within: &Value, field: &str) -> Result<Option<u32>, ConfigError> {
    let whole = |value: &Value| value.as_u64().and_then(|whole| u32::try_from(whole).ok());
    let allowed = "a whole number from 0 to 4294967295";
    present(within, field).map(|value| whole(value).ok_or_else(|| wrong(at, field, value, allowed))).transpose()
}

/// A duration from 0.
pub(super) fn duration(at: &str, within: &Value, field: &str) -> Result<Option<Duration>, ConfigError> {
    let Some(value) = present(within, field) else { return Ok(None) };
    let negative = value.as_str().is_some_and(|text| text.starts_with('-'));
    match config::duration(at, within, field, Duration::ZERO) {
        Ok(duration) if !negative => Ok(Some(duration)),
        _ => Err(wrong(at, field, value, "seconds from 0 with up to 9 decimals and an s, such as \"0.5s\"")),
    }
}
