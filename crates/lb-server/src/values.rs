//! What may be recorded.

use std::collections::BTreeMap;
use std::sync::Arc;

use lb_core::ConfigError;
use lb_orca::{MAX_ENTRIES, MAX_NAME};

/// A utilisation that may be above 1 while there is more work than resources.
pub(crate) fn load(field: &str, value: f64) -> Result<f64, ConfigError> {
    match value.is_finite() && value >= 0.0 {
        true => Ok(value),
        false => Err(ConfigError::new(field, value, "a finite number from 0")),
    }
}

/// A utilisation of something that cannot be more than full.
pub(crate) fn share(field: &str, value: f64) -> Result<f64, ConfigError> {
    match value {
        0.0..=1.0 => Ok(value),
        _ => Err(ConfigError::new(field, value, "a number from 0 to 1")),
    }
}

/// A metric that means something to whoever named it.
pub(crate) fn metric(field: &str, value: f64) -> Result<f64, ConfigError> {
    match value.is_finite() {
        true => Ok(value),
        false => Err(ConfigError::new(field, value, "a finite number")),
    }
}

/// Puts an entry into a map whose readers keep it.
pub(crate) fn put(map: &mut BTreeMap<Arc<str>, f64>, field: &str, name: &str, value: f64) -> Result<(), ConfigError> {
    if name.is_empty() || name.len() > MAX_NAME {
        return Err(ConfigError::new(field, format!("{} bytes", name.len()), format!("a name of 1 to {MAX_NAME} bytes")));
    }
    if let Some(known) = map.get_mut(name) {
        *known = value;
    } else if map.len() < MAX_ENTRIES {
        map.insert(name.into(), value);
    } else {
        return Err(ConfigError::new(field, format!("{name:?} as another name"), format!("{MAX_ENTRIES} names")));
    }
    Ok(())
}
