//! Failover between groups of endpoints.
//!
//! Endpoints of equal [`priority`](crate::Attributes::priority) are a group; policies see one group at a time. The first group, from 0
//! up, that can serve is chosen:
//!
//! - READY, or IDLE (nobody has tried it, so the policy will): chosen, and the groups below it are given up.
//! - CONNECTING for less than 10 s (`failover_after`) since it was READY or IDLE: chosen, calls wait for it.
//! - TRANSIENT_FAILURE, or CONNECTING for longer: the next group's turn. It is kept connected meanwhile, and chosen again as
//!   soon as it is READY.
//!
//! If no group is left, the first that is still CONNECTING, else the last one, whose errors calls then see. A group is READY if one of
//! its endpoints is, TRANSIENT_FAILURE or IDLE if all are, and else CONNECTING.
//!
//! **The way back.** With `fail_back_after` calls return only once the better group has been READY for so long without a break, and
//! only while the group in use serves: if that fails they go wherever they can. So a group that comes and goes moves calls once, not
//! with every turn. The default is gRPC's, at once.
//!
//! **By hand.** [`PriorityStage::force`] puts a group in front of all others; it is used while it serves, and the others in their order
//! when it does not. Taking that back, or asking for the return, skips the wait.
//!
//! **Bound.** Linear in the endpoints. A lower group gets no connection before it is needed, and one that is given up keeps its
//! connections for 15 minutes (`retention`), in case the higher one fails again.
//!
//! **When not.** Preferring without depending on it, such as the own zone while it has room: this gives a group everything or
//! nothing.
//!
//! ```
//! use std::time::Duration;
//! use lb_core::stages::{FailoverConfig, PriorityStage};
//!
//! let stage = PriorityStage::new(FailoverConfig::default().fail_back_after(Duration::from_secs(30)));
//! ```
//!
//! Source: gRFC A56, with endpoints where it has child policies; the wait before the return and the levers are ours.

mod config;
mod state;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

pub use config::FailoverConfig;
pub(crate) use config::checked;
pub use state::{FailBack, FailoverState, GroupState};

use crate::connectivity::ConnectivityState::{self, Connecting, Idle, Ready, Shutdown, TransientFailure};
use crate::event::LbEvent;
use crate::policy::{Plan, Stage, SubchannelView};

/// Shows policies one priority group at a time, the first that can serve.
#[derive(Debug, Default)]
pub struct PriorityStage {
    config: FailoverConfig,
    /// The groups in the view, by priority.
    groups: BTreeMap<u32, Group>,
    in_use: Option<InUse>,
    /// Put in front of the others by hand.
    forced: Option<u32>,
    /// Whether somebody asked to move without waiting longer than it takes to connect.
    hurry: bool,
    /// Where calls would return to, while they wait.
    waits_for: Option<u32>,
}

#[derive(Debug)]
struct InUse {
    priority: u32,
    since: Instant,
    reason: Arc<str>,
}

#[derive(Debug, Default)]
struct Group {
    /// At the last look; IDLE before the first.
    state: ConnectivityState,
    tally: Tally,
    /// While CONNECTING, when its time is over.
    failover_at: Option<Instant>,
    /// Whether it failed since it was last READY or IDLE; it gets no more time to connect then.
    failed: bool,
    /// While READY, since when without a break.
    ready_since: Option<Instant>,
    /// Whether it is to be kept connected.
    active: bool,
    /// When a group that was given up loses its connections.
    retire_at: Option<Instant>,
}

impl Group {
    fn observe(&mut self, now: Instant, tally: Tally, config: &FailoverConfig) {
        let state = tally.state();
        match state {
            Ready | Idle => (self.failover_at, self.failed) = (None, false),
            TransientFailure | Shutdown => (self.failover_at, self.failed) = (None, true),
            Connecting if self.state != Connecting && !self.failed => self.failover_at = now.checked_add(config.failover_after),
            Connecting => {}
        }
        self.failover_at = self.failover_at.filter(|at| *at > now);
        self.ready_since = (state == Ready).then(|| self.ready_since.unwrap_or(now));
        (self.state, self.tally) = (state, tally);
    }

