//! `pick_first`: the first endpoint that answers, and stays there.
//!
//! Endpoints are tried in the resolver's order (or shuffled): the next one is started when the one before has failed or 250 ms have
//! gone by, and earlier attempts go on meanwhile. The first that is READY is used for every call, and the others are let go. When its
//! connection is lost the policy is IDLE until a call comes, and then starts again from the first. An endpoint whose circuit breaker lets
//! no call in counts as failed while another one's does, since with one connection there is nobody else to draw.
//!
//! ```text
//!          new list                   one is READY                    connection lost
//! (start) ──────────> first pass ────────────────────> selected ──────────────────────────> IDLE
//!                      │      ^ new list                   │                                 │
//!    all have failed   v      │                            │ it left the list, or its        │ a call asks for
//!                     steady: TRANSIENT_FAILURE            │ health check says no            │ a connection
//!                     until one is READY                   └──────────> first pass <─────────┘
//! ```
//!
//! **Bound.** One connection in the long run. With `n` endpoints that do not answer, the last is started after `n · 250 ms`.
//!
//! **When not.** Spreading load: all calls of a client go to one endpoint.
//!
//! ```
//! use lb_core::{PolicyRegistry, policies::PickFirst};
//!
//! let typed = PickFirst::default().shuffled();
//! let from_json = PolicyRegistry::default().build("pick_first", &serde_json::json!({"shuffleAddressList": true}))?;
//! # Ok::<(), lb_core::ConfigError>(())
//! ```
//!
//! Source: gRFC A61, A62 (sticky failure), A113 (weighted shuffle). Differences: the connector races the addresses inside one endpoint, so
//! that this policy deals in endpoints; and where health is watched, an endpoint that does not serve counts as failed.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::config;
use super::petiole::{NotReady, Unready};
use crate::connectivity::ConnectivityState::{Connecting, Idle, Ready, Shutdown, TransientFailure};
use crate::gate::{Refusal, breaker_open};
use crate::pick::{Always, PickArgs, PickError, PickResult, Picker, Score};
use crate::policy::{ConfigError, LbState, Plan, Policy, SubchannelView};
use crate::scratch::Scratch;
use crate::slot::Slot;

/// RFC 8305's recommendation, and gRPC's: long enough for a handshake across a continent, short enough not to be noticed.
const ATTEMPT_DELAY: Duration = Duration::from_millis(250);

/// The first endpoint that answers. See the [module table](super) for when to use it.
#[derive(Debug, Default)]
pub struct PickFirst {
    shuffle: bool,
    /// The list as it came, to notice a new one.
    listed: Vec<Slot>,
    /// The list in the order to try.
    order: Vec<Slot>,
    phase: Phase,
    /// Whether a pass has failed since the last READY: shown until the next one (gRFC A62).
    failed: bool,
    last_error: Option<Error>,
}

#[derive(Debug, Default, Clone, Copy, PartialEq)]
enum Phase {
    /// There was no list yet.
    #[default]
    New,
    /// Waiting for a call.
    Idle,
    /// Trying `order[at]`, and `order[at + 1]` at `next_at`; with `at` beyond the end, all of them for ever.
    Pass { at: usize, next_at: Instant },
    /// Using this one.
    Selected(Slot),
}

/// The newest reason of a failure, told from older ones by its identity.
#[derive(Debug)]
struct Error {
    reasons: Vec<Arc<str>>,
    message: String,
}

impl PickFirst {
    /// Its name in service configs.
    pub const NAME: &'static str = "pick_first";

    /// The same policy with the list shuffled whenever a new one comes, in proportion to weights: an endpoint comes first with the
    /// probability of its share of all weight (gRFC A113); weight 0 comes last.
    #[must_use]
    pub fn shuffled(mut self) -> Self {
        self.shuffle = true;
        self
    }

    /// From its configuration: `shuffleAddressList`, default false.
    pub fn from_config(config: &Value) -> Result<Self, ConfigError> {
        let shuffle = config::flag(Self::NAME, config, "shuffleAddressList")?;
        Ok(Self { shuffle, ..Self::default() })
    }

