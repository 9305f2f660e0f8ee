//! How fast calls move between groups, and what the groups are called.

use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

use crate::policies::config;
use crate::policy::ConfigError;

const NAME: &str = "failover";

/// The longest time that can be set: longer is a mistake, and instants cannot count for ever.
const LONGEST: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// How calls move between the groups of endpoints of equal [`priority`](crate::Attributes::priority), and back. The default is gRPC's.
///
/// ```
/// use std::time::Duration;
/// use lb_core::stages::FailoverConfig;
///
/// let config = FailoverConfig::default().fail_back_after(Duration::from_secs(30)).names(["main site", "other site"]);
/// assert_eq!(&*config.name(1), "other site");
/// assert_eq!(&*config.name(2), "priority 2");
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct FailoverConfig {
    /// How long a group may be CONNECTING before the next one's turn; default 10 s (gRFC A56). A group that fails is left at once.
    pub failover_after: Duration,
    /// How long a group must have been READY without a break before calls return to it while another serves; default 0, at once, as
    /// gRFC A56 has it. 30 s outlasts a server that comes up, takes calls and falls over again.
    pub fail_back_after: Duration,
    /// How long a group that is no longer needed keeps its connections; default 15 min (gRFC A56).
    pub retention: Duration,
    /// What the groups are called, from priority 0 up; default `primary`, `secondary`, `last resort`. Those beyond are `priority 3` and
    /// so on.
    pub names: Vec<Arc<str>>,
}

impl Default for FailoverConfig {
    fn default() -> Self {
        Self {
            failover_after: Duration::from_secs(10),
            fail_back_after: Duration::ZERO,
            retention: Duration::from_secs(15 * 60),
            names: ["primary", "secondary", "last resort"].map(Arc::from).into(),
        }
    }
}

impl FailoverConfig {
    /// Sets [`failover_after`](Self::failover_after); 0 s to 30 days.
    #[must_use]
    pub fn failover_after(mut self, time: Duration) -> Self {
        self.failover_after = time;
        self
    }

    /// Sets [`fail_back_after`](Self::fail_back_after); 0 s to 30 days.
    #[must_use]
    pub fn fail_back_after(mut self, time: Duration) -> Self {
        self.fail_back_after = time;
        self
    }

    /// Sets [`retention`](Self::retention); 0 s to 30 days.
    #[must_use]
    pub fn retention(mut self, time: Duration) -> Self {
        self.retention = time;
        self
    }

    /// Sets [`names`](Self::names), from priority 0 up.
    #[must_use]
    pub fn names<N: Into<Arc<str>>>(mut self, names: impl IntoIterator<Item = N>) -> Self {
        self.names = names.into_iter().map(Into::into).collect();
        self
    }

    /// From JSON: `failoverAfter`, `failBackAfter` and `retention` as durations (`"10s"`), `names` as a list of texts. Absent means
    /// the default; unknown fields are ignored.
    ///
    /// # Errors
    /// A wrong type, or a time above 30 days.
    pub fn from_json(json: &Value) -> Result<Self, ConfigError> {
        let default = Self::default();
        let names = config::texts(NAME, json, "names")?;
        let read = Self {
            failover_after: config::duration(NAME, json, "failoverAfter", default.failover_after)?,
            fail_back_after: config::duration(NAME, json, "failBackAfter", default.fail_back_after)?,
            retention: config::duration(NAME, json, "retention", default.retention)?,
            names: if names.is_empty() { default.names } else { names.into_iter().map(Arc::from).collect() },
        };
        read.check().map(|()| read)
    }

    /// Whether every time can be counted.
    ///
    /// # Errors
    /// Names the first that is above 30 days.
    pub fn check(&self) -> Result<(), ConfigError> {
        let times =
            [("failoverAfter", self.failover_after), ("failBackAfter", self.fail_back_after), ("retention", self.retention)];
        times.into_iter().try_for_each(|(field, time)| checked(&format!("{NAME}.{field}"), time))
    }

    /// What the group of this priority is called.
    pub fn name(&self, priority: u32) -> Arc<str> {
        let named = usize::try_from(priority).ok().and_then(|at| self.names.get(at));
        named.cloned().unwrap_or_else(|| format!("priority {priority}").into())
    }
}

/// Refuses a time above 30 days.
pub(crate) fn checked(field: &str, time: Duration) -> Result<(), ConfigError> {
    let error = || ConfigError::new(field, format!("{time:?}"), "a duration from 0 s to 30 days");
    if time <= LONGEST { Ok(()) } else { Err(error()) }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn config_table() {
        let read = |json| FailoverConfig::from_json(&json);
        assert_eq!(read(json!({})), Ok(FailoverConfig::default()));
        assert_eq!(read(json!({"failBackAfter": "30s", "x": 1})).unwrap().fail_back_after, Duration::from_secs(30));
        assert_eq!(
            read(json!({"names": ["a"]})).map(|config| [config.name(0), config.name(1)]),
            Ok(["a".into(), "priority 1".into()])
        );
        for (json, field) in [
            (json!({"failoverAfter": 10}), "failover.failoverAfter"),
            (json!({"failBackAfter": "2592001s"}), "failover.failBackAfter"),
            (json!({"retention": "1m"}), "failover.retention"),
            (json!({"names": [1]}), "failover.names"),
        ] {
            assert_eq!(read(json.clone()).unwrap_err().field, field, "{json}");
        }
        let error = FailoverConfig::default().retention(Duration::MAX).check().unwrap_err();
        assert_eq!((&*error.field, &*error.allowed), ("failover.retention", "a duration from 0 s to 30 days"));
    }
}
