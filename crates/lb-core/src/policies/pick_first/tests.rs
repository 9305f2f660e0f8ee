use std::mem;

use serde_json::json;

use super::*;
use crate::connectivity::ConnectivityState;
use crate::gate::{Entry, Gate, Gates};
use crate::policies::testing::{Caller, ready, slot, start, view, weighted};

/// A policy, its view and a clock: what the machine would hold.
struct World {
    policy: PickFirst,
    view: Vec<SubchannelView>,
    now: Instant,
    plan: Plan,
}

impl World {
    fn new(endpoints: usize) -> Self {
        Self { policy: PickFirst::default(), view: view(&vec![Idle; endpoints]), now: start(), plan: Plan::default() }
    }

    fn set(&mut self, index: usize, state: ConnectivityState) {
        self.view[index].state = state;
        self.view[index].error = (state == TransientFailure).then(|| format!("refused by {index}").into());
    }

    /// Rebuilds, and lets what is wanted and IDLE connect.
    fn settle(&mut self) -> LbState {
        loop {
            self.plan = Plan::default();
            let state = self.policy.rebuild(self.now, &self.view, &mut self.plan);
            let idle = |row: &&mut SubchannelView| row.state == Idle && self.plan.connect.contains(&row.slot);
            let starting: Vec<_> = self.view.iter_mut().filter(idle).map(|row| row.state = Connecting).collect();
            if starting.is_empty() {
                return state;
            }
        }
    }

    fn after(&mut self, ms: u64) -> LbState {
        self.now += Duration::from_millis(ms);
        self.settle()
    }

    fn states(&self) -> Vec<ConnectivityState> {
        self.view.iter().map(|row| row.state).collect()
    }
}

#[test]
fn configuration() {
    let shuffle = |config| PickFirst::from_config(&config).map(|policy| policy.shuffle);
    assert_eq!(shuffle(json!({})), Ok(false));
    assert_eq!(shuffle(json!({"shuffleAddressList": false, "unknown": 1})), Ok(false));
    assert_eq!(shuffle(json!({"shuffleAddressList": true})), Ok(true));
    let error = shuffle(json!({"shuffleAddressList": "unknown"})).unwrap_err();
    assert_eq!(error.to_string(), "pick_first.shuffleAddressList is \"unknown\", allowed is true or false");
}

#[test]
fn the_first_of_two_serves_and_the_second_is_never_tried() {
    let mut world = World::new(2);
    assert_eq!(world.settle().state, Connecting);
    assert_eq!(world.states(), [Connecting, Idle]);
    world.set(0, Ready);
    let state = world.settle();
    assert_eq!(state.state, Ready);
    assert_eq!(Caller::new(1).slot(&*state.picker), slot(0));
    assert_eq!((world.states(), &world.plan.connect[..], world.plan.wake_at), (vec![Ready, Idle], &[][..], None));
}

#[test]
fn a_failure_advances_at_once_and_only_its_own() {
    let mut world = World::new(3);
    world.settle();
    world.set(0, TransientFailure);
    world.settle();
    assert_eq!(world.states(), [TransientFailure, Connecting, Idle]);
    assert_eq!(world.plan.wake_at, Some(world.now + ATTEMPT_DELAY));
    // Seeing the same failure again advances nothing.
    world.after(100);
    assert_eq!(world.states(), [TransientFailure, Connecting, Idle]);
}

#[test]
fn attempts_that_hang_are_joined_every_250_ms_and_the_last_has_no_timer() {
    let mut world = World::new(3);
    world.settle();
    assert_eq!(world.plan.wake_at, Some(world.now + ATTEMPT_DELAY));
    world.after(249);
    assert_eq!(world.states(), [Connecting, Idle, Idle]);
    world.after(1);
    assert_eq!(world.states(), [Connecting, Connecting, Idle]);
    world.after(250);
    assert_eq!((world.states(), world.plan.wake_at), (vec![Connecting; 3], None));
    // The last one fails first: not over yet.
    world.set(2, TransientFailure);
    assert_eq!(world.settle().state, Connecting);
    world.set(0, TransientFailure);
    assert_eq!(world.settle().state, Connecting);
    world.set(1, TransientFailure);
    assert_eq!(world.settle().state, TransientFailure);
}

