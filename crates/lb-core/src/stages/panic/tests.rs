use std::sync::Arc;

use serde_json::json;

use super::*;
use crate::connectivity::ConnectivityState::{self, Connecting};
use crate::policies::testing::{self, slot, start};

/// One rule, its clock, and endpoints given as (priority, raw state, whether connected); endpoint `i` is slot `i`.
struct World {
    rule: PanicRule,
    now: Instant,
    rows: Vec<(u32, ConnectivityState, bool)>,
    /// What other stages did: whom they show as failing, and whom they hide.
    ejected: Vec<usize>,
    hidden: Vec<usize>,
    standby: Vec<usize>,
    plan: Plan,
}

const SECOND: Duration = Duration::from_secs(1);

impl World {
    fn new(config: PanicConfig, rows: &[(u32, ConnectivityState, bool)]) -> Self {
        let rule = PanicRule::new(config);
        let (ejected, hidden, standby) = Default::default();
        Self { rule, now: start(), rows: rows.to_vec(), ejected, hidden, standby, plan: Plan::default() }
    }

    /// So many connected endpoints of one group.
    fn ready(count: usize, config: PanicConfig) -> Self {
        Self::new(config, &vec![(0, Ready, true); count])
    }

    fn offered(&self) -> Vec<SubchannelView> {
        let states: Vec<_> = self.rows.iter().map(|(_, state, _)| *state).collect();
        let mut offered = testing::view(&states);
        for (row, (priority, _, connected)) in offered.iter_mut().zip(&self.rows) {
            row.connected = *connected;
            Arc::make_mut(&mut row.endpoint).attributes.priority = *priority;
        }
        offered
    }

    /// Who is shown READY, after `priority` was chosen by other stages.
    fn ready_of(&mut self, priority: u32) -> Vec<usize> {
        let offered = self.offered();
        let mut view = offered.clone();
        view.retain(|row| {
            let index = row.slot.index();
            self.rows[index].0 == priority && !self.hidden.contains(&index) && !self.standby.contains(&index)
        });
        for row in view.iter_mut().filter(|row| self.ejected.contains(&row.slot.index())) {
            row.state = TransientFailure;
        }
        self.plan = Plan::default();
        let standby = self.standby.clone();
        self.rule.apply(self.now, &offered, &|slot| standby.contains(&slot.index()), &mut view, &mut self.plan);
        view.iter().filter(|row| row.state == Ready).map(|row| row.slot.index()).collect()
    }

    fn told(&self) -> Vec<String> {
        self.plan.events.iter().map(ToString::to_string).collect()
    }
}

#[test]
fn config_table() {
    let read = |json| PanicConfig::from_json(&json);
    assert_eq!(read(json!({"x": 1})), Ok(PanicConfig::default()));
    assert!(!PanicRule::new(PanicConfig::default()).is_on());
    assert_eq!(
        read(json!({"healthyPanicThreshold": 50, "leaveAfter": "0s"})),
        Ok(PanicConfig::below(50).leave_after(Duration::ZERO))
    );
    for (json, field) in [
        (json!({"healthyPanicThreshold": 101}), "panic.healthyPanicThreshold"),
        (json!({"healthyPanicThreshold": "half"}), "panic.healthyPanicThreshold"),
        (json!({"leaveAfter": 1}), "panic.leaveAfter"),
        (json!({"leaveAfter": "2592001s"}), "panic.leaveAfter"),
    ] {
        assert_eq!(read(json.clone()).unwrap_err().field, field, "{json}");
    }
}

#[test]
fn below_the_threshold_all_that_have_a_connection_take_calls_and_it_is_said() {
    let mut world = World::ready(5, PanicConfig::below(50));
    world.ejected = vec![0, 1];
    assert_eq!(world.ready_of(0), [2, 3, 4], "three of five are enough");
    // One more, by another opinion, and one without a connection.
    world.ejected = vec![0];
    world.hidden = vec![1];
    world.rows[2] = (0, TransientFailure, false);
    assert_eq!(world.ready_of(0), [0, 1, 3, 4]);
    assert_eq!(world.told(), ["only 2 of 5 endpoints of priority 0 are eligible: all are used"]);
    let state = world.rule.state().unwrap();
    assert_eq!((state.eligible, state.of, state.restored, state.since), (2, 5, 2, world.now));
    world.ready_of(0);
    assert!(world.told().is_empty(), "told once");
}