    fn serves(&self) -> bool {
        matches!(self.state, Ready | Idle)
    }

    fn activate(&mut self) {
        (self.active, self.retire_at) = (true, None);
    }

    fn give_up(&mut self, now: Instant, config: &FailoverConfig) {
        if self.active {
            (self.active, self.retire_at) = (false, now.checked_add(config.retention));
        }
    }

    /// How it is, after its name.
    fn describe(&self) -> &'static str {
        match self.state {
            Ready => "READY",
            Idle => "IDLE",
            TransientFailure | Shutdown => "TRANSIENT_FAILURE",
            Connecting if self.failed => "CONNECTING after a failure",
            Connecting if self.failover_at.is_none() => "CONNECTING for too long",
            Connecting => "CONNECTING",
        }
    }
}

/// How many endpoints of a group are in which state.
#[derive(Debug, Default)]
struct Tally {
    all: usize,
    ready: usize,
    idle: usize,
    failed: usize,
}

impl Tally {
    fn count(&mut self, state: ConnectivityState) {
        self.all += 1;
        match state {
            Ready => self.ready += 1,
            Idle => self.idle += 1,
            TransientFailure | Shutdown => self.failed += 1,
            Connecting => {}
        }
    }

    fn state(&self) -> ConnectivityState {
        match self {
            Self { ready: 1.., .. } => Ready,
            Self { all, failed, .. } if failed == all => TransientFailure,
            Self { all, idle, .. } if idle == all => Idle,
            _ => Connecting,
        }
    }
}

impl PriorityStage {
    /// A stage that has seen nothing yet.
    pub fn new(config: FailoverConfig) -> Self {
        Self { config, ..Self::default() }
    }

    /// Puts the group of this priority in front of all others, or with `None` no group any more and returns to where calls would
    /// rather be, either as soon as that group is READY. Remembered while no endpoint of it is listed.
    pub fn force(&mut self, priority: Option<u32>) {
        self.forced = priority;
        self.hurry = true;
    }

    /// The groups and which is in use; `None` while there is no endpoint.
    pub fn state(&self) -> Option<FailoverState> {
        let InUse { priority, since, reason } = self.in_use.as_ref()?;
        let group = |(priority, group): (&u32, &Group)| GroupState {
            priority: *priority,
            name: self.config.name(*priority),
            state: group.state,
            endpoints: group.tally.all,
            ready: group.tally.ready,
        };
        Some(FailoverState {
            priority: *priority,
            name: self.config.name(*priority),
            since: *since,
            reason: Arc::clone(reason),
            fail_back: self.waits_for.map(|priority| FailBack { priority, at: self.proves_itself_at(priority) }),
            forced: self.forced,
            groups: self.groups.iter().map(group).collect(),
        })
    }

    fn observe(&mut self, now: Instant, view: &[SubchannelView]) {
        let mut tallies: BTreeMap<u32, Tally> = BTreeMap::new();
        for row in view {
            tallies.entry(priority(row)).or_default().count(row.state);
        }
        self.groups.retain(|priority, _| tallies.contains_key(priority));
        for (priority, tally) in tallies {
            self.groups.entry(priority).or_default().observe(now, tally, &self.config);
        }
    }

    /// The listed groups in the order in which they are tried.
    fn order(&self) -> Vec<u32> {
        let forced = self.forced.filter(|forced| self.groups.contains_key(forced));
        let others = self.groups.keys().copied().filter(|priority| Some(*priority) != forced);
        forced.into_iter().chain(others).collect()
    }

    /// Chooses a group and says which others are to be kept connected. `None` without groups.
    fn choose(&mut self, now: Instant) -> Option<u32> {
        let order = self.order();
        let first = |accept: &dyn Fn(&Group) -> bool| order.iter().copied().find(|priority| accept(&self.groups[priority]));
        let in_time = first(&|group| group.serves() || group.failover_at.is_some());
        let best = in_time.or_else(|| first(&|group| group.state == Connecting)).or_else(|| order.last().copied())?;
        let held = self.held(now, best, &order);
        self.waits_for = held.map(|_| best);
        let chosen = held.unwrap_or(best);
        // Without a group in time all of them have been tried, and any may come back.
        let reached = if in_time.is_some() { order.iter().position(|priority| *priority == chosen) } else { None };
        let serves = self.groups[&chosen].serves();
        for (rank, priority) in order.iter().enumerate() {
            let Some(group) = self.groups.get_mut(priority) else { continue };
            if reached.is_none_or(|reached| rank <= reached) {
                group.activate();
            } else if serves {
                group.give_up(now, &self.config);
            }
        }
        Some(chosen)
    }