#[test]
fn the_winner_makes_the_others_go() {
    let mut world = World::new(3);
    world.settle();
    world.after(250);
    world.set(0, Ready);
    let state = world.after(50);
    assert_eq!(Caller::new(1).slot(&*state.picker), slot(0));
    assert_eq!(world.plan.disconnect, [slot(1)]);
    let restricted = state.picker.restrict(&|s| s == slot(1));
    assert!(Caller::new(1).error(&*restricted).contains("exclude"));
    assert_eq!(Caller::new(1).slot(&*state.picker.restrict(&|s| s == slot(0))), slot(0));
    assert_eq!(Caller::new(1).explain(&*state.picker).len(), 3);
}

#[test]
fn two_that_answer_at_once_are_one_winner() {
    let mut world = World::new(2);
    world.settle();
    world.after(250);
    world.set(0, Ready);
    world.set(1, Ready);
    assert_eq!(Caller::new(1).slot(&*world.settle().picker), slot(0));
    assert_eq!(world.plan.disconnect, [slot(1)]);
}

#[test]
fn failure_sticks_until_ready_and_shows_the_newest_error() {
    let mut world = World::new(2);
    world.settle();
    world.set(0, TransientFailure);
    world.settle();
    world.set(1, TransientFailure);
    let state = world.settle();
    assert_eq!(Caller::new(1).error(&*state.picker), "endpoint 10.0.0.1:1: refused by 1");
    assert_eq!(world.plan.connect, [slot(0), slot(1)], "both are tried for ever");
    // A later failure of the first one is news; the machine shows TRANSIENT_FAILURE throughout.
    world.set(0, TransientFailure);
    let state = world.after(1000);
    assert_eq!(
        (state.state, Caller::new(1).error(&*state.picker).as_str()),
        (TransientFailure, "endpoint 10.0.0.0:1: refused by 0")
    );
    world.set(1, Ready);
    assert_eq!(world.settle().state, Ready);
    assert_eq!(world.plan.disconnect, [slot(0)]);
}

#[test]
fn a_new_list_while_failing_is_tried_and_failure_still_shown() {
    let mut world = World::new(1);
    world.settle();
    world.set(0, TransientFailure);
    world.settle();
    world.view.extend(view(&[Idle; 3]).split_off(1));
    assert_eq!(world.settle().state, TransientFailure);
    assert_eq!(world.states(), [TransientFailure, Connecting, Idle]);
}

#[test]
fn a_lost_connection_means_idle_until_a_call_and_then_the_first_again() {
    let mut world = World::new(2);
    world.settle();
    world.set(0, TransientFailure);
    world.settle();
    world.set(1, Ready);
    world.settle();
    // The machine forgets failures of those it lets go.
    world.set(0, Idle);
    world.set(1, Idle);
    let state = world.settle();
    assert_eq!((state.state, world.states()), (Idle, vec![Idle, Idle]));
    let PickResult::Connect(asked) = Caller::new(1).pick(&*state.picker) else { panic!("{:?}", state.picker) };
    assert_eq!(asked, slot(0));
    world.set(0, Connecting);
    assert_eq!(world.settle().state, Connecting);
    assert_eq!(world.plan.wake_at, Some(world.now + ATTEMPT_DELAY));
}

#[test]
fn a_list_that_keeps_the_selected_one_changes_nothing() {
    let mut world = World::new(3);
    world.settle();
    world.set(0, Ready);
    world.settle();
    world.view.rotate_left(1);
    world.view.truncate(3);
    let state = world.settle();
    assert_eq!((state.state, Caller::new(1).slot(&*state.picker)), (Ready, slot(0)));
    assert!(world.plan.connect.is_empty() && world.plan.disconnect.is_empty());
}

#[test]
fn a_list_without_the_selected_one_is_tried_from_the_start() {
    let mut world = World::new(3);
    world.settle();
    world.set(0, Ready);
    world.settle();
    world.view.remove(0);
    assert_eq!(world.settle().state, Connecting);
    assert_eq!(world.states(), [Connecting, Idle]);
}

#[test]
fn a_new_list_while_idle_leaves_it_idle() {
    let mut world = World::new(2);
    world.settle();
    world.set(0, Ready);
    world.settle();
    world.set(0, Idle);
    world.settle();
    world.view.remove(0);
    let state = world.settle();
    assert_eq!((state.state, world.states()), (Idle, vec![Idle]));
    assert!(matches!(Caller::new(1).pick(&*state.picker), PickResult::Connect(asked) if asked == slot(1)));
}

