//! What bounds a queue.

use std::time::Duration;

use serde_json::Value;

use crate::policies::config;
use crate::policy::ConfigError;

const NAME: &str = "queue";

/// How many calls may wait for a place, and how long.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct QueueConfig {
    /// The most calls that may wait at once; default 1024, as that many may wait at an Envoy cluster. With 0 nobody waits.
    pub max_pending: usize,
    /// The longest a call waits for its turn before it fails, its deadline aside; default 1 s. It bounds how late an admitted call can be.
    pub max_wait: Duration,
    /// Every so many places the call that has waited longest gets one, whatever its priority, and one in so many places of the queue is
    /// open to whoever comes, and is not taken from them by who matters more; default 8. With 0 never: then the lowest priority gets what
    /// the others leave.
    pub oldest_every: u32,
}

impl Default for QueueConfig {
    fn default() -> Self {
        Self { max_pending: 1024, max_wait: Duration::from_secs(1), oldest_every: 8 }
    }
}

impl QueueConfig {
    /// At most so many calls wait, up to 1 s, and every eighth place is the oldest one's.
    pub fn new(max_pending: usize) -> Self {
        Self { max_pending, ..Self::default() }
    }

    /// The longest a call waits.
    #[must_use]
    pub fn max_wait(mut self, wait: Duration) -> Self {
        self.max_wait = wait;
        self
    }

    /// Every so many places are the oldest one's; 0 is never.
    #[must_use]
    pub fn oldest_every(mut self, places: u32) -> Self {
        self.oldest_every = places;
        self
    }

    /// How many places in the queue go to whoever comes and are nobody else's to claim.
    pub(super) fn open_places(&self) -> usize {
        self.max_pending.checked_div(self.oldest_every as usize).unwrap_or(0)
    }

    /// From an object with `maxPending`, `maxWait` (a duration in proto3 JSON, such as `"0.5s"`) and `oldestEvery`; absent fields have their
    /// defaults and unknown ones are ignored.
    ///
    /// # Errors
    /// A wrong type, or a malformed or negative duration.
    pub fn from_json(value: &Value) -> Result<Self, ConfigError> {
        let default = Self::default();
        let wait = value.get("maxWait");
        if let Some(negative) = wait.filter(|wait| wait.as_str().is_some_and(|text| text.starts_with('-'))) {
            return Err(ConfigError::new("queue.maxWait", negative, "a duration from 0"));
        }
        let pending = config::unsigned(NAME, value, "maxPending", 1024)?;
        Ok(Self {
            max_pending: pending as usize,
            max_wait: config::duration(NAME, value, "maxWait", default.max_wait)?,
            oldest_every: config::unsigned(NAME, value, "oldestEvery", default.oldest_every)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn json_and_its_errors() {
        assert_eq!(QueueConfig::from_json(&json!({})), Ok(QueueConfig::default()));
        let full = json!({"maxPending": 10, "maxWait": "0.25s", "oldestEvery": 0, "other": 1});
        let expected = QueueConfig::new(10).max_wait(Duration::from_millis(250)).oldest_every(0);
        assert_eq!(QueueConfig::from_json(&full), Ok(expected));
        for (bad, field) in [
            (json!({"maxPending": -1}), "queue.maxPending"),
            (json!({"maxPending": "many"}), "queue.maxPending"),
            (json!({"maxWait": "-1s"}), "queue.maxWait"),
            (json!({"maxWait": 1}), "queue.maxWait"),
            (json!({"oldestEvery": 0.5}), "queue.oldestEvery"),
        ] {
            assert_eq!(QueueConfig::from_json(&bad).unwrap_err().field, field, "{bad}");
        }
    }
}
