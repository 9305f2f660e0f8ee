//! How loaded endpoints are, looked at once a second while somebody wants to hear of it.
//!
//! Load changes with every call; telling each change would cost calls time and flood who listens. So the driver looks: where an endpoint's
//! load is another than was told last by [`STEP`] or more it tells ([`LbEvent::LoadUpdated`]), and where it has crossed a limit
//! ([`LbEvent::Overloaded`]). Limits lie apart, so that a load between them changes nothing. At most [`MOST`] endpoints are told of in one
//! look; whoever is left out is told in the next, unless it has changed back.
//!
//! **Bound.** Linear in the endpoints, some ten nanoseconds each; 24 bytes for each whose load is known. With nobody listening and no
//! scaling signal nothing runs.

use std::collections::HashMap;
use std::time::Duration;

use lb_core::advice::{Limits, Load, ScalingSignal};
use lb_core::{LbEvent, Slot, Snapshot};
use tokio::time::Instant;

use crate::stats::ScalingStatus;

const PERIOD: Duration = Duration::from_secs(1);

/// In per cent of the capacity: less is noise.
const STEP: u32 = 5;

/// Events a second of each kind at most.
const MOST: usize = 64;

/// What is looked at, and what was told.
#[derive(Debug)]
pub(crate) struct Loads {
    limits: Limits,
    scaling: Option<ScalingSignal>,
    told: HashMap<Slot, Told>,
    /// Where the next look begins, so that nobody is left out for ever.
    first: usize,
    began: Instant,
    next: Option<Instant>,
    advised: Option<u32>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Told {
    percent: u32,
    overloaded: bool,
}

impl Loads {
    pub(crate) fn new(limits: Limits, scaling: Option<ScalingSignal>) -> Self {
        Self { limits, scaling, told: HashMap::new(), first: 0, began: Instant::now(), next: None, advised: None }
    }

    /// Somebody may want to hear, or the channel has left IDLE.
    pub(super) fn begin(&mut self) {
        self.next.get_or_insert_with(|| Instant::now() + PERIOD);
    }

    /// Nobody does any more, or the channel is IDLE.
    pub(super) fn end(&mut self) {
        self.next = None;
        self.told.clear();
    }

    pub(super) fn next(&self) -> Option<Instant> {
        self.next
    }

    /// Whether it has to look even if nobody listens.
    pub(super) fn is_wanted(&self) -> bool {
        self.scaling.is_some()
    }

    /// Looks at the endpoints and says what is news.
    pub(super) fn look(&mut self, snapshot: &Snapshot, now: Instant) -> Vec<LbEvent> {
        self.next = Some(now + PERIOD);
        let (mut events, mut overloads) = (Vec::new(), Vec::new());
        let (mut known, count) = (0, snapshot.rows.len());
        let begin = self.first.checked_rem(count).unwrap_or(0);
        for at in (begin..count).chain(0..begin) {
            let row = &snapshot.rows[at];
            let Some(load) = row.load() else { continue };
            known += 1;
            let (percent, key) = (percent(load), row.view.endpoint.key());
            let told = self.told.entry(row.view.slot).or_default();
            if told.percent.abs_diff(percent) >= STEP && events.len() < MOST {
                told.percent = percent;
                events.push(LbEvent::LoadUpdated { endpoint: key.clone(), percent });
                self.first = at + 1;
            }
            let overloaded = self.limits.is_overload(load, told.overloaded);
            if overloaded != told.overloaded && overloads.len() < MOST {
                told.overloaded = overloaded;
                overloads.push(LbEvent::Overloaded { endpoint: key.clone(), overloaded, percent });
            }
        }
        if self.told.len() > known {
            self.forget(snapshot);
        }
        events.append(&mut overloads);
        events
    }

    /// Those that are listed no more, or whose load is not known any more.
    fn forget(&mut self, snapshot: &Snapshot) {
        let known: HashMap<Slot, ()> =
            snapshot.rows.iter().filter(|row| row.load().is_some()).map(|row| (row.view.slot, ())).collect();
        self.told.retain(|slot, _| known.contains_key(slot));
    }

    /// Asks the scaling signal, if there is one.
    pub(super) fn scale(&mut self, snapshot: &Snapshot, now: Instant) -> Option<(ScalingStatus, Option<LbEvent>)> {
        let signal = self.scaling.as_mut()?;
        let loads: Vec<Load> = snapshot.rows.iter().map(Load::of).collect();
        let advice = signal.observe(now.saturating_duration_since(self.began), &loads);
        let current = loads.iter().filter(|load| load.healthy).count() as u32;
        self.advised = advice.as_ref().map(|advice| advice.desired).or(self.advised).filter(|desired| *desired != current);
        let shares: Vec<f64> = loads.iter().filter(|load| load.healthy).filter_map(Load::share).collect();
        let load = (!shares.is_empty()).then(|| shares.iter().sum::<f64>() / shares.len() as f64);
        let status = ScalingStatus { current, desired: self.advised.unwrap_or(current), load };
        Some((status, advice.map(|advice| advice.event())))
    }
}

/// Whole per cent; absurd loads are the largest number.
fn percent(load: f64) -> u32 {
    (load * 100.0).round() as u32
}

/// At most [`MOST`] events a second of a kind that calls cause; what is beyond is not told.
#[derive(Debug, Default)]
pub(super) struct Pace {
    since: Option<Instant>,
    told: usize,
}

impl Pace {
    pub(super) fn allows(&mut self, now: Instant) -> bool {
        if self.since.is_none_or(|since| now.saturating_duration_since(since) >= PERIOD) {
            (self.since, self.told) = (Some(now), 0);
        }
        self.told += 1;
        self.told <= MOST
    }
}
