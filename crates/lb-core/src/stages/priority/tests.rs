use std::sync::Arc;

use super::*;
use crate::policies::testing::{self, slot, start};
use crate::slot::Slot;

/// One stage, its clock, and endpoints given as (priority, state); endpoint `i` is slot `i`.
struct World {
    stage: PriorityStage,
    now: Instant,
    rows: Vec<(u32, ConnectivityState)>,
    plan: Plan,
}

impl World {
    fn new(rows: &[(u32, ConnectivityState)]) -> Self {
        Self { stage: PriorityStage::default(), now: start(), rows: rows.to_vec(), plan: Plan::default() }
    }

    fn visible(&mut self) -> Vec<u32> {
        let states: Vec<ConnectivityState> = self.rows.iter().map(|(_, state)| *state).collect();
        let mut view = testing::view(&states);
        for (row, (priority, _)) in view.iter_mut().zip(&self.rows) {
            Arc::make_mut(&mut row.endpoint).attributes.priority = *priority;
        }
        self.plan = Plan::default();
        self.stage.apply(self.now, &mut view, &mut self.plan);
        view.iter().map(|row| row.slot.index() as u32).collect()
    }

    fn after(&mut self, time: Duration) -> Vec<u32> {
        self.now += time;
        self.visible()
    }

    fn set(&mut self, states: &[ConnectivityState]) -> Vec<u32> {
        self.rows.iter_mut().zip(states).for_each(|(row, state)| row.1 = *state);
        self.visible()
    }

    fn connect(&self) -> &[Slot] {
        &self.plan.connect
    }
}

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn while_the_first_serves_the_second_is_not_connected() {
    for state in [Ready, Idle] {
        let mut world = World::new(&[(0, state), (1, Idle), (0, state)]);
        assert_eq!(world.visible(), [0, 2]);
        assert!(world.connect().is_empty() && world.plan.wake_at.is_none());
    }
}

#[test]
fn a_group_gets_ten_seconds_to_connect_and_goes_on_after_them() {
    let mut world = World::new(&[(0, Idle), (5, Idle)]);
    world.visible();
    assert_eq!(world.set(&[Connecting]), [0]);
    assert_eq!(world.plan.wake_at, Some(world.now + FAILOVER));
    // Seeing CONNECTING again does not extend the time.
    assert_eq!(world.after(9 * SECOND), [0]);
    assert_eq!(world.plan.wake_at, Some(world.now + SECOND));
    assert_eq!(world.after(SECOND), [1]);
    assert_eq!(world.connect(), [slot(0)], "the first one's attempt continues");
    assert_eq!(world.set(&[Connecting, Ready]), [1]);
    assert_eq!(world.set(&[Ready, Ready]), [0]);
    assert!(world.connect().is_empty(), "the lower group is given up");
}

#[test]
fn failure_fails_over_at_once_and_ready_returns_at_once() {
    let mut world = World::new(&[(0, TransientFailure), (0, TransientFailure), (1, Idle), (2, Idle)]);
    assert_eq!(world.visible(), [2]);
    assert_eq!(world.connect(), [slot(0), slot(1)]);
    assert_eq!(world.set(&[TransientFailure, TransientFailure, Connecting]), [2]);
    assert_eq!(world.set(&[TransientFailure, TransientFailure, TransientFailure]), [3]);
    assert_eq!(world.connect(), [slot(0), slot(1), slot(2)]);
    assert_eq!(world.set(&[TransientFailure, Ready]), [0, 1]);
}

#[test]
fn losing_ready_gives_ten_seconds_again() {
    let mut world = World::new(&[(0, Ready), (1, Idle)]);
    world.visible();
    assert_eq!(world.set(&[Connecting]), [0]);
    assert_eq!(world.after(10 * SECOND), [1]);
}

#[test]
fn a_group_that_failed_gets_no_time_to_connect() {
    let mut world = World::new(&[(0, TransientFailure), (1, Ready)]);
    world.visible();
    assert_eq!(world.set(&[Connecting]), [1]);
    assert_eq!(world.plan.wake_at, None);
}

#[test]
fn with_nothing_left_the_first_connecting_else_the_last() {
    let mut world = World::new(&[(0, Connecting), (1, Idle)]);
    world.visible();
    world.after(10 * SECOND);
    assert_eq!(world.set(&[Connecting, TransientFailure]), [0]);
    assert_eq!(world.connect(), [slot(1)], "tried groups stay wanted");
    assert_eq!(world.set(&[TransientFailure, TransientFailure]), [1]);
    assert_eq!(world.connect(), [slot(0)]);
}

#[test]
fn a_lower_group_in_use_is_left_alone_while_the_higher_one_connects() {
    let mut world = World::new(&[(0, TransientFailure), (1, Ready)]);
    world.visible();
    // The higher group is listed anew and has its ten seconds; it has not served yet, so the lower one is not given up.
    world.rows.remove(0);
    world.visible();
    world.rows.insert(0, (0, Connecting));
    assert_eq!(world.visible(), [0]);
    assert_eq!(world.connect(), [slot(1)]);
}

#[test]
fn connections_of_a_group_given_up_last_fifteen_minutes() {
    let mut world = World::new(&[(0, TransientFailure), (1, Ready)]);
    world.visible();
    world.set(&[Ready, Ready]);
    assert_eq!(world.plan.wake_at, Some(world.now + RETENTION));
    assert_eq!(world.after(RETENTION - SECOND), [0]);
    assert!(world.plan.disconnect.is_empty());
    world.after(SECOND);
    assert_eq!(world.plan.disconnect, [slot(1)]);
    world.after(SECOND);
    assert!(world.plan.disconnect.is_empty(), "once");
}

#[test]
fn a_group_needed_again_is_not_retired() {
    let mut world = World::new(&[(0, TransientFailure), (1, Ready)]);
    world.visible();
    world.set(&[Ready, Ready]);
    world.after(RETENTION / 2);
    assert_eq!(world.set(&[TransientFailure, Ready]), [1]);
    world.after(RETENTION);
    assert!(world.plan.disconnect.is_empty());
}

#[test]
fn groups_come_and_go() {
    let mut world = World::new(&[(0, Ready), (1, Idle)]);
    world.visible();
    world.rows = vec![(1, Idle)];
    assert_eq!(world.visible(), [0], "the only group is shown whatever its number");
    world.rows = vec![];
    assert!(world.visible().is_empty());
    world.rows = vec![(0, Idle), (u32::MAX, Idle)];
    assert_eq!(world.visible(), [0], "a group added below an IDLE one is not tried");
    world.rows = vec![(0, TransientFailure), (u32::MAX, TransientFailure)];
    assert_eq!(world.visible(), [1]);
}

#[test]
fn a_partly_failed_group_is_still_connecting() {
    let mut world = World::new(&[(0, TransientFailure), (0, Idle), (1, Idle)]);
    assert_eq!(world.visible(), [0, 1]);
    assert_eq!(world.after(10 * SECOND), [2]);
}
