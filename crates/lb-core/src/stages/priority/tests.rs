use std::sync::Arc;
use std::time::Duration;

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
        Self::with(FailoverConfig::default(), rows)
    }

    fn with(config: FailoverConfig, rows: &[(u32, ConnectivityState)]) -> Self {
        Self { stage: PriorityStage::new(config), now: start(), rows: rows.to_vec(), plan: Plan::default() }
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

    /// What the last look told: from, to and why.
    fn told(&self) -> Vec<(String, String, String)> {
        let of = |event: &LbEvent| match event {
            LbEvent::Failover { from, to, reason, .. } => (from.to_string(), to.to_string(), reason.to_string()),
            other => panic!("unexpected {other:?}"),
        };
        self.plan.events.iter().map(of).collect()
    }

    fn fail_back(&self) -> Option<FailBack> {
        self.stage.state().and_then(|state| state.fail_back)
    }
}

const SECOND: Duration = Duration::from_secs(1);

/// The default times, which other tests are about changing.
const FAILOVER: Duration = Duration::from_secs(10);
const RETENTION: Duration = Duration::from_secs(15 * 60);

/// Returns after 30 s.
fn patient() -> FailoverConfig {
    FailoverConfig::default().fail_back_after(30 * SECOND)
}

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

#[test]
fn calls_return_when_the_better_group_has_been_ready_for_so_long_without_a_break() {
    let mut world = World::with(patient(), &[(0, Ready), (1, Idle)]);
    assert_eq!(world.visible(), [0]);
    assert_eq!(world.set(&[TransientFailure, Idle]), [1]);
    assert_eq!(world.told(), [("primary".into(), "secondary".into(), "primary is TRANSIENT_FAILURE".into())]);
    world.set(&[TransientFailure, Ready]);
    assert_eq!(world.fail_back(), None);
    assert_eq!(world.set(&[Ready, Ready]), [1], "not at once");
    assert_eq!(world.connect(), [slot(0)], "it is kept connected, or it could never prove itself");
    let due = world.now + 30 * SECOND;
    assert_eq!((world.fail_back(), world.plan.wake_at), (Some(FailBack { priority: 0, at: Some(due) }), Some(due)));
    assert_eq!(world.after(29 * SECOND), [1]);
    // A break: it begins anew.
    world.set(&[Connecting, Ready]);
    assert_eq!(world.fail_back(), Some(FailBack { priority: 0, at: None }), "it has a claim and nothing to show for it");
    world.set(&[Ready, Ready]);
    assert_eq!(world.after(29 * SECOND), [1]);
    assert_eq!(world.after(SECOND), [0]);
    assert_eq!(world.told(), [("secondary".into(), "primary".into(), "primary is READY".into())]);
    assert_eq!((world.fail_back(), world.stage.state().unwrap().since), (None, world.now));
}

#[test]
fn a_group_that_flaps_every_few_seconds_moves_calls_once_and_without_the_wait_each_time() {
    let moves = |config: FailoverConfig| {
        let mut world = World::with(config, &[(0, Ready), (1, Ready)]);
        world.visible();
        let mut told = 0;
        for round in 0..100 {
            world.set(&[if round % 2 == 0 { TransientFailure } else { Ready }, Ready]);
            told += world.told().len();
            world.now += 5 * SECOND;
        }
        told
    };
    assert_eq!((moves(FailoverConfig::default()), moves(patient())), (100, 1));
}

#[test]
fn nobody_waits_where_the_group_in_use_does_not_serve() {
    for failed in [TransientFailure, Connecting, Idle] {
        let mut world = World::with(patient(), &[(0, TransientFailure), (1, Ready)]);
        world.visible();
        world.set(&[Ready, Ready]);
        assert_eq!(world.visible(), [1]);
        assert_eq!(world.set(&[Ready, failed]), [0], "{failed}");
    }
}

#[test]
fn a_group_listed_anew_proves_itself_before_it_gets_calls() {
    let mut world = World::with(patient(), &[(1, Ready)]);
    world.visible();
    world.rows.insert(0, (0, Idle));
    assert_eq!(world.visible(), [1], "it is rather connected than waited for");
    assert_eq!(world.connect(), [slot(0)]);
    assert_eq!(world.fail_back(), Some(FailBack { priority: 0, at: None }));
    assert_eq!(world.set(&[Connecting, Ready]), [1]);
    world.set(&[Ready, Ready]);
    assert_eq!(world.after(30 * SECOND), [0]);
}