#[test]
fn exactly_the_threshold_is_enough_and_hundred_per_cent_means_everybody() {
    let mut world = World::ready(4, PanicConfig::below(50));
    world.ejected = vec![0, 1];
    assert_eq!(world.ready_of(0), [2, 3]);
    let mut world = World::ready(4, PanicConfig::below(100));
    world.ejected = vec![0];
    assert_eq!(world.ready_of(0), [0, 1, 2, 3]);
}

#[test]
fn it_calms_down_when_enough_have_been_eligible_for_so_long() {
    let mut world = World::ready(4, PanicConfig::below(50));
    world.ejected = vec![0, 1, 2];
    world.ready_of(0);
    world.ejected = vec![0, 1];
    assert_eq!(world.ready_of(0), [0, 1, 2, 3]);
    assert_eq!(world.plan.wake_at, Some(world.now + 5 * SECOND));
    world.now += 4 * SECOND;
    world.ejected = vec![0, 1, 2];
    world.ready_of(0);
    world.ejected = vec![0, 1];
    world.ready_of(0);
    world.now += 4 * SECOND;
    assert_eq!(world.ready_of(0).len(), 4, "a break begins the wait anew");
    world.now += SECOND;
    assert_eq!(world.ready_of(0), [2, 3]);
    assert_eq!((world.told(), world.rule.state()), (vec!["enough endpoints of priority 0 are eligible again".to_owned()], None));
}

#[test]
fn drained_draining_and_standing_by_stay_out_and_do_not_count() {
    let mut world = World::ready(4, PanicConfig::below(50));
    world.standby = vec![0];
    world.ejected = vec![1, 2];
    assert_eq!(world.ready_of(0), [1, 2, 3], "one of three is eligible");
    assert_eq!(world.rule.state().map(|state| state.of), Some(3));
    let mut rule = PanicRule::new(PanicConfig::below(50));
    let mut offered = testing::ready(2);
    Arc::make_mut(&mut offered[0].endpoint).attributes.health = RegistryHealth::Draining;
    let (mut view, mut plan) = (vec![offered[1].clone()], Plan::default());
    view[0].state = TransientFailure;
    rule.apply(start(), &offered, &|_| false, &mut view, &mut plan);
    assert_eq!(view.iter().map(|row| (row.slot, row.state)).collect::<Vec<_>>(), [(slot(1), Ready)]);
}

#[test]
fn failing_over_comes_before_panicking() {
    let mut world =
        World::new(PanicConfig::below(50), &[(0, TransientFailure, true), (0, TransientFailure, true), (1, Ready, true)]);
    assert_eq!(world.ready_of(1), [2], "the other group serves");
    assert_eq!(world.rule.state(), None);
    // Nobody serves anywhere: the first group with a connection does after all, and the others stay wanted.
    world.rows[2] = (1, TransientFailure, false);
    assert_eq!(world.ready_of(1), [0, 1]);
    assert_eq!(world.plan.connect, [slot(2)]);
    assert_eq!(world.rule.state().map(|state| state.priority), Some(0));
    // The other group is back: the panic is over at once.
    world.rows[2] = (1, Ready, true);
    assert_eq!((world.ready_of(1), world.rule.state()), (vec![2], None));
}

#[test]
fn a_group_that_is_only_connecting_does_not_panic() {
    let mut world = World::new(PanicConfig::below(50), &[(0, Connecting, false), (0, Connecting, false), (0, Idle, false)]);
    assert_eq!((world.ready_of(0), world.rule.state()), (vec![], None));
    world.rows.clear();
    assert_eq!((world.ready_of(0), world.rule.state()), (vec![], None), "nor one without endpoints");
}
