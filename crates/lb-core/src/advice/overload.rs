//! Which endpoints are overloaded, with a distance between becoming so and no longer being so.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::endpoint::EndpointKey;
use crate::event::LbEvent;

use super::load::{Limits, Load};

/// An endpoint became overloaded, or is no longer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct OverloadChange {
    /// Which endpoint.
    pub endpoint: EndpointKey,
    /// Whether it is overloaded now.
    pub overloaded: bool,
    /// Its load as a share of its capacity.
    pub load: f64,
    /// In words.
    pub reason: Arc<str>,
}

/// What changed since the last time, in the order of `loads`.
///
/// `overloaded` is the state: who was overloaded goes in, who is now comes out. Above [`Limits::overload`] an endpoint enters it, below
/// [`Limits::relief`] it leaves it, in between it stays where it is. One whose load is unknown is not overloaded; one that is not listed
/// any more is forgotten without a word.
pub fn detect_overload(limits: &Limits, overloaded: &mut BTreeSet<EndpointKey>, loads: &[Load]) -> Vec<OverloadChange> {
    let before = std::mem::take(overloaded);
    let mut changes = Vec::new();
    for load in loads {
        let share = load.share().unwrap_or(0.0);
        let was = before.contains(&load.endpoint);
        let is = limits.is_overload(share, was);
        if is {
            overloaded.insert(load.endpoint.clone());
        }
        if is != was {
            changes.push(OverloadChange::new(load, share, is, limits));
        }
    }
    changes
}

impl OverloadChange {
    fn new(load: &Load, share: f64, overloaded: bool, limits: &Limits) -> Self {
        let (side, limit) = if overloaded { ("above", limits.overload) } else { ("below", limits.relief) };
        let reason = format!("load {} %, {side} {} %", percent(share), percent(limit));
        Self { endpoint: load.endpoint.clone(), overloaded, load: share, reason: reason.into() }
    }

    /// The same for an [`Observer`](crate::Observer).
    pub fn event(&self) -> LbEvent {
        LbEvent::Overloaded { endpoint: self.endpoint.clone(), overloaded: self.overloaded, percent: percent(self.load) }
    }
}

/// Whole per cent; absurd shares are the largest number.
pub(super) fn percent(share: f64) -> u32 {
    (share * 100.0).round() as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    fn loads(in_flight: u32) -> [Load; 2] {
        let load = |key, in_flight| Load { capacity: Some(100), in_flight, ..Load::new(key) };
        [load("a:1", in_flight), load("b:1", 10)]
    }

    #[test]
    fn a_load_between_the_limits_changes_nothing() {
        let (limits, mut state) = (Limits::default(), BTreeSet::new());
        let mut seen = Vec::new();
        for in_flight in [50, 75, 80, 81, 90, 75, 70, 69, 75, 200] {
            seen.push(detect_overload(&limits, &mut state, &loads(in_flight)).iter().map(|change| change.overloaded).next());
        }
        assert_eq!(seen, [None, None, None, Some(true), None, None, None, Some(false), None, Some(true)]);
        assert_eq!(state, BTreeSet::from(["a:1".into()]));
    }

    #[test]
    fn changes_say_why_and_are_events() {
        let mut state = BTreeSet::new();
        let change = detect_overload(&Limits::default(), &mut state, &loads(85)).remove(0);
        assert_eq!(&*change.reason, "load 85 %, above 80 %");
        assert_eq!(change.event().to_string(), "endpoint a:1 overloaded at 85 %");
        assert!(detect_overload(&Limits::default(), &mut state, &[]).is_empty() && state.is_empty());
    }
}
