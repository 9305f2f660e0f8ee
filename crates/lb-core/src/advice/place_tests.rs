use std::time::Duration;

use proptest::prelude::*;

use super::{Assignment, Load, Queued, Work, assign_batch, reorder_queue};

const MINUTE: Duration = Duration::from_secs(60);

fn load(key: &str, in_flight: u32, capacity: u32) -> Load {
    Load { in_flight, capacity: Some(capacity), ..Load::new(key) }
}

fn work(id: &str, priority: u8) -> Work {
    Work { priority, ..Work::new(id) }
}

fn places(assignments: &[Assignment]) -> Vec<(&str, &str)> {
    assignments.iter().map(|a| (&*a.work, a.endpoint.as_ref().map_or("-", |key| key.as_str()))).collect()
}

fn order(queue: &[Queued]) -> Vec<&str> {
    queue.iter().map(|queued| &*queued.assignment.work).collect()
}

#[test]
fn a_batch_goes_by_priority_and_each_counts_before_the_next() {
    let loads = [load("a:1", 0, 2), load("b:1", 0, 2), load("c:1", 2, 2)];
    let batch = [work("low", 1), work("mid", 5), work("also mid", 5), work("high", 9), work("lowest", 0)];
    let assignments = assign_batch(&loads, &batch);
    assert_eq!(places(&assignments), [("high", "a:1"), ("mid", "b:1"), ("also mid", "a:1"), ("low", "b:1"), ("lowest", "-")]);
    assert_eq!((&*assignments[2].reason, &*assignments[4].reason), ("2 of 2 taken with it", "of 3: 3 full"));
}

#[test]
fn conditions_are_kept_and_counted() {
    let gpu = |load: Load| Load { capabilities: ["gpu".into()].into(), ..load };
    let ill = Load { healthy: false, ..gpu(load("d:1", 0, 9)) };
    let loads = [gpu(load("a:1", 0, 9)), gpu(load("b:1", 5, 9)), load("c:1", 0, 9), ill];
    let mut job = Work { require: ["gpu".into()].into(), cost: 5, ..work("job", 0) };
    assert_eq!(places(&assign_batch(&loads, &[job.clone()])), [("job", "a:1")]);
    job.avoid.insert("a:1".into());
    let assignment = &assign_batch(&loads, &[job.clone()])[0];
    assert_eq!(
        (assignment.endpoint.as_ref(), &*assignment.reason),
        (None, "of 4: 1 not healthy, 1 avoided, 1 not capable, 1 full")
    );
    job.cost = 4;
    assert_eq!(places(&assign_batch(&loads, &[job])), [("job", "b:1")]);
    assert_eq!(assign_batch(&[], &[work("w", 0)])[0].reason, "there are no endpoints");
}

#[test]
fn fit_weighs_capacity_performance_preference_and_success() {
    let slow = Load { latency: Some(Duration::from_millis(40)), ..load("slow:1", 0, 10) };
    let failing = Load { latency: Some(Duration::from_millis(10)), success_rate: Some(0.5), ..load("failing:1", 0, 10) };
    let fit =
        |load: &Load, work: &Work| assign_batch(&[slow.clone(), failing.clone(), load.clone()], std::slice::from_ref(work))[0].fit;
    let best = load("best:1", 0, 10);
    // 0.4 · 0.9 + 0.3 + 0.1.
    assert!((fit(&best, &work("w", 0)) - 0.76).abs() < 1e-9);
    let wanted = Work { prefer: ["best:1".into()].into(), ..work("w", 0) };
    assert!((fit(&best, &wanted) - 0.96).abs() < 1e-9);
    let only = |load: &Load| {
        let others: std::collections::BTreeSet<_> =
            ["slow:1", "failing:1", "best:1"].iter().map(|key| (*key).into()).filter(|key| *key != load.endpoint).collect();
        fit(&best, &Work { avoid: others, ..work("w", 0) })
    };
    // A quarter of the speed, and half of the success.
    assert!((only(&slow) - (0.36 + 0.075 + 0.1)).abs() < 1e-9 && (only(&failing) - (0.36 + 0.15 + 0.05)).abs() < 1e-9);
}

