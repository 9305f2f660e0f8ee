//! The load each endpoint will have in a moment, for the factor that asks.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::advice::Forecast;
use crate::policy::{Plan, SubchannelView};
use crate::slot::Slot;

use super::table::Expected;

/// How often loads are observed. Each time costs a rebuild, linear in the endpoints.
const EVERY: Duration = Duration::from_secs(1);

/// How far ahead: as long as it takes most loads to show in anything else.
const AHEAD: Duration = Duration::from_secs(5);

/// Trends by endpoint; asks to be shown the view every second.
#[derive(Debug, Default)]
pub(super) struct Forecasts {
    since: Option<Instant>,
    observed: Option<Instant>,
    trends: BTreeMap<Slot, Trend>,
}

#[derive(Debug, Default)]
struct Trend {
    in_flight: Forecast,
    /// Once the server has said how busy it is.
    utilization: Option<Forecast>,
}

impl Forecasts {
    pub(super) fn observe(&mut self, now: Instant, view: &[SubchannelView], plan: &mut Plan) {
        let since = *self.since.get_or_insert(now);
        // Between two observations the view may change any number of times.
        let due = self.observed.map_or(now, |observed| observed + EVERY);
        if now < due {
            return plan.wake_at(due);
        }
        self.observed = Some(now);
        plan.wake_at(now + EVERY);
        let at = now.saturating_duration_since(since);
        let mut before = std::mem::take(&mut self.trends);
        for row in view {
            let mut trend = before.remove(&row.slot).unwrap_or_default();
            trend.in_flight.observe(at, f64::from(row.stats.reported_in_flight().unwrap_or(0).max(row.stats.in_flight())));
            if let Some(used) = row.stats.utilization() {
                trend.utilization.get_or_insert_default().observe(at, used);
            }
            self.trends.insert(row.slot, trend);
        }
    }

    /// What to expect of an endpoint; `None` before it was observed.
    pub(super) fn expected(&self, slot: Slot) -> Option<Expected> {
        let trend = self.trends.get(&slot)?;
        Some(Expected {
            in_flight: trend.in_flight.predict(AHEAD)?,
            utilization: trend.utilization.as_ref().and_then(|trend| trend.predict(AHEAD)),
        })
    }
}
