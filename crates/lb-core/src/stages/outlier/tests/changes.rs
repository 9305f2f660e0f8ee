//! A configuration that changes while calls go on, and calls that end while they are judged.

use std::thread;

use super::*;

fn stage(config: &serde_json::Value) -> OutlierStage {
    OutlierStage::new(OutlierConfig::from_json(config).unwrap())
}

impl World {
    /// The same endpoints, judged by another configuration from now on.
    fn change(&mut self, config: &serde_json::Value) {
        let mut next = stage(config);
        next.inherit(&self.stage);
        self.stage = next;
    }

    fn wait(&mut self, millis: u64) -> Vec<usize> {
        self.now += Duration::from_millis(millis);
        self.ejected()
    }

    fn wake_at(&mut self) -> Option<Instant> {
        let mut plan = Plan::new(7);
        self.stage.apply(self.now, &mut self.view.clone(), &mut plan);
        plan.wake_at
    }
}

fn every(interval: &str) -> serde_json::Value {
    json!({"interval": interval, "maxEjectionPercent": 100, "failurePercentageEjection": {"minimumHosts": 1}})
}

#[test]
fn an_interval_that_is_changed_counts_from_where_it_began() {
    // Shorter, and passed already: the sweep is now, and has what was counted before.
    let mut world = World::new(every("10s"), 2);
    world.calls(0, 100, 100);
    assert_eq!(world.wait(4_000), [0; 0]);
    world.change(&every("3s"));
    assert_eq!(world.ejected(), [0]);
    // Shorter, and not passed: after what is left of it.
    let mut world = World::new(every("10s"), 2);
    world.calls(0, 100, 100);
    assert_eq!(world.wait(4_000), [0; 0]);
    world.change(&every("6s"));
    assert_eq!(world.wake_at(), Some(world.now + Duration::from_secs(2)));
    assert_eq!((world.wait(1_999), world.wait(1)), (vec![], vec![0]));
    // Longer.
    let mut world = World::new(every("10s"), 2);
    world.calls(0, 100, 100);
    assert_eq!(world.wait(9_999), [0; 0]);
    world.change(&every("12s"));
    assert_eq!((world.wait(2_000), world.wait(1)), (vec![], vec![0]));
}

#[test]
fn an_ejection_outlives_a_change_and_ends_by_the_new_times() {
    let mut world = World::new(every("10s"), 2);
    world.calls(0, 100, 100);
    assert_eq!(world.interval(), [0]);
    let mut longer = every("10s");
    longer["baseEjectionTime"] = "60s".into();
    world.change(&longer);
    let more = std::iter::repeat_with(|| world.interval()).take_while(|ejected| *ejected == [0]).count();
    assert_eq!(more, 6, "60 s, to the first sweep after them");
    let record = world.stage.records.values().find(|record| record.multiplier > 0);
    assert!(record.is_some(), "the next is longer, as if nothing had changed");
}

#[test]
fn without_a_measure_everybody_is_back_at_once_and_nothing_is_counted() {
    let mut world = World::new(every("10s"), 2);
    world.calls(0, 100, 100);
    assert_eq!(world.interval(), [0]);
    world.change(&json!({}));
    assert_eq!((world.ejected(), world.wake_at()), (vec![], None));
    assert!(world.stage.records.is_empty());
    // Nor is what was remembered: the next ejection is a first one.
    world.calls(0, 100, 100);
    world.change(&every("10s"));
    assert_eq!((world.interval(), world.interval()), (vec![], vec![]), "what ended before does not count");
    world.calls(0, 100, 100);
    let lasts = std::iter::repeat_with(|| world.interval()).take_while(|ejected| *ejected == [0]).count();
    assert_eq!(lasts, 4);
}

#[test]
fn counting_begins_with_the_first_measure() {
    let mut world = World::new(json!({}), 2);
    world.calls(0, 100, 100);
    world.now += Duration::from_secs(9);
    world.change(&every("10s"));
    assert_eq!(world.ejected(), [0; 0]);
    assert_eq!(world.wake_at(), Some(world.now + Duration::from_secs(10)), "a whole interval");
    assert_eq!(world.interval(), [0; 0]);
    // Rows begin with their measure, too.
    fail(&world, 1, 100, 13);
    let mut both = every("10s");
    both["consecutiveFailures"] = json!({});
    assert_eq!(world.interval(), [1]);
    let mut world = World::new(every("10s"), 2);
    fail(&world, 1, 20, 13);
    world.change(&both);
    assert_eq!(world.ejected(), [0; 0]);
    fail(&world, 1, 4, 13);
    assert_eq!(world.ejected(), [0; 0]);
    fail(&world, 1, 1, 13);
    assert_eq!(world.ejected(), [1]);
}

#[test]
fn no_call_that_ends_during_a_sweep_is_lost_or_counted_twice() {
    const CALLS: u64 = 20_000;
    let mut world = World::new(every("10s"), 3);
    let before: Vec<Counts> = world.view.iter().map(Counts::of).collect();
    let mut counted = vec![Counts::default(); 3];
    thread::scope(|scope| {
        let callers: Vec<_> = (0..4)
            .map(|caller| {
                let (view, now) = (world.view.clone(), world.now);
                scope.spawn(move || {
                    for call in 0..CALLS {
                        let row = &view[(call % 3) as usize];
                        let outcome = if (call + caller) % 5 == 0 { Outcome::Failure } else { Outcome::Success };
                        row.stats.begin();
                        row.stats.finish(&Done::new(row.slot, now, Duration::from_millis(1), outcome));
                    }
                })
            })
            .collect();
        while !callers.iter().all(thread::ScopedJoinHandle::is_finished) {
            add(&mut counted, &mut world);
        }
    });
    add(&mut counted, &mut world);
    let all: Vec<Counts> = world.view.iter().zip(before).map(|(row, before)| Counts::of(row).since(before)).collect();
    assert_eq!(counted, all);
    assert_eq!(counted.iter().map(|counts| counts.succeeded + counts.failed).sum::<u64>(), 4 * CALLS);
}

/// What one sweep after the other takes.
fn add(counted: &mut [Counts], world: &mut World) {
    for (sum, row) in counted.iter_mut().zip(&world.view) {
        let Counts { succeeded, failed } = world.stage.take(row).calls;
        (sum.succeeded, sum.failed) = (sum.succeeded + succeeded, sum.failed + failed);
    }
}