#[test]
fn a_queue_is_ordered_by_priority_then_fit_then_age() {
    let loads = [load("a:1", 0, 10)];
    let queue = [
        Work { since: 9 * MINUTE, ..work("young", 5) },
        Work { since: 8 * MINUTE, ..work("old", 5) },
        Work { since: 8 * MINUTE, prefer: ["a:1".into()].into(), ..work("fits", 5) },
        Work { since: 9 * MINUTE, ..work("important", 6) },
        Work { cost: 100, ..work("does not fit", 5) },
    ];
    let ordered = reorder_queue(&loads, &queue, 10 * MINUTE, Duration::ZERO);
    assert_eq!(order(&ordered), ["important", "fits", "old", "young", "does not fit"]);
    assert_eq!(ordered[4].assignment.endpoint, None);
    assert!(ordered[..4].iter().all(|queued| queued.assignment.endpoint.is_some()));
}

#[test]
fn waiting_overtakes_any_priority() {
    let loads = [load("a:1", 0, 1)];
    let mut queue = vec![work("old", 0)];
    // Every minute something more important comes and is served; the old one is at last.
    let served = (1..100_u32).find(|minute| {
        queue.push(Work { since: *minute * MINUTE, ..work("new", 7) });
        let first = reorder_queue(&loads, &queue, *minute * MINUTE, MINUTE).remove(0).assignment.work;
        let at = queue.iter().position(|work| work.id == first).unwrap();
        queue.remove(at);
        &*first == "old"
    });
    assert_eq!(served, Some(7));
    let priority = reorder_queue(&loads, &[work("w", 255)], Duration::MAX, Duration::from_nanos(1))[0].priority;
    assert_eq!(priority, u64::MAX, "no overflow");
}

#[test]
fn it_is_data_in_and_data_out() {
    let queue: Vec<Work> =
        serde_json::from_str(r#"[{"id": "w1", "priority": 3, "require": ["gpu"], "avoid": ["b:1"], "sinceSeconds": 1.5}]"#)
            .unwrap();
    assert_eq!((queue[0].since, queue[0].cost), (Duration::from_millis(1500), 0));
    let text = serde_json::to_string(&reorder_queue(&[], &queue, MINUTE, MINUTE)).unwrap();
    let back: Vec<Queued> = serde_json::from_str(&text).unwrap();
    assert_eq!(back[0].priority, 3);
}

proptest! {
    #[test]
    fn capacity_is_never_exceeded_and_nothing_is_lost(
        endpoints in prop::collection::vec((0_u32..20, 0_u32..30, any::<bool>()), 0..10),
        batch in prop::collection::vec((any::<u8>(), 0_u32..10), 0..40),
    ) {
        let load = |(at, (in_flight, capacity, healthy)): (usize, (u32, u32, bool))| Load { healthy, ..load(&format!("e{at}:1"), in_flight, capacity) };
        let loads: Vec<Load> = endpoints.into_iter().enumerate().map(load).collect();
        let one = |(at, (priority, cost)): (usize, (u8, u32))| Work { cost, ..work(&format!("w{at}"), priority) };
        let batch: Vec<Work> = batch.into_iter().enumerate().map(one).collect();
        let assignments = assign_batch(&loads, &batch);
        prop_assert_eq!(assignments.len(), batch.len());
        for load in &loads {
            let here = assignments.iter().filter(|a| a.endpoint.as_ref() == Some(&load.endpoint));
            let cost = |a: &Assignment| batch.iter().find(|work| work.id == a.work).unwrap().cost.max(1);
            let added: u32 = here.map(cost).sum();
            prop_assert!(added == 0 || (load.healthy && load.in_flight + added <= load.capacity.unwrap()));
        }
        prop_assert!(assignments.iter().all(|a| (0.0..=1.0).contains(&a.fit) && !a.reason.is_empty()));
    }
}
