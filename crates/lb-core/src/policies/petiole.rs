//! What the policies share that keep a connection to every endpoint and choose among the READY ones.
//!
//! gRPC calls such a policy a petiole. Its state is READY if any endpoint is READY; else CONNECTING if any is CONNECTING or IDLE,
//! and calls wait; else TRANSIENT_FAILURE, and calls fail with the real error of one endpoint, each in turn.
//!
//! Source: gRFC A61 (endpoint sharding, aggregation).

use std::sync::Arc;

use crate::connectivity::ConnectivityState;
use crate::endpoint::Endpoint;
use crate::pick::{Always, PickArgs, PickError, PickResult, Picker, Score};
use crate::policy::{LbState, Plan, SubchannelView};
use crate::scratch::Sequence;
use crate::slot::Slot;

/// How often a picker draws again when it drew an endpoint that was tried before, until it takes the next one that was not. Drawing
/// keeps the policy's proportions among the others; with half of the endpoints tried, four draws miss one time in 32.
const REDRAWS: usize = 4;

/// Asks for a connection to every endpoint, and builds the picker from the READY ones (never none) and the others.
pub(super) fn spread(
    view: &[SubchannelView],
    plan: &mut Plan,
    build: impl FnOnce(&[&SubchannelView], NotReady) -> Arc<dyn Picker>,
) -> LbState {
    plan.connect.extend(view.iter().map(|row| row.slot));
    if view.is_empty() {
        return LbState::new(ConnectivityState::TransientFailure, Always::fail("there are no endpoints"));
    }
    let (ready, others): (Vec<_>, Vec<_>) = view.iter().partition(|row| row.state == ConnectivityState::Ready);
    let others = NotReady::new(others.into_iter().map(Unready::of).collect());
    match ready.as_slice() {
        [] => LbState::new(others.state, Arc::new(others)),
        ready => LbState::new(ConnectivityState::Ready, build(ready, others)),
    }
}

/// Where a sequence of turns begins: anywhere, so that many channels do not begin at the same endpoint, but within 32 bits, where
/// division is fast.
pub(super) fn sequence(plan: &Plan) -> Arc<Sequence> {
    Sequence::new(plan.entropy >> 33)
}

/// A row of a picker's table.
pub(super) trait HasSlot {
    fn slot(&self) -> Slot;
}

impl HasSlot for Slot {
    #[inline]
    fn slot(&self) -> Slot {
        *self
    }
}

/// Draws an index into `rows` whose slot was not tried before; if all were, any.
#[inline]
pub(super) fn draw_untried<R: HasSlot>(rows: &[R], tried: &[Slot], draw: impl FnMut() -> usize) -> Slot {
    rows[draw_untried_at(rows, tried, draw)].slot()
}

/// The same, as an index.
#[inline]
pub(super) fn draw_untried_at<R: HasSlot>(rows: &[R], tried: &[Slot], mut draw: impl FnMut() -> usize) -> usize {
    let index = draw();
    if tried.is_empty() || !tried.contains(&rows[index].slot()) { index } else { draw_again(rows, tried, draw) }
}

#[cold]
fn draw_again<R: HasSlot>(rows: &[R], tried: &[Slot], mut draw: impl FnMut() -> usize) -> usize {
    let mut index = 0;
    for _ in 0..REDRAWS {
        index = draw();
        if !tried.contains(&rows[index].slot()) {
            return index;
        }
    }
    // Among one row more than were tried is one that was not, if there is one at all.
    let mut following = (0..rows.len()).cycle().skip(index).take(tried.len() + 1);
    following.find(|index| !tried.contains(&rows[*index].slot())).unwrap_or(index)
}

/// The endpoints that are not READY: the whole picker while none is, and what a READY picker falls back to when a call restricts
/// it to these.
#[derive(Debug)]
pub(super) struct NotReady {
    rows: Box<[Unready]>,
    /// TRANSIENT_FAILURE or CONNECTING.
    state: ConnectivityState,
    /// Where among the errors the next failing call is.
    errors: Arc<Sequence>,
}

#[derive(Debug, Clone)]
pub(super) struct Unready {
    slot: Slot,
    state: ConnectivityState,
    endpoint: Arc<Endpoint>,
    error: Option<Arc<str>>,
}

impl Unready {
    pub(super) fn of(row: &SubchannelView) -> Self {
        Self { slot: row.slot, state: row.state, endpoint: row.endpoint.clone(), error: row.error.clone() }
    }

