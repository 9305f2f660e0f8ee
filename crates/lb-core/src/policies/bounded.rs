//! Hashing with bounded loads: no endpoint takes more than its share of the calls in flight times a factor.
//!
//! A call goes to the first READY endpoint on its walk that has room for it: fewer calls in flight than the factor times what its
//! weight's share of all calls in flight would be, rounded up. So a hot key spreads over as many endpoints as it needs, always the
//! same ones, and everything else stays where it belongs. Spreading needs connections, so every endpoint is connected.
//!
//! **Bound.** At the time a call is placed its endpoint has at most `ceil(factor · (calls in flight + 1) · weight / weights)` of
//! them (Mirrokni, Thorup, Zadimoghaddam, "Consistent Hashing with Bounded Loads", SODA 2018); several tasks that pick at the very
//! same time may each take the last place. With factor `1 + e` a walk passes O(1/e²) full endpoints. The number of calls in flight
//! is one shared counter: a pick writes to it, and so does the end of a call.
//!
//! The counter is set to the sum of the endpoints' own counters at every rebuild, and at least every 10 s: calls that other
//! policies place there count too, and one that was picked for and then not sent is not counted for ever.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::config;
use super::hash::{CallHash, Hashed};
use super::members::{Member, Members};
use super::petiole::{self, NotReady};
use super::walk::{self, MISSING, Table};
use crate::connectivity::ConnectivityState::Ready;
use crate::feedback::{Done, Feedback};
use crate::pick::{PickArgs, PickError, PickResult, Picker, Score};
use crate::policy::{ConfigError, LbState, Plan, SubchannelView};
use crate::slot::Slot;
use crate::stats::EndpointStats;

/// How long an error in the count of calls in flight may last.
const RECOUNT: Duration = Duration::from_secs(10);

/// Below the mean there would not be room for everybody.
const LEAST_FACTOR: u32 = 100;

/// The configured bound, and the count that outlives pickers.
#[derive(Debug)]
pub(super) struct Bounds {
    /// In percent of the mean, from 100.
    factor: u32,
    load: Arc<Load>,
    feedback: Arc<dyn Feedback>,
}

impl Bounds {
    /// The field `hashBalanceFactor`; absent means without bound.
    pub(super) fn from_config(policy: &str, config: &Value) -> Result<Option<Self>, ConfigError> {
        const FIELD: &str = "hashBalanceFactor";
        if config.get(FIELD).is_none_or(Value::is_null) {
            return Ok(None);
        }
        let factor = config::unsigned(policy, config, FIELD, LEAST_FACTOR)?;
        if factor < LEAST_FACTOR {
            return Err(ConfigError::new(format!("{policy}.{FIELD}"), factor, "percent of the mean, a whole number from 100"));
        }
        let load = Arc::new(Load::default());
        Ok(Some(Self { factor, feedback: Arc::clone(&load) as _, load }))
    }

    pub(super) fn rebuild<T: Table>(
        &self,
        now: Instant,
        view: &[SubchannelView],
        plan: &mut Plan,
        members: &Members,
        table: Arc<T>,
        by: &CallHash,
    ) -> LbState {
        self.load.set(view.iter().filter(|row| row.state == Ready).map(|row| row.stats.in_flight()));
        plan.wake_at(now + RECOUNT);
        petiole::spread(view, plan, |_, others| {
            let row = |(row, member): (&SubchannelView, &Member)| Row {
                slot: row.slot,
                weight: member.weight,
                usable: row.state == Ready,
                stats: Arc::clone(&row.stats),
            };
            let rows: Box<[Row]> = members.rows(view).zip(members.list()).map(row).collect();
            let weights = rows.iter().filter(|row| row.usable).map(|row| u64::from(row.weight)).sum();
            let room = Room { factor: self.factor, weights, load: Arc::clone(&self.load) };
            Arc::new(Bounded { table, rows, room, by: by.clone(), feedback: Arc::clone(&self.feedback), others })
        })
    }
}

/// Calls in flight at all READY endpoints.
#[derive(Debug, Default)]
struct Load {
    /// Signed: a recount and the end of a call may cross.
    in_flight: AtomicI64,
}

impl Load {
    fn set(&self, counts: impl Iterator<Item = u32>) {
        self.in_flight.store(counts.map(i64::from).sum(), Ordering::Relaxed);
    }
}

