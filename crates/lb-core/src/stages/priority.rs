//! Failover between groups of endpoints.
//!
//! Endpoints of equal [`priority`](crate::Attributes::priority) are a group; policies see one group at a time. The first group, from 0
//! up, that can serve is chosen:
//!
//! - READY, or IDLE (nobody has tried it, so the policy will): chosen, and the groups below it are given up.
//! - CONNECTING for less than 10 s since it was READY or IDLE: chosen, calls wait for it.
//! - TRANSIENT_FAILURE, or CONNECTING for longer: the next group's turn. It is kept connected meanwhile, and chosen again as
//!   soon as it is READY.
//!
//! If no group is left, the first that is still CONNECTING, else the last one, whose errors calls then see. A group is READY if one of
//! its endpoints is, TRANSIENT_FAILURE or IDLE if all are, and else CONNECTING.
//!
//! **Bound.** Linear in the endpoints. A lower group gets no connection before it is needed, and one that is given up keeps its
//! connections for 15 minutes, in case the higher one fails again.
//!
//! **When not.** Preferring without depending on it, such as the own zone while it has room: this gives a group everything or
//! nothing.
//!
//! Source: gRFC A56, with endpoints where it has child policies.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::connectivity::ConnectivityState::{self, Connecting, Idle, Ready, Shutdown, TransientFailure};
use crate::policy::{Plan, Stage, SubchannelView};

/// How long a group may be CONNECTING before the next one's turn (gRFC A56).
const FAILOVER: Duration = Duration::from_secs(10);

/// How long a group that was given up keeps its connections (gRFC A56).
const RETENTION: Duration = Duration::from_secs(15 * 60);

/// Shows policies one priority group at a time, the first that can serve.
#[derive(Debug, Default)]
pub struct PriorityStage {
    /// The groups in the view, by priority.
    groups: BTreeMap<u32, Group>,
}

#[derive(Debug, Default)]
struct Group {
    /// At the last look; IDLE before the first.
    state: ConnectivityState,
    /// While CONNECTING, when its time is over.
    failover_at: Option<Instant>,
    /// Whether it failed since it was last READY or IDLE; it gets no more time to connect then.
    failed: bool,
    /// Whether it is to be kept connected.
    active: bool,
    /// When a group that was given up loses its connections.
    retire_at: Option<Instant>,
}

impl Group {
    fn observe(&mut self, now: Instant, state: ConnectivityState) {
        match state {
            Ready | Idle => (self.failover_at, self.failed) = (None, false),
            TransientFailure | Shutdown => (self.failover_at, self.failed) = (None, true),
            Connecting if self.state != Connecting && !self.failed => self.failover_at = Some(now + FAILOVER),
            Connecting => self.failover_at = self.failover_at.filter(|at| *at > now),
        }
        self.state = state;
    }

    fn serves(&self) -> bool {
        matches!(self.state, Ready | Idle)
    }

    fn activate(&mut self) {
        (self.active, self.retire_at) = (true, None);
    }

    fn give_up(&mut self, now: Instant) {
        if self.active {
            (self.active, self.retire_at) = (false, Some(now + RETENTION));
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
    fn observe(&mut self, now: Instant, view: &[SubchannelView]) {
        let mut tallies: BTreeMap<u32, Tally> = BTreeMap::new();
        for row in view {
            let tally = tallies.entry(priority(row)).or_default();
            tally.all += 1;
            match row.state {
                Ready => tally.ready += 1,
                Idle => tally.idle += 1,
                TransientFailure | Shutdown => tally.failed += 1,
                Connecting => {}
            }
        }
        self.groups.retain(|priority, _| tallies.contains_key(priority));
        for (priority, tally) in &tallies {
            self.groups.entry(*priority).or_default().observe(now, tally.state());
        }
    }

    /// Chooses a group and says which others are to be kept connected. `None` without groups.
    fn choose(&mut self, now: Instant) -> Option<u32> {
        let first =
            |accept: &dyn Fn(&Group) -> bool| self.groups.iter().find(|(_, group)| accept(group)).map(|(priority, _)| *priority);
        let in_time = first(&|group| group.serves() || group.failover_at.is_some());
        let chosen =
            in_time.or_else(|| first(&|group| group.state == Connecting)).or_else(|| self.groups.keys().next_back().copied())?;
        // Without a group in time all of them have been tried, and any may come back.
        let reached = if in_time.is_some() { chosen } else { u32::MAX };
        let serves = self.groups.get(&chosen).is_some_and(Group::serves);
        for (priority, group) in &mut self.groups {
            if *priority <= reached {
                group.activate();
            } else if serves {
                group.give_up(now);
            }
        }
        Some(chosen)
    }

    /// Closes the connections of groups given up long ago, and asks to be called when the next time is over.
    fn keep_time(&mut self, now: Instant, view: &[SubchannelView], plan: &mut Plan) {
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
        let Some(chosen) = self.choose(now).filter(|_| self.groups.len() > 1) else { return };
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