    /// For people: which endpoint and what is wrong with it.
    pub(super) fn reason(&self) -> String {
        match &self.error {
            // A connector's error names the address itself.
            Some(error) if error.starts_with(self.endpoint.key().as_str()) => format!("endpoint {error}"),
            Some(error) => format!("endpoint {}: {error}", self.endpoint),
            None => format!("endpoint {} is {}", self.endpoint, self.state),
        }
    }
}

impl NotReady {
    pub(super) fn new(rows: Box<[Unready]>) -> Self {
        let state = ConnectivityState::aggregate(rows.iter().map(|row| row.state));
        Self { rows, state, errors: Sequence::new(0) }
    }

    /// All of them waiting, whatever they are: the next one may answer.
    pub(super) fn waiting(rows: Box<[Unready]>) -> Self {
        Self { state: ConnectivityState::Connecting, ..Self::new(rows) }
    }

    /// Those that `keep` accepts.
    pub(super) fn restricted(&self, keep: &dyn Fn(Slot) -> bool) -> Self {
        Self::new(self.rows.iter().filter(|row| keep(row.slot)).cloned().collect())
    }
}

impl Picker for NotReady {
    fn pick(&self, args: &mut PickArgs<'_>) -> PickResult {
        match (self.state, self.rows.len() as u64) {
            (_, 0) => PickResult::Fail(PickError::new("no endpoint passes the call's restrictions")),
            (ConnectivityState::TransientFailure, rows) => {
                let row = &self.rows[(args.scratch.turn(&self.errors) % rows) as usize];
                PickResult::Fail(PickError::new(row.reason()))
            }
            _ => PickResult::Queue,
        }
    }

    fn restrict(&self, keep: &dyn Fn(Slot) -> bool) -> Arc<dyn Picker> {
        Arc::new(self.restricted(keep))
    }

    fn explain(&self, _args: &mut PickArgs<'_>) -> Vec<Score> {
        self.rows.iter().map(|row| Score::new(row.slot, 0.0, row.reason())).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connectivity::ConnectivityState::{Connecting, Idle, Ready, TransientFailure};
    use crate::policies::testing::{Caller, slot, view};

    fn state_of(states: &[ConnectivityState]) -> ConnectivityState {
        spread(&view(states), &mut Plan::default(), |_, others| Arc::new(others)).state
    }

    #[test]
    fn every_endpoint_is_wanted_and_states_are_aggregated() {
        for (states, expected) in [
            (&[Ready, TransientFailure, Idle][..], Ready),
            (&[TransientFailure, Idle], Connecting),
            (&[TransientFailure, TransientFailure], TransientFailure),
            (&[], TransientFailure),
        ] {
            assert_eq!(state_of(states), expected, "{states:?}");
        }
        let mut plan = Plan::default();
        let _ = spread(&view(&[Ready, TransientFailure, Idle]), &mut plan, |_, others| Arc::new(others));
        assert_eq!(plan.connect, [slot(0), slot(1), slot(2)]);
    }

    #[test]
    fn failing_calls_see_the_errors_of_the_endpoints_in_turn() {
        let picker = spread(&view(&[TransientFailure; 3]), &mut Plan::default(), |_, others| Arc::new(others)).picker;
        let mut caller = Caller::new(1);
        let errors: Vec<String> = (0..4).map(|_| caller.error(&*picker)).collect();
        assert_eq!(errors[0], "endpoint 10.0.0.0:1: refused by 0");
        assert!(errors[1].ends_with("refused by 1") && errors[2].ends_with("refused by 2"), "{errors:?}");
        assert_eq!(errors[3], errors[0]);
    }

    #[test]
    fn a_restriction_to_endpoints_that_are_not_ready_waits_or_fails_as_they_do() {
        let picker = spread(&view(&[Connecting, TransientFailure]), &mut Plan::default(), |_, others| Arc::new(others)).picker;
        let mut caller = Caller::new(1);
        assert!(matches!(caller.pick(&*picker), PickResult::Queue));
        assert!(matches!(caller.pick(&*picker.restrict(&|s| s == slot(0))), PickResult::Queue));
        assert!(caller.error(&*picker.restrict(&|s| s == slot(1))).ends_with("refused by 1"));
        assert!(caller.error(&*picker.restrict(&|_| false)).contains("restrictions"));
    }

    #[test]
    fn drawing_avoids_what_was_tried_while_there_are_others() {
        let slots: Vec<Slot> = (0..4).map(slot).collect();
        let tried = [slot(1), slot(2), slot(3), slot(1)];
        // A draw that always hits a tried one makes the walk find the only other.
        assert_eq!(draw_untried(&slots, &tried, || 1), slot(0));
        assert_eq!(draw_untried(&slots, &[], || 1), slot(1));
        assert_eq!(draw_untried(&slots[1..2], &tried, || 0), slot(1), "all tried: any");
    }
}