    /// The group in use, if calls are to stay there for now though `best` comes before it.
    fn held(&mut self, now: Instant, best: u32, order: &[u32]) -> Option<u32> {
        let current = self.in_use.as_ref()?.priority;
        let rank = |priority: u32| order.iter().position(|other| *other == priority);
        let stays = self.groups.get(&current)?.state == Ready;
        let proven = if self.hurry {
            self.groups.get(&best)?.state == Ready
        } else {
            self.config.fail_back_after.is_zero() || self.proves_itself_at(best).is_some_and(|at| at <= now)
        };
        let held = rank(best) < rank(current) && stays && !proven;
        self.hurry &= held;
        held.then_some(current)
    }

    /// When a group has been READY for long enough.
    fn proves_itself_at(&self, priority: u32) -> Option<Instant> {
        self.groups.get(&priority)?.ready_since?.checked_add(self.config.fail_back_after)
    }

    /// Notes a change of the group in use, and tells.
    fn note(&mut self, now: Instant, chosen: u32, plan: &mut Plan) {
        let before = self.in_use.as_ref().map(|in_use| in_use.priority);
        if before == Some(chosen) {
            return;
        }
        let reason: Arc<str> = self.explain(before, chosen).into();
        if let Some(before) = before {
            let (from, to) = (self.config.name(before), self.config.name(chosen));
            plan.events.push(LbEvent::Failover { from, to, priority: chosen, reason: Arc::clone(&reason) });
        }
        self.in_use = Some(InUse { priority: chosen, since: now, reason });
    }

    /// Why calls go to this group now. Downwards it is the group left behind that says why, upwards the one returned to.
    fn explain(&self, before: Option<u32>, chosen: u32) -> String {
        let how = |priority: u32| self.groups.get(&priority).map_or("no longer listed", Group::describe);
        if self.forced == Some(chosen) {
            return format!("asked for by hand; it is {}", how(chosen));
        }
        let left = before.filter(|before| *before < chosen || !self.groups.contains_key(before));
        let telling = left.unwrap_or(chosen);
        format!("{} is {}", self.config.name(telling), how(telling))
    }

    /// Closes the connections of groups given up long ago, and asks to be called when the next time is over.
    fn keep_time(&mut self, now: Instant, view: &[SubchannelView], plan: &mut Plan) {
        if let Some(at) = self.waits_for.and_then(|priority| self.proves_itself_at(priority)) {
            plan.wake_at(at);
        }
        for (priority, group) in &mut self.groups {
            if group.retire_at.is_some_and(|at| at <= now) {
                group.retire_at = None;
                let connected = view.iter().filter(|row| self::priority(row) == *priority && row.state != Idle);
                plan.disconnect.extend(connected.map(|row| row.slot));
            }
            for at in [group.failover_at, group.retire_at].into_iter().flatten() {
                plan.wake_at(at);
            }
        }
    }
}

impl Stage for PriorityStage {
    fn name(&self) -> &'static str {
        "of another priority"
    }

    fn apply(&mut self, now: Instant, view: &mut Vec<SubchannelView>, plan: &mut Plan) {
        self.observe(now, view);
        let Some(chosen) = self.choose(now) else {
            (self.in_use, self.waits_for) = (None, None);
            return;
        };
        self.note(now, chosen, plan);
        if self.groups.len() < 2 {
            return;
        }
        self.keep_time(now, view, plan);
        view.retain(|row| {
            let priority = priority(row);
            if priority != chosen && self.groups.get(&priority).is_some_and(|group| group.active) {
                plan.connect.push(row.slot);
            }
            priority == chosen
        });
    }
}

fn priority(row: &SubchannelView) -> u32 {
    row.endpoint.attributes.priority
}

#[cfg(test)]
mod tests;
