//! When so few endpoints are thought well of that it is better to use all of them.
//!
//! If less than a threshold of a group's endpoints are eligible, then what is known of the others is more likely wrong than true, or
//! sending every call to the few that are left would only fell them too. The group then *panics*: every endpoint of it that has a
//! connection takes calls. It calms down once the share has been at the threshold for `leave_after`.
//!
//! | overridden | not overridden |
//! |---|---|
//! | ejection for calls that fail | drained by hand, draining in the registry |
//! | a health check that says NOT_SERVING | no connection: nothing can be sent there |
//! | unhealthy in the registry | standing by for another endpoint |
//! | | circuit breakers and limits: they let trial calls through by themselves, and protect the server |
//!
//! **Groups.** Failing over comes before panicking: only the group in use panics. If none of the groups can serve, the first that has a
//! connection does. Beside `maxEjectionPercent`, which keeps ejections alone from ever reaching the threshold, it is the several
//! opinions together that are judged here. `priority_spillover` uses all groups at once and has a rule of its own.
//!
//! **Bound.** Linear, with a copy of the view; nothing while off. **When not.** gRPC has no such rule: an endpoint that says it does
//! not serve gets no calls, and calls fail fast. So it is off unless asked for. Where a wrong answer is worse than none, leave it off.
//!
//! Source: Envoy's panic threshold, whose default is 50 %; hysteresis is ours.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::attributes::RegistryHealth;
use crate::connectivity::ConnectivityState::{Idle, Ready, Shutdown, TransientFailure};
use crate::event::LbEvent;
use crate::policies::config;
use crate::policy::{ConfigError, Plan, SubchannelView};
use crate::slot::Slot;
use crate::stages::priority::checked;

const NAME: &str = "panic";

/// When a group of endpoints panics. The default is never.
///
/// ```
/// use lb_core::stages::PanicConfig;
///
/// let config = PanicConfig::below(50);
/// assert!(config.check().is_ok() && PanicConfig::below(101).check().is_err());
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct PanicConfig {
    /// In per cent: a group panics while fewer of its endpoints are eligible. 0, the default, is never; Envoy's default is 50.
    pub threshold: u32,
    /// How long enough must be eligible without a break before the panic is over; default 5 s, so that one endpoint that comes and goes
    /// does not turn it on and off.
    pub leave_after: Duration,
}

impl Default for PanicConfig {
    fn default() -> Self {
        Self { threshold: 0, leave_after: Duration::from_secs(5) }
    }
}

impl PanicConfig {
    /// Panics while less than this share is eligible, 0 (never) to 100 per cent.
    pub fn below(percent: u32) -> Self {
        Self { threshold: percent, ..Self::default() }
    }

    /// Sets [`leave_after`](Self::leave_after); 0 s to 30 days.
    #[must_use]
    pub fn leave_after(mut self, time: Duration) -> Self {
        self.leave_after = time;
        self
    }

    /// From JSON: `healthyPanicThreshold`, 0 to 100, and `leaveAfter` as a duration (`"5s"`). Absent means the default; unknown
    /// fields are ignored.
    ///
    /// # Errors
    /// A wrong type, more than 100 per cent, or a time above 30 days.
    pub fn from_json(json: &Value) -> Result<Self, ConfigError> {
        let default = Self::default();
        let read = Self {
            threshold: config::unsigned(NAME, json, "healthyPanicThreshold", default.threshold)?,
            leave_after: config::duration(NAME, json, "leaveAfter", default.leave_after)?,
        };
        read.check().map(|()| read)
    }

    /// Whether it can be followed.
    ///
    /// # Errors
    /// More than 100 per cent, or a time above 30 days.
    pub fn check(&self) -> Result<(), ConfigError> {
        if self.threshold > 100 {
            let field = format!("{NAME}.healthyPanicThreshold");
            return Err(ConfigError::new(field, self.threshold, "a whole number from 0 to 100"));
        }
        checked(&format!("{NAME}.leaveAfter"), self.leave_after)
    }
}

/// A group that panics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct PanicState {
    /// The priority of the group.
    pub priority: u32,
    /// Since when.
    pub since: Instant,
    /// How many of its endpoints are eligible: neither hidden nor failing.
    pub eligible: usize,
    /// How many it has, without those that are drained or stand by.
    pub of: usize,
    /// How many take calls only because of the panic.
    pub restored: usize,
}

/// Shows every endpoint of a group that has a connection as READY while too few are eligible.
#[derive(Debug, Default)]
pub struct PanicRule {
    config: PanicConfig,
    panics: Option<PanicState>,
    /// While it panics, since when enough are eligible.
    calm_since: Option<Instant>,
}