impl Feedback for Load {
    fn finished(&self, _done: &Done<'_>) {
        self.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Who has room.
#[derive(Debug, Clone)]
struct Room {
    factor: u32,
    /// The sum of the READY endpoints' weights.
    weights: u64,
    load: Arc<Load>,
}

impl Room {
    /// The calls in flight if one more is placed.
    #[inline]
    fn calls(&self) -> u128 {
        self.load.in_flight.load(Ordering::Relaxed).max(0) as u128 + 1
    }

    /// Whether a call more leaves an endpoint within `ceil(factor/100 · calls · weight/weights)`; `n + 1 <= ceil(x)` is `n < x`.
    #[inline]
    fn is_in(&self, row: &Row, calls: u128) -> bool {
        let allowed = u128::from(self.factor) * calls * u128::from(row.weight);
        u128::from(row.stats.in_flight()) * 100 * u128::from(self.weights) < allowed
    }

    /// The most calls an endpoint may have, for people.
    fn limit(&self, row: &Row) -> f64 {
        let share = f64::from(row.weight) / self.weights.max(1) as f64;
        (f64::from(self.factor) / 100.0 * self.calls() as f64 * share).ceil()
    }
}

#[derive(Debug, Clone)]
struct Row {
    slot: Slot,
    weight: u32,
    /// READY, and not excluded by the call.
    usable: bool,
    stats: Arc<EndpointStats>,
}

/// Never without a usable row.
#[derive(Debug)]
struct Bounded<T> {
    table: Arc<T>,
    /// By member.
    rows: Box<[Row]>,
    room: Room,
    by: CallHash,
    feedback: Arc<dyn Feedback>,
    others: NotReady,
}

impl<T: Table> Bounded<T> {
    #[inline]
    fn choose(&self, hash: u64, tried: &[Slot]) -> Slot {
        let (start, calls) = (self.table.find(hash), self.room.calls());
        let row = &self.rows[self.table.member(start)];
        if row.usable && self.room.is_in(row, calls) && tried.is_empty() { row.slot } else { self.walk(start, calls, tried) }
    }

    #[cold]
    fn walk(&self, start: usize, calls: u128, tried: &[Slot]) -> Slot {
        let on_walk = || walk::members_from(&*self.table, start).map(|member| &self.rows[member]);
        let untried = |row: &&Row| row.usable && !tried.contains(&row.slot);
        let found = on_walk().find(|row| untried(row) && self.room.is_in(row, calls)).or_else(|| on_walk().find(untried));
        found.map_or_else(|| self.least_loaded(), |row| row.slot)
    }

    /// All that is left when every endpoint on the walk was tried before, or none of them is READY.
    fn least_loaded(&self) -> Slot {
        let load = |row: &&Row| f64::from(row.stats.in_flight() + 1) / f64::from(row.weight);
        let usable = self.rows.iter().filter(|row| row.usable);
        let least = usable.min_by(|one, other| load(one).total_cmp(&load(other)));
        least.map_or(self.rows[0].slot, |row| row.slot)
    }
}

impl<T: Table> Picker for Bounded<T> {
    #[inline]
    fn pick(&self, args: &mut PickArgs<'_>) -> PickResult {
        let (Hashed::Key(hash) | Hashed::Random(hash)) = self.by.of(args) else {
            return PickResult::Fail(PickError::new(MISSING));
        };
        let slot = self.choose(hash, args.tried);
        self.room.load.in_flight.fetch_add(1, Ordering::Relaxed);
        PickResult::Pick(slot)
    }

    /// The bounds stay those of all endpoints; when none of the rest has room the first on the walk takes the call.
    fn restrict(&self, keep: &dyn Fn(Slot) -> bool) -> Arc<dyn Picker> {
        let rows: Box<[Row]> = self.rows.iter().map(|row| Row { usable: row.usable && keep(row.slot), ..row.clone() }).collect();
        let others = self.others.restricted(keep);
        if rows.iter().all(|row| !row.usable) {
            return Arc::new(others);
        }
        let (table, feedback) = (Arc::clone(&self.table), Arc::clone(&self.feedback));
        Arc::new(Self { table, rows, room: self.room.clone(), by: self.by.clone(), feedback, others })
    }

    fn explain(&self, args: &mut PickArgs<'_>) -> Vec<Score> {
        let calls = self.room.calls();
        let shares = walk::shares(&*self.table, self.rows.len(), |member| {
            self.rows[member].usable && self.room.is_in(&self.rows[member], calls)
        });
        let usable = self.rows.iter().zip(shares).filter(|(row, _)| row.usable);
        let score = |(row, share): (&Row, f64)| {
            let (in_flight, limit) = (f64::from(row.stats.in_flight()), self.room.limit(row));
            let mut score = Score::new(row.slot, share, format!("{in_flight} calls in flight of at most {limit}"));
            score.parts = vec![("in_flight", in_flight), ("limit", limit)];
            score
        };
        usable.map(score).chain(self.others.explain(args)).collect()
    }

    fn feedback(&self) -> Option<&Arc<dyn Feedback>> {
        Some(&self.feedback)
    }
}

#[cfg(test)]
mod tests;