#[test]
fn of_two_better_groups_the_one_that_has_proved_itself_is_returned_to() {
    let mut world = World::with(patient(), &[(0, TransientFailure), (1, TransientFailure), (2, Ready)]);
    assert_eq!(world.visible(), [2]);
    world.set(&[TransientFailure, Ready, Ready]);
    assert_eq!(world.after(20 * SECOND), [2]);
    assert_eq!(world.set(&[Ready, Ready, Ready]), [2]);
    // The best one fails again; the next has been READY all the while.
    world.after(15 * SECOND);
    assert_eq!(world.set(&[TransientFailure, Ready, Ready]), [1]);
}

#[test]
fn by_hand_a_group_comes_first_while_it_serves_and_the_way_back_skips_the_wait() {
    let mut world = World::with(patient(), &[(0, Ready), (1, Ready), (2, Idle)]);
    world.visible();
    world.stage.force(Some(2));
    assert_eq!((world.visible(), world.set(&[Ready, Ready, Connecting])), (vec![0], vec![0]), "others serve while it connects");
    assert_eq!(world.set(&[Ready, Ready, Ready]), [2]);
    assert_eq!(world.told(), [("primary".into(), "last resort".into(), "asked for by hand; it is READY".into())]);
    assert_eq!(world.stage.state().unwrap().forced, Some(2));
    assert_eq!(world.set(&[Ready, Ready, TransientFailure]), [0], "what serves wins");
    world.set(&[Ready, Ready, Ready]);
    assert_eq!(world.after(30 * SECOND), [2], "and it returns like any other");
    world.stage.force(None);
    assert_eq!(world.visible(), [0]);
    // An unlisted one waits to be listed.
    world.stage.force(Some(9));
    assert_eq!(world.visible(), [0]);
    world.rows.push((9, Ready));
    assert_eq!(world.visible(), [0], "it proves itself first, for somebody serves");
    assert_eq!(world.after(30 * SECOND), [3]);
}

#[test]
fn asking_for_the_return_skips_the_wait() {
    let mut world = World::with(patient(), &[(0, TransientFailure), (1, Ready)]);
    world.visible();
    assert_eq!(world.set(&[Ready, Ready]), [1]);
    world.stage.force(None);
    assert_eq!(world.visible(), [0]);
}

#[test]
fn the_times_can_be_set() {
    let config = FailoverConfig::default().failover_after(2 * SECOND).retention(3 * SECOND);
    let mut world = World::with(config, &[(0, Connecting), (1, Ready)]);
    world.visible();
    assert_eq!((world.after(SECOND), world.after(SECOND)), (vec![0], vec![1]));
    world.set(&[Ready, Ready]);
    world.after(3 * SECOND);
    assert_eq!(world.plan.disconnect, [slot(1)]);
    // Nobody waits for a connection: the next group is used until the first is READY.
    let mut world = World::with(FailoverConfig::default().failover_after(Duration::ZERO), &[(0, Connecting), (1, Ready)]);
    assert_eq!(world.visible(), [1]);
    assert_eq!(world.set(&[Ready, Ready]), [0]);
}

#[test]
fn the_state_names_the_groups_and_says_since_when_and_why() {
    let mut world = World::with(FailoverConfig::default(), &[(0, Ready), (0, TransientFailure), (7, Idle)]);
    assert_eq!(world.stage.state(), None);
    world.visible();
    let state = world.stage.state().unwrap();
    assert_eq!((state.priority, &*state.name, state.since), (0, "primary", world.now));
    assert_eq!(&*state.reason, "primary is READY");
    let groups: Vec<_> = state.groups.iter().map(|group| (&*group.name, group.state, group.endpoints, group.ready)).collect();
    assert_eq!(groups, [("primary", Ready, 2, 1), ("priority 7", Idle, 1, 0)]);
    assert!(world.told().is_empty(), "the first choice is no failover");
    world.after(SECOND);
    assert_eq!(world.stage.state().unwrap().since, state.since);
    world.rows.drain(..2);
    world.visible();
    assert_eq!(world.told()[0].2, "primary is no longer listed");
    world.rows.clear();
    world.visible();
    assert_eq!(world.stage.state(), None);
}