    /// Takes over a list that differs from the last one. Its first pass starts again, but IDLE stays IDLE.
    fn take_list(&mut self, now: Instant, view: &[SubchannelView], entropy: u64) {
        let listed: Vec<Slot> = view.iter().map(|row| row.slot).collect();
        if listed == self.listed {
            return;
        }
        self.order = if self.shuffle { shuffled(view, entropy) } else { listed.clone() };
        self.listed = listed;
        match self.phase {
            Phase::Idle => {}
            Phase::Selected(slot) if self.order.contains(&slot) => {}
            Phase::New | Phase::Selected(_) | Phase::Pass { .. } => self.begin_pass(now),
        }
    }

    fn begin_pass(&mut self, now: Instant) {
        self.phase = Phase::Pass { at: 0, next_at: now + ATTEMPT_DELAY };
    }

    /// Follows what happened to the subchannels.
    fn advance(&mut self, now: Instant, rows: &[&SubchannelView]) {
        let used = |slot| rows.iter().find(|row| row.slot == slot && row.state == Ready);
        let selected = if let Phase::Selected(slot) = self.phase { used(slot) } else { None };
        if let Some(row) = selected.or_else(|| rows.iter().find(|row| row.state == Ready)) {
            self.phase = Phase::Selected(row.slot);
            self.failed = false;
            return;
        }
        match self.phase {
            Phase::Selected(slot) if rows.iter().any(|row| row.slot == slot && row.state == Idle) => self.phase = Phase::Idle,
            Phase::Selected(_) => self.begin_pass(now),
            // Somebody's call asked for a connection.
            Phase::Idle if rows.iter().any(|row| row.state != Idle) => self.begin_pass(now),
            Phase::New | Phase::Idle | Phase::Pass { .. } => {}
        }
        if let Phase::Pass { at, next_at } = &mut self.phase {
            while rows.get(*at).is_some_and(|row| row.state == TransientFailure || (now >= *next_at && *at + 1 < rows.len())) {
                *at += 1;
                *next_at = now + ATTEMPT_DELAY;
            }
            self.failed |= rows.iter().all(|row| row.state == TransientFailure);
        }
    }

    /// Says what is to be connected, and what to answer calls.
    fn decide(&self, rows: &[&SubchannelView], plan: &mut Plan) -> LbState {
        match self.phase {
            Phase::Selected(slot) => {
                // Not asked for: once lost it is to stay so until a call comes. The others made way.
                let others = || rows.iter().filter(|row| row.slot != slot);
                plan.disconnect.extend(others().filter(|row| !matches!(row.state, Idle | Shutdown)).map(|row| row.slot));
                let others = others().map(|row| row.slot).collect();
                LbState::new(Ready, Arc::new(Chosen { slot, others }))
            }
            Phase::New | Phase::Idle => LbState::new(Idle, Arc::new(Always(PickResult::Connect(rows[0].slot)))),
            Phase::Pass { at, next_at } => {
                let tried = rows.len().min(at + 1);
                plan.connect.extend(rows[..tried].iter().map(|row| row.slot));
                if tried < rows.len() {
                    plan.wake_at(next_at);
                }
                self.not_ready(rows)
            }
        }
    }

    fn not_ready(&self, rows: &[&SubchannelView]) -> LbState {
        match &self.last_error {
            Some(error) if self.failed => LbState::new(TransientFailure, Always::fail(error.message.as_str())),
            _ => LbState::new(Connecting, Arc::new(NotReady::waiting(rows.iter().map(|row| Unready::of(row)).collect()))),
        }
    }

    /// Keeps the newest error: the one that was not there at the last look.
    fn note_errors(&mut self, rows: &[&SubchannelView]) {
        let failed = || rows.iter().filter(|row| row.state == TransientFailure);
        let known = self.last_error.as_ref().map_or(&[][..], |error| &error.reasons);
        let is_new =
            |row: &&&SubchannelView| row.error.as_ref().is_none_or(|error| !known.iter().any(|old| Arc::ptr_eq(old, error)));
        let newest = failed().rfind(is_new).map(|row| Unready::of(row).reason());
        let reasons = failed().filter_map(|row| row.error.clone()).collect();
        let message = newest.or_else(|| self.last_error.take().map(|error| error.message));
        self.last_error = message.map(|message| Error { reasons, message });
    }
}