#[test]
fn no_endpoints_is_failure_and_the_next_list_is_tried_afresh() {
    let mut world = World::new(1);
    world.settle();
    world.set(0, TransientFailure);
    world.settle();
    let saved = mem::take(&mut world.view);
    let state = world.settle();
    assert_eq!(state.state, TransientFailure);
    assert!(Caller::new(1).error(&*state.picker).contains("no endpoints"));
    world.view = saved;
    world.set(0, Idle);
    assert_eq!(world.settle().state, Connecting);
}

#[test]
fn an_unhealthy_selection_is_left_for_the_next_and_kept_connected() {
    let mut world = World::new(2);
    world.settle();
    world.set(0, Ready);
    world.settle();
    world.set(0, TransientFailure);
    assert_eq!(world.settle().state, Connecting);
    assert_eq!(world.states(), [TransientFailure, Connecting]);
    assert!(world.plan.disconnect.is_empty());
    world.set(0, Ready);
    assert_eq!(Caller::new(1).slot(&*world.settle().picker), slot(0));
}

#[test]
fn shuffling_happens_once_per_list() {
    let mut policy = PickFirst::default().shuffled();
    let view = view(&[Idle; 50]);
    let mut firsts = Vec::new();
    for entropy in 0..5 {
        let mut plan = Plan::new(entropy);
        policy.rebuild(start(), &view, &mut plan);
        firsts.push(plan.connect[0]);
    }
    assert!(firsts.iter().all(|first| *first == firsts[0]), "{firsts:?}");
    assert_ne!(shuffled(&view, 1), shuffled(&view, 2));
}

#[test]
fn shuffling_follows_weights() {
    let heavy_first = (0..1000).filter(|entropy| shuffled(&weighted(&[1, 1_000_000_000]), *entropy)[0] == slot(1)).count();
    assert_eq!(heavy_first, 1000);
    let mut firsts = [0_usize; 4];
    for entropy in 0..12_000 {
        let order = shuffled(&weighted(&[1, 2, 3, 0]), entropy);
        firsts[order[0].index()] += 1;
        assert_eq!(order[3], slot(3), "weight 0 comes last");
    }
    // Shares 1/6, 2/6, 3/6 of 12 000; five sigma of a binomial are at most 274.
    for (count, expected) in firsts.iter().zip([2000, 4000, 6000, 0]) {
        assert!(count.abs_diff(expected) < 274, "{firsts:?}");
    }
    let zeros: std::collections::BTreeSet<Slot> = (0..100).map(|entropy| shuffled(&weighted(&[0; 4]), entropy)[0]).collect();
    assert_eq!(zeros.len(), 4, "all of weight 0 are shuffled evenly");
    assert_eq!(shuffled(&ready(0), 1), []);
}

/// A breaker that is open until then.
#[derive(Debug)]
struct OpenUntil(Instant);

impl Gate for OpenUntil {
    fn enter(&self, entry: &Entry<'_>) -> Result<u64, Refusal> {
        self.refusal(entry).map_or(Ok(0), Err)
    }
    fn left(&self, _token: u64, _done: &crate::Done<'_>) {}
    fn unused(&self, _token: u64) {}
    fn refusal(&self, entry: &Entry<'_>) -> Option<Refusal> {
        (entry.now < self.0).then(|| Refusal::breaker_open(Some(self.0)))
    }
}

#[test]
fn an_endpoint_whose_breaker_is_open_is_passed_over_while_another_one_lets_calls_in() {
    let mut world = World::new(2);
    world.settle();
    world.set(0, Ready);
    assert!(matches!(Caller::new(1).pick(&*world.settle().picker), PickResult::Pick(at) if at == slot(0)));
    let trial = world.now + Duration::from_secs(60);
    let open = || {
        let gates: Box<[Arc<dyn Gate>]> = Box::new([Arc::new(OpenUntil(trial))]);
        Some(Arc::new(Gates::new(gates)))
    };
    world.view[0].gates = open();
    world.settle();
    assert_eq!((world.view[1].state, world.plan.wake_at), (Connecting, Some(trial)), "the next one is connected");
    world.set(1, Ready);
    assert!(matches!(Caller::new(1).pick(&*world.settle().picker), PickResult::Pick(at) if at == slot(1)));
    world.view[1].gates = open();
    let all_open = world.settle();
    assert!(matches!(Caller::new(1).pick(&*all_open.picker), PickResult::Pick(_)), "the breakers say why and until when");
    world.view[1].gates = None;
    assert!(matches!(Caller::new(1).pick(&*world.after(61_000).picker), PickResult::Pick(_)));
}
