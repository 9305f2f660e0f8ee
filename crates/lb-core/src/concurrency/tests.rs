use std::time::Duration;

use http::HeaderMap;
use proptest::prelude::*;

use super::*;
use crate::gate::GateListener;
use crate::hints::PickHints;
use crate::pick::PickArgs;
use crate::policies::testing::{slot, start};
use crate::scratch::Scratch;
use crate::stats::Outcome;

/// One endpoint behind a limit.
struct Door {
    gate: Arc<dyn Gate>,
    endpoint: Endpoint,
    inside: Vec<u64>,
}

impl Door {
    fn new(limit: &ConcurrencyLimit, capacity: Option<u32>) -> Self {
        let mut endpoint = Endpoint::new(std::net::SocketAddr::from(([10, 0, 0, 1], 1)));
        endpoint.attributes.capacity = capacity;
        let gate = limit.gate(&endpoint, &GateSignal::default()).unwrap();
        Self { gate, endpoint, inside: Vec::new() }
    }

    fn enter(&mut self) -> bool {
        let (headers, hints, mut scratch) = (HeaderMap::new(), PickHints::new(), Scratch::new(1));
        let entry = Entry::new(&PickArgs::new(start(), "/s/m", &headers, &hints, &mut scratch), &self.endpoint);
        let would = self.gate.refusal(&entry).is_none();
        let token = self.gate.enter(&entry);
        assert_eq!(token.is_ok(), would, "what is said and what is done agree");
        self.inside.extend(token.as_ref().ok());
        token.is_ok()
    }

    fn fill(&mut self) -> usize {
        while self.enter() {}
        self.inside.len()
    }

    fn leave(&mut self, outcome: Option<Outcome>) {
        let Some(token) = self.inside.pop() else { return };
        match outcome {
            Some(outcome) => self.gate.left(token, &Done::new(slot(0), start(), Duration::ZERO, outcome)),
            None => self.gate.unused(token),
        }
    }
}

#[test]
fn fifty_pass_the_next_does_not_and_one_that_ends_admits_one() {
    let mut door = Door::new(&ConcurrencyLimit::new(50), None);
    assert_eq!(door.fill(), 50);
    for outcome in [Some(Outcome::Success), Some(Outcome::Failure), Some(Outcome::Cancelled), None] {
        door.leave(outcome);
        assert!(door.enter() && !door.enter(), "after {outcome:?}");
    }
    assert!(!Door::new(&ConcurrencyLimit::new(0), None).enter(), "0 blocks all");
}

#[test]
fn a_lower_limit_ends_nothing_and_applies_to_what_comes() {
    let limit = ConcurrencyLimit::new(4);
    let mut door = Door::new(&limit, None);
    assert_eq!(door.fill(), 4);
    limit.set_max(2);
    for _ in 0..2 {
        door.leave(Some(Outcome::Success));
        assert!(!door.enter());
    }
    door.leave(Some(Outcome::Success));
    assert!(door.enter());
    limit.set_max(5);
    assert_eq!(door.fill(), 5);
}

#[derive(Debug, Default)]
struct Bells(AtomicU32, AtomicU32);

impl GateListener for Bells {
    fn changed(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    fn opened(&self) {
        self.1.fetch_add(1, Ordering::Relaxed);
    }
}

#[test]
fn a_higher_limit_wakes_each_channel_once_and_a_lower_one_none() {
    let limit = ConcurrencyLimit::new(1);
    let bells: Vec<Arc<Bells>> = (0..CHANNELS + 2).map(|_| Arc::default()).collect();
    let endpoint = Endpoint::new(std::net::SocketAddr::from(([10, 0, 0, 1], 1)));
    for bell in &bells {
        // Endpoints of one channel share its signal.
        let signal = GateSignal::new(Arc::clone(bell) as Arc<dyn GateListener>);
        (0..3).for_each(|_| drop(limit.gate(&endpoint, &signal)));
    }
    drop(limit.gate(&endpoint, &GateSignal::default()));
    let rung = || bells.iter().map(|bell| (bell.0.load(Ordering::Relaxed), bell.1.load(Ordering::Relaxed))).collect::<Vec<_>>();
    limit.set_max(1);
    limit.set_max(0);
    assert_eq!(rung(), [(0, 0); CHANNELS + 2]);
    limit.set_max(9);
    assert!(rung()[..CHANNELS].iter().all(|rung| *rung == (1, 1)), "{:?}", rung());
    assert_eq!(rung()[CHANNELS..], [(0, 0); 2]);
}

#[test]
fn the_capacity_counts_where_it_is_asked_for() {
    for (limit, capacity, expected) in [
        (ConcurrencyLimit::new(10), Some(3), 10),
        (ConcurrencyLimit::new(10).within_capacity(), Some(3), 3),
        (ConcurrencyLimit::new(10).within_capacity(), Some(30), 10),
        (ConcurrencyLimit::new(10).within_capacity(), None, 10),
        (ConcurrencyLimit::of_capacity(), Some(3), 3),
        (ConcurrencyLimit::of_capacity(), Some(0), 0),
    ] {
        assert_eq!(Door::new(&limit, capacity).fill(), expected, "{limit:?} {capacity:?}");
    }
    let mut free = Door::new(&ConcurrencyLimit::of_capacity(), None);
    assert!((0..10_000).all(|_| free.enter()), "no capacity, no limit");
    let mut changed = Door::new(&ConcurrencyLimit::of_capacity(), Some(2));
    assert_eq!(changed.fill(), 2);
    changed.endpoint.attributes.capacity = Some(5);
    assert_eq!(changed.fill(), 5, "the newest the resolver says");
}

proptest! {
    #[test]
    fn never_above_the_limit_and_back_to_nothing(steps in prop::collection::vec((0..5_u8, 0..6_u32), 0..300)) {
        let limit = ConcurrencyLimit::new(3);
        let mut door = Door::new(&limit, None);
        for (step, max) in steps {
            match step {
                0 | 1 => {
                    let before = door.inside.len();
                    let entered = door.enter();
                    prop_assert_eq!(entered, before < limit.max() as usize);
                }
                2 => door.leave(Some(Outcome::Cancelled)),
                3 => door.leave(None),
                _ => limit.set_max(max),
            }
        }
        while !door.inside.is_empty() {
            door.leave(Some(Outcome::Success));
        }
        limit.set_max(1);
        prop_assert!(door.enter(), "nothing was left behind");
    }
}