impl PanicRule {
    /// A rule that has seen nothing yet.
    pub fn new(config: PanicConfig) -> Self {
        Self { config, ..Self::default() }
    }

    /// Whether it can ever panic.
    pub fn is_on(&self) -> bool {
        self.config.threshold > 0
    }

    /// The group that panics.
    pub fn state(&self) -> Option<PanicState> {
        self.panics
    }

    /// Looks at what the stages made of the endpoints they were offered, and undoes it while there is panic. `offered` are the listed
    /// endpoints without the drained ones, as they were before any other stage; `stands_by` says who must not be brought back.
    pub fn apply(
        &mut self,
        now: Instant,
        offered: &[SubchannelView],
        stands_by: &dyn Fn(Slot) -> bool,
        view: &mut Vec<SubchannelView>,
        plan: &mut Plan,
    ) {
        let may = |row: &&SubchannelView| row.endpoint.attributes.health != RegistryHealth::Draining && !stands_by(row.slot);
        let candidates: Vec<&SubchannelView> = offered.iter().filter(may).collect();
        let Some(priority) = concerned(&candidates, view) else { return self.leave(plan) };
        let group: Vec<&SubchannelView> = candidates.into_iter().filter(|row| self::priority(row) == priority).collect();
        let eligible = view.iter().filter(|row| self::priority(row) == priority && is_eligible(row)).count();
        if self.panics.is_some_and(|panics| panics.priority != priority) {
            self.leave(plan);
        }
        let mut panics = PanicState { priority, since: now, eligible, of: group.len(), restored: 0 };
        panics.since = self.panics.map_or(now, |before| before.since);
        if !self.goes_on(now, &panics, plan) {
            return self.leave(plan);
        }
        let mut judged: BTreeMap<Slot, SubchannelView> = std::mem::take(view).into_iter().map(|row| (row.slot, row)).collect();
        for offered in group {
            let (row, restored) = restore(offered, judged.remove(&offered.slot));
            panics.restored += usize::from(restored);
            view.push(row);
        }
        // Whoever makes room stays wanted, as it was.
        plan.connect.extend(judged.into_keys());
        if self.panics.is_none() {
            plan.events.push(event(&panics, true));
        }
        self.panics = Some(panics);
    }

    /// Whether there is panic now.
    fn goes_on(&mut self, now: Instant, panics: &PanicState, plan: &mut Plan) -> bool {
        if panics.eligible * 100 < panics.of * self.config.threshold as usize {
            self.calm_since = None;
            return true;
        }
        if self.panics.is_none() {
            return false;
        }
        let calm = *self.calm_since.get_or_insert(now);
        let ends = calm.checked_add(self.config.leave_after);
        ends.filter(|at| *at > now).into_iter().for_each(|at| plan.wake_at(at));
        ends.is_none_or(|at| at > now)
    }

    fn leave(&mut self, plan: &mut Plan) {
        self.calm_since = None;
        plan.events.extend(self.panics.take().map(|panics| event(&panics, false)));
    }
}

/// The group that might panic: the one in use, or if that cannot serve the first that could if nobody's opinion was asked.
fn concerned(candidates: &[&SubchannelView], view: &[SubchannelView]) -> Option<u32> {
    let serves = view.iter().find(|row| matches!(row.state, Ready | Idle));
    let could = || candidates.iter().filter(|row| row.connected).map(|row| priority(row)).min();
    let any = || view.first().or_else(|| candidates.first().copied()).map(priority);
    serves.map(priority).or_else(could).or_else(any)
}

/// The row as all its group is shown in panic, and whether that changes anything.
fn restore(offered: &SubchannelView, seen: Option<SubchannelView>) -> (SubchannelView, bool) {
    match seen {
        Some(row) if is_eligible(&row) => (row, false),
        seen => {
            let restored = seen.is_none() || offered.connected;
            let mut row = seen.unwrap_or_else(|| offered.clone());
            if offered.connected {
                (row.state, row.error) = (Ready, None);
            }
            (row, restored)
        }
    }
}

fn is_eligible(row: &SubchannelView) -> bool {
    !matches!(row.state, TransientFailure | Shutdown)
}

fn priority(row: &SubchannelView) -> u32 {
    row.endpoint.attributes.priority
}

fn event(panics: &PanicState, panicking: bool) -> LbEvent {
    let count = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
    LbEvent::Panic { priority: panics.priority, eligible: count(panics.eligible), of: count(panics.of), panicking }
}

#[cfg(test)]
mod tests;
