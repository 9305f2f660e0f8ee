use std::time::Duration;

use super::*;
use crate::connectivity::ConnectivityState;
use crate::gate::{Entry, Refusal};
use crate::policies::testing::{self, slot, start};

/// One stage, its clock, and endpoints named `0`, `1`, …, given as (primary's name, state); endpoint `i` is slot `i`.
struct World {
    stage: ReplicaStage,
    now: Instant,
    rows: Vec<(Option<&'static str>, ConnectivityState)>,
    /// Hidden by an earlier stage.
    hidden: Vec<usize>,
    /// Those of the first endpoint.
    gates: Option<Arc<crate::gate::Gates>>,
    plan: Plan,
}

const SECOND: Duration = Duration::from_secs(1);

impl World {
    fn new(rows: &[(Option<&'static str>, ConnectivityState)]) -> Self {
        Self::with(ReplicaConfig::default(), rows)
    }

    fn with(config: ReplicaConfig, rows: &[(Option<&'static str>, ConnectivityState)]) -> Self {
        let (stage, rows) = (ReplicaStage::new(config), rows.to_vec());
        Self { stage, now: start(), rows, hidden: Vec::new(), gates: None, plan: Plan::default() }
    }

    fn visible(&mut self) -> Vec<usize> {
        let states: Vec<ConnectivityState> = self.rows.iter().map(|(_, state)| *state).collect();
        let mut view = testing::view(&states);
        for (index, (row, (primary, _))) in view.iter_mut().zip(&self.rows).enumerate() {
            let attributes = &mut Arc::make_mut(&mut row.endpoint).attributes;
            attributes.id = Some(index.to_string().into());
            attributes.replica_of = primary.map(Arc::from);
        }
        view.iter_mut().take(1).for_each(|row| row.gates = self.gates.clone());
        self.plan = Plan::default();
        self.stage.list(&view);
        view.retain(|row| !self.hidden.contains(&row.slot.index()));
        self.stage.apply(self.now, &mut view, &mut self.plan);
        view.iter().map(|row| row.slot.index()).collect()
    }

    fn after(&mut self, time: Duration) -> Vec<usize> {
        self.now += time;
        self.visible()
    }

    fn set(&mut self, states: &[ConnectivityState]) -> Vec<usize> {
        self.rows.iter_mut().zip(states).for_each(|(row, state)| row.1 = *state);
        self.visible()
    }

    fn told(&self) -> Vec<String> {
        self.plan.events.iter().map(ToString::to_string).collect()
    }
}

#[test]
fn a_replica_stands_by_connected_until_its_primary_fails() {
    let mut world = World::new(&[(None, Ready), (Some("0"), Idle), (None, Ready)]);
    assert_eq!(world.visible(), [0, 2]);
    assert_eq!(world.plan.connect, [slot(1)], "a hot standby");
    assert_eq!(world.set(&[Ready, Ready, Ready]), [0, 2]);
    assert_eq!(world.set(&[TransientFailure, Ready, Ready]), [0, 1, 2], "the failing one is shown, for its error and its attempts");
    assert_eq!(world.told(), ["endpoint 10.0.0.1:1 serves in place of 0: refused by 0"]);
    let promotion = world.stage.promotions().next().unwrap();
    assert_eq!((promotion.replica.as_str(), &*promotion.primary, promotion.since), ("10.0.0.1:1", "0", world.now));
    world.visible();
    assert!(world.told().is_empty(), "told once");
}

#[test]
fn a_cold_standby_is_connected_when_it_is_needed() {
    let mut world = World::with(ReplicaConfig::default().hot_standby(false), &[(None, Ready), (Some("0"), Idle)]);
    assert_eq!((world.visible(), world.plan.connect.len()), (vec![0], 0));
    assert_eq!(world.set(&[TransientFailure, Idle]), [0, 1]);
    assert!(world.told().is_empty(), "it does not serve yet");
    world.set(&[TransientFailure, Ready]);
    assert_eq!(world.told().len(), 1);
}

#[test]
fn a_primary_that_is_back_proves_itself_and_gets_no_calls_meanwhile() {
    let mut world = World::new(&[(None, TransientFailure), (Some("0"), Ready)]);
    assert_eq!(world.visible(), [0, 1]);
    assert_eq!(world.set(&[Ready, Ready]), [1], "never both");
    assert_eq!((&*world.plan.connect, world.plan.wake_at), (&[slot(0)][..], Some(world.now + 10 * SECOND)));
    assert_eq!(world.after(9 * SECOND), [1]);
    world.set(&[TransientFailure, Ready]);
    world.set(&[Ready, Ready]);
    assert_eq!(world.after(9 * SECOND), [1], "a break begins the wait anew");
    assert_eq!(world.after(SECOND), [0]);
    assert_eq!(world.told(), ["endpoint 10.0.0.1:1 stands by for 0 again"]);
    assert_eq!(world.stage.promotions().count(), 0);
}

#[test]
fn a_primary_is_back_at_once_if_its_replica_fails_or_somebody_asks() {
    let mut world = World::new(&[(None, TransientFailure), (Some("0"), Ready)]);
    world.visible();
    assert_eq!(world.set(&[Ready, Ready]), [1]);
    assert_eq!(world.set(&[Ready, TransientFailure]), [0]);
    world.set(&[TransientFailure, Ready]);
    assert_eq!(world.set(&[Ready, Ready]), [1]);
    world.stage.hand_back();
    assert_eq!(world.visible(), [0]);
}

#[test]
fn a_primary_that_hangs_while_connecting_is_replaced_after_a_second() {
    let mut world = World::new(&[(None, Connecting), (Some("0"), Ready)]);
    assert_eq!(world.visible(), [0]);
    assert_eq!(world.plan.wake_at, Some(world.now + SECOND));
    assert_eq!(world.after(SECOND), [0, 1]);
    assert!(world.told()[0].ends_with("CONNECTING for too long"), "{:?}", world.told());
    // A connection that is lost and made again at once moves nothing.
    let mut world = World::new(&[(None, Ready), (Some("0"), Ready)]);
    world.visible();
    assert_eq!((world.set(&[Connecting, Ready]), world.set(&[Ready, Ready])), (vec![0], vec![0]));
}

#[test]
fn a_primary_that_another_stage_hides_is_replaced() {
    let mut world = World::new(&[(None, Ready), (Some("0"), Ready)]);
    world.visible();
    world.hidden = vec![0];
    assert_eq!(world.visible(), [1]);
    assert!(world.told()[0].ends_with("drained, or unhealthy in the registry"));
    world.hidden = vec![];
    assert_eq!((world.visible(), world.after(10 * SECOND)), (vec![1], vec![0]));
}

/// A breaker that is open until then.
#[derive(Debug)]
struct Open(Instant);

impl crate::gate::Gate for Open {
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
fn a_primary_whose_breaker_is_open_is_replaced_and_tried_again_when_that_lets_calls_in() {
    let mut world = World::new(&[(None, Ready), (Some("0"), Ready)]);
    assert_eq!(world.visible(), [0]);
    let trial = world.now + 5 * SECOND;
    let gates: Box<[Arc<dyn crate::gate::Gate>]> = Box::new([Arc::new(Open(trial))]);
    world.gates = Some(Arc::new(crate::gate::Gates::new(gates)));
    assert_eq!(world.visible(), [0, 1], "it refuses calls at the pick, and its replica takes them");
    assert!(world.told()[0].ends_with("its circuit breaker is open"));
    assert_eq!(world.plan.wake_at, Some(trial));
    assert_eq!(world.after(5 * SECOND), [1], "now it proves itself");
    assert_eq!(world.after(10 * SECOND), [0]);
}

#[test]
fn in_a_chain_the_first_that_can_serve_does() {
    let chain = |states: [ConnectivityState; 3]| {
        let mut world = World::new(&[(None, states[0]), (Some("0"), states[1]), (Some("1"), states[2])]);
        let mut serving = world.visible();
        serving.retain(|index| states[*index] == Ready);
        serving
    };
    assert_eq!(chain([Ready, Ready, Ready]), [0]);
    assert_eq!(chain([Ready, TransientFailure, Ready]), [0], "the one in the middle is not needed");
    assert_eq!(chain([TransientFailure, Ready, Ready]), [1]);
    assert_eq!(chain([TransientFailure, TransientFailure, Ready]), [2]);
    // With the one in the middle hidden the last still stands by for the first.
    let mut world = World::new(&[(None, Ready), (Some("0"), Ready), (Some("1"), Ready)]);
    world.hidden = vec![1];
    assert_eq!(world.visible(), [0]);
}

#[test]
fn a_chain_hands_back_one_step_after_the_other() {
    let mut world = World::new(&[(None, TransientFailure), (Some("0"), TransientFailure), (Some("1"), Ready)]);
    assert_eq!(world.visible(), [0, 1, 2]);
    assert_eq!(world.set(&[TransientFailure, Ready, Ready]), [0, 2]);
    assert_eq!(world.after(10 * SECOND), [0, 1]);
    assert_eq!(world.told().len(), 2, "one stands by again and one serves: {:?}", world.told());
    assert_eq!(world.set(&[Ready, Ready, Ready]), [1]);
    assert_eq!(world.after(10 * SECOND), [0]);
}

#[test]
fn all_replicas_of_a_primary_serve_in_its_place() {
    let mut world = World::new(&[(None, TransientFailure), (Some("0"), Ready), (Some("10.0.0.0:1"), Ready)]);
    assert_eq!(world.visible(), [0, 1, 2]);
    assert_eq!(world.told().len(), 2);
}

#[test]
fn odd_names_leave_nobody_out() {
    let mut world = World::new(&[(Some("nobody"), Ready), (Some("1"), Ready), (Some("3"), Ready), (Some("2"), Ready)]);
    assert_eq!(world.visible(), [0, 1, 2, 3]);
    assert_eq!(world.told(), ["endpoint 10.0.0.0:1 serves in place of nobody: not listed"]);
    // The primary leaves the list, and comes back: a stranger, which has nothing to prove.
    let mut world = World::new(&[(Some("1"), Ready), (None, Ready)]);
    assert_eq!(world.visible(), [1]);
    let primary = world.rows.pop().unwrap();
    assert_eq!(world.visible(), [0]);
    world.rows.push(primary);
    assert_eq!(world.visible(), [1]);
    assert_eq!(world.told(), ["endpoint 10.0.0.0:1 stands by for 1 again"]);
}

#[test]
fn without_replicas_nothing_is_asked_for() {
    let mut world = World::new(&[(None, Ready), (None, TransientFailure)]);
    assert_eq!(world.visible(), [0, 1]);
    assert!(world.plan.connect.is_empty() && world.plan.wake_at.is_none() && world.plan.events.is_empty());
}

#[test]
fn somebody_serves_in_every_family_as_long_as_anybody_can() {
    // Every tree of five endpoints and random states over time: with somebody READY in a family, somebody READY is shown; a primary and
    // its replica are never shown READY together.
    let mut dice = crate::entropy::Entropy::from_seed(7);
    let mut draw = |n: u64| dice.draw() % n;
    const NAMES: [&str; 5] = ["0", "1", "2", "3", "4"];
    for _ in 0..300 {
        let parents: Vec<Option<&'static str>> =
            (0..5).map(|index| if index == 0 { None } else { Some(NAMES[draw(index) as usize]) }).collect();
        let mut world = World::new(&parents.iter().map(|parent| (*parent, Idle)).collect::<Vec<_>>());
        for _ in 0..40 {
            let states: Vec<_> = (0..5).map(|_| [Ready, Ready, TransientFailure, Connecting, Idle][draw(5) as usize]).collect();
            let ready: Vec<usize> = world.set(&states).into_iter().filter(|index| states[*index] == Ready).collect();
            let able = |index: usize| matches!(states[index], Ready | Idle | Connecting);
            if states.contains(&Ready) && !(0..5).any(|index| states[index] != Ready && able(index)) {
                assert!(!ready.is_empty(), "{parents:?} {states:?}");
            }
            for index in &ready {
                let above = parents[*index].and_then(|name| name.parse().ok());
                assert!(above.is_none_or(|above: usize| !ready.contains(&above)), "{parents:?} {states:?} {ready:?}");
            }
            world.now += Duration::from_millis(draw(12_000));
        }
    }
}