impl Policy for PickFirst {
    fn rebuild(&mut self, now: Instant, view: &[SubchannelView], plan: &mut Plan) -> LbState {
        if view.is_empty() {
            // A list that comes after none is tried like the first one.
            *self = Self { shuffle: self.shuffle, ..Self::default() };
            return LbState::new(TransientFailure, Always::fail("there are no endpoints"));
        }
        let view = &*passing_over(now, view, plan);
        self.take_list(now, view, plan.entropy);
        let rows = in_order(&self.order, view);
        self.note_errors(&rows);
        self.advance(now, &rows);
        self.decide(&rows, plan)
    }
}

/// The view with those in TRANSIENT_FAILURE whose circuit breaker is open. If all are, none: then the breakers say why calls fail.
fn passing_over<'v>(now: Instant, view: &'v [SubchannelView], plan: &mut Plan) -> Cow<'v, [SubchannelView]> {
    let open: Vec<Option<Refusal>> = view.iter().map(|row| breaker_open(now, row)).collect();
    if open.iter().all(Option::is_none) || open.iter().all(Option::is_some) {
        return Cow::Borrowed(view);
    }
    let mut view = view.to_vec();
    for (row, refusal) in view.iter_mut().zip(open) {
        let Some(refusal) = refusal else { continue };
        refusal.until.into_iter().for_each(|until| plan.wake_at(until));
        row.state = TransientFailure;
        row.error = Some(refusal.reason.to_string().into());
    }
    Cow::Owned(view)
}

/// The rows of `view` in this order of slots, which are the same slots.
fn in_order<'a>(order: &[Slot], view: &'a [SubchannelView]) -> Vec<&'a SubchannelView> {
    let mut rows: Vec<(usize, &SubchannelView)> = Vec::with_capacity(view.len());
    let mut rank: Vec<(Slot, usize)> = order.iter().copied().zip(0..).collect();
    rank.sort_unstable();
    for row in view {
        if let Ok(found) = rank.binary_search_by_key(&row.slot, |(slot, _)| *slot) {
            rows.push((rank[found].1, row));
        }
    }
    rows.sort_unstable_by_key(|(rank, _)| *rank);
    rows.into_iter().map(|(_, row)| row).collect()
}

/// Sorted by `u^(1/w)`, largest first, with `u` uniform in (0, 1] for each: by `ln(u)/w`, which does not underflow.
fn shuffled(view: &[SubchannelView], entropy: u64) -> Vec<Slot> {
    let mut random = Scratch::new(entropy);
    let mut keyed: Vec<(f64, f64, Slot)> = view
        .iter()
        .map(|row| {
            let log = (((random.random() >> 11) + 1) as f64 / (1_u64 << 53) as f64).ln();
            // Weight 0 makes minus infinity; those fall back to the second key.
            (if row.weight == 0 { f64::NEG_INFINITY } else { log / f64::from(row.weight) }, log, row.slot)
        })
        .collect();
    keyed.sort_unstable_by(|one, other| other.0.total_cmp(&one.0).then(other.1.total_cmp(&one.1)));
    keyed.into_iter().map(|(_, _, slot)| slot).collect()
}

/// One endpoint for every call.
#[derive(Debug)]
struct Chosen {
    slot: Slot,
    others: Box<[Slot]>,
}

impl Picker for Chosen {
    #[inline]
    fn pick(&self, _args: &mut PickArgs<'_>) -> PickResult {
        PickResult::Pick(self.slot)
    }

    fn restrict(&self, keep: &dyn Fn(Slot) -> bool) -> Arc<dyn Picker> {
        if keep(self.slot) {
            return Arc::new(Self { slot: self.slot, others: self.others.iter().copied().filter(|slot| keep(*slot)).collect() });
        }
        // Connecting another one only for this call would be undone at once: pick_first keeps one connection.
        Arc::new(Always(PickResult::Fail(PickError::new("pick_first uses an endpoint that the call's restrictions exclude"))))
    }

    fn explain(&self, _args: &mut PickArgs<'_>) -> Vec<Score> {
        let others = self.others.iter().map(|slot| Score::new(*slot, 0.0, "another endpoint answered first"));
        [Score::new(self.slot, 1.0, "the first that answered")].into_iter().chain(others).collect()
    }
}

#[cfg(test)]
mod tests;
