//! When replicas take over, and when they hand back.

use std::time::Duration;

use serde_json::Value;

use crate::policies::config;
use crate::policy::ConfigError;
use crate::stages::priority::checked;

const NAME: &str = "replicas";

/// How replicas stand in for endpoints that fail. It matters only where an endpoint says that it is
/// [a replica](crate::Attributes::replica_of).
///
/// ```
/// use std::time::Duration;
/// use lb_core::stages::ReplicaConfig;
///
/// let config = ReplicaConfig::default().hot_standby(false).hand_back_after(Duration::from_secs(60));
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ReplicaConfig {
    /// Whether a replica is connected before it is needed; default yes, so that taking over costs no handshake.
    pub hot_standby: bool,
    /// How long a primary may be CONNECTING before its replica takes over; default 1 s. A connection is made again within milliseconds
    /// or is refused, and a primary that fails is left at once: this is for the one that hangs.
    pub promote_after: Duration,
    /// How long a primary must have been READY without a break before it takes calls again while its replica serves; default 10 s,
    /// which outlasts a server that comes up and falls over with its first calls.
    pub hand_back_after: Duration,
}

impl Default for ReplicaConfig {
    fn default() -> Self {
        Self { hot_standby: true, promote_after: Duration::from_secs(1), hand_back_after: Duration::from_secs(10) }
    }
}

impl ReplicaConfig {
    /// Sets [`hot_standby`](Self::hot_standby).
    #[must_use]
    pub fn hot_standby(mut self, hot: bool) -> Self {
        self.hot_standby = hot;
        self
    }

    /// Sets [`promote_after`](Self::promote_after); 0 s to 30 days.
    #[must_use]
    pub fn promote_after(mut self, time: Duration) -> Self {
        self.promote_after = time;
        self
    }

    /// Sets [`hand_back_after`](Self::hand_back_after); 0 s, at once, to 30 days.
    #[must_use]
    pub fn hand_back_after(mut self, time: Duration) -> Self {
        self.hand_back_after = time;
        self
    }

    /// From JSON: `hotStandby` as true or false, `promoteAfter` and `handBackAfter` as durations (`"10s"`). Absent means the default;
    /// unknown fields are ignored.
    ///
    /// # Errors
    /// A wrong type, or a time above 30 days.
    pub fn from_json(json: &Value) -> Result<Self, ConfigError> {
        let default = Self::default();
        let hot = json.get("hotStandby").is_none_or(Value::is_null) || config::flag(NAME, json, "hotStandby")?;
        let read = Self {
            hot_standby: hot,
            promote_after: config::duration(NAME, json, "promoteAfter", default.promote_after)?,
            hand_back_after: config::duration(NAME, json, "handBackAfter", default.hand_back_after)?,
        };
        read.check().map(|()| read)
    }

    /// Whether every time can be counted.
    ///
    /// # Errors
    /// Names the first that is above 30 days.
    pub fn check(&self) -> Result<(), ConfigError> {
        checked(&format!("{NAME}.promoteAfter"), self.promote_after)?;
        checked(&format!("{NAME}.handBackAfter"), self.hand_back_after)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn config_table() {
        let read = |json| ReplicaConfig::from_json(&json);
        assert_eq!(read(json!({"hotStandby": null, "x": 1})), Ok(ReplicaConfig::default()));
        let config = ReplicaConfig::default().hot_standby(false).hand_back_after(Duration::ZERO);
        assert_eq!(read(json!({"hotStandby": false, "handBackAfter": "0s"})), Ok(config));
        for (json, field) in [
            (json!({"hotStandby": 1}), "replicas.hotStandby"),
            (json!({"promoteAfter": "x"}), "replicas.promoteAfter"),
            (json!({"handBackAfter": "2592001s"}), "replicas.handBackAfter"),
        ] {
            assert_eq!(read(json.clone()).unwrap_err().field, field, "{json}");
        }
    }
}
