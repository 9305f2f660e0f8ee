//! The limit against a server with so many workers and a queue, on simulated time.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use serde_json::json;

use super::{Ending, Gradient, GradientConfig};
use crate::policies::testing::start;

/// How long one call takes a worker.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Work {
    Constant,
    Exponential,
    /// One call in a hundred takes ten times as long.
    Outliers,
}

const WORKS: [Work; 3] = [Work::Constant, Work::Exponential, Work::Outliers];

/// SplitMix64.
struct Dice(u64);

impl Dice {
    fn unit(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
    }

    fn exponential(&mut self) -> f64 {
        -(1.0 - self.unit()).ln()
    }
}

/// Calls arrive at random at a rate; those the limit lets in wait for one of the workers. Times in nanoseconds.
struct World {
    gradient: Gradient,
    origin: Instant,
    now: u64,
    dice: Dice,
    workers: usize,
    busy: usize,
    service: f64,
    work: Work,
    /// When calls that wait came in.
    waiting: VecDeque<u64>,
    /// When calls end, and when they came in.
    ends: BinaryHeap<Reverse<(u64, u64)>>,
    next_arrival: u64,
    /// Calls a second.
    offered: f64,
    /// The share the server drops at once.
    drops: f64,
    served: u64,
    shed: u64,
    trace: Vec<u32>,
}

impl World {
    fn new(config: &GradientConfig, workers: usize, service_ms: f64, work: Work, seed: u64) -> Self {
        let mut world = Self {
            gradient: Gradient::new(config),
            origin: start(),
            now: 0,
            dice: Dice(seed),
            workers,
            busy: 0,
            service: service_ms * 1e6,
            work,
            waiting: VecDeque::new(),
            ends: BinaryHeap::new(),
            next_arrival: 0,
            offered: 0.0,
            drops: 0.0,
            served: 0,
            shed: 0,
            trace: Vec::new(),
        };
        world.offer(3.0);
        world
    }

    fn capacity(&self) -> f64 {
        self.workers as f64 / self.service * 1e9
    }

    /// So many times what the server can do.
    fn offer(&mut self, times: f64) {
        self.offered = self.capacity() * times;
    }

    fn begin_work(&mut self) {
        while self.busy < self.workers
            && let Some(came) = self.waiting.pop_front()
        {
            let times = match self.work {
                Work::Constant => 1.0,
                Work::Exponential => self.dice.exponential(),
                Work::Outliers => {
                    if self.dice.unit() < 0.01 {
                        10.0
                    } else {
                        90.0 / 99.0
                    }
                }
            };
            self.busy += 1;
            self.ends.push(Reverse((self.now + (self.service * times) as u64 + 1, came)));
        }
    }

    fn arrive(&mut self) {
        self.next_arrival = self.now + (self.dice.exponential() / self.offered * 1e9) as u64 + 1;
        if !self.gradient.enter() {
            self.shed += 1;
        } else if self.dice.unit() < self.drops {
            self.gradient.leave(self.origin + Duration::from_nanos(self.now), Duration::from_micros(50), Ending::Dropped);
        } else {
            self.waiting.push_back(self.now);
        }
    }

    fn end(&mut self) {
        let Some(Reverse((at, came))) = self.ends.pop() else { return };
        self.busy -= 1;
        self.served += 1;
        self.gradient.leave(self.origin + Duration::from_nanos(at), Duration::from_nanos(at - came), Ending::Answered);
    }

    /// Runs for so many seconds; the limit is noted every 10 ms.
    fn run(&mut self, seconds: f64) -> Seen {
        (self.served, self.shed) = (0, 0);
        self.trace.clear();
        let (until, mut note_at) = (self.now + (seconds * 1e9) as u64, self.now);
        loop {
            let end = self.ends.peek().map_or(u64::MAX, |Reverse((at, _))| *at);
            let next = self.next_arrival.min(end);
            while note_at <= next.min(until) {
                self.trace.push(self.gradient.limit());
                note_at += 10_000_000;
            }
            if next > until {
                break;
            }
            self.now = next;
            if end <= self.next_arrival {
                self.end()
            } else {
                self.arrive()
            }
            self.begin_work();
            assert_eq!(self.gradient.in_flight() as usize, self.waiting.len() + self.busy, "what is in flight is counted");
        }
        self.now = until;
        let mean = self.trace.iter().map(|limit| f64::from(*limit)).sum::<f64>() / self.trace.len() as f64;
        Seen { limit: mean, goodput: self.served as f64 / seconds / self.capacity(), shed: self.shed }
    }
}

#[derive(Debug)]
struct Seen {
    /// The mean limit.
    limit: f64,
    /// As a share of what the server can do.
    goodput: f64,
    shed: u64,
}

fn config() -> GradientConfig {
    GradientConfig::new()
}

#[test]
fn it_finds_the_capacity_within_a_fifth() {
    for work in WORKS {
        for (workers, service_ms) in [(8, 2.0), (20, 10.0), (50, 20.0), (50, 100.0), (200, 50.0)] {
            for seed in [1, 2] {
                let mut world = World::new(&config(), workers, service_ms, work, seed);
                world.run(30.0);
                let seen = world.run(20.0);
                let off = seen.limit / workers as f64;
                assert!((0.8..=1.2).contains(&off), "{workers} workers, {service_ms} ms, {work:?}, seed {seed}: {seen:?}");
                assert!(seen.goodput > 0.85, "{workers} workers, {service_ms} ms, {work:?}, seed {seed}: {seen:?}");
            }
        }
    }
}

#[test]
fn it_follows_a_server_that_loses_or_gains_workers() {
    for work in WORKS {
        for seed in [1, 2, 3] {
            let mut world = World::new(&config(), 60, 10.0, work, seed);
            world.run(15.0);
            world.workers = 30;
            world.run(5.0);
            let seen = world.run(10.0);
            assert!((24.0..=36.0).contains(&seen.limit) && seen.goodput > 0.9, "halved, {work:?}, seed {seed}: {seen:?}");
            world.workers = 60;
            world.run(5.0);
            let seen = world.run(10.0);
            assert!((48.0..=72.0).contains(&seen.limit) && seen.goodput > 0.9, "doubled, {work:?}, seed {seed}: {seen:?}");
        }
    }
}

#[test]
fn a_server_whose_calls_take_longer_for_good_is_not_starved() {
    for work in WORKS {
        for seed in [1, 2, 3] {
            let mut world = World::new(&config(), 50, 10.0, work, seed);
            world.run(15.0);
            world.service *= 2.0;
            world.offer(3.0);
            world.run(15.0);
            let seen = world.run(10.0);
            assert!((40.0..=60.0).contains(&seen.limit) && seen.goodput > 0.9, "{work:?}, seed {seed}: {seen:?}");
        }
    }
}

#[test]
fn latencies_that_scatter_shed_nobody_below_capacity() {
    for work in WORKS {
        for seed in [1, 2, 3] {
            let mut world = World::new(&config(), 50, 10.0, work, seed);
            world.offer(0.6);
            world.run(10.0);
            let seen = world.run(60.0);
            assert!(seen.shed < 60 * 3000 / 200, "{work:?}, seed {seed}: {seen:?}");
            assert!(seen.goodput > 0.59, "{work:?}, seed {seed}: {seen:?}");
        }
    }
}

#[test]
fn an_overload_that_lasts_does_not_become_normal() {
    let mut world = World::new(&config(), 50, 10.0, Work::Exponential, 7);
    world.run(15.0);
    for minute in 0..4 {
        let seen = world.run(60.0);
        assert!((40.0..=60.0).contains(&seen.limit) && seen.goodput > 0.9, "minute {minute}: {seen:?}");
    }
}

#[test]
fn it_grows_only_when_it_is_used() {
    let mut world = World::new(&config(), 500, 10.0, Work::Constant, 1);
    world.offered = 300.0;
    world.run(30.0);
    assert_eq!(world.gradient.limit(), 20, "three calls at once are no reason to allow more than twenty");
    assert!(world.gradient.unloaded().is_some_and(|latency| latency.as_millis() == 10));
}

#[test]
fn drops_shrink_it_and_rare_ones_do_not() {
    let mut world = World::new(&config(), 50, 10.0, Work::Constant, 1);
    world.run(15.0);
    world.drops = 0.002;
    let rare = world.run(10.0);
    assert!(rare.limit > 40.0, "{rare:?}");
    world.drops = 0.5;
    world.run(5.0);
    assert!(world.gradient.limit() < 20, "{}", world.gradient.limit());
    world.drops = 1.0;
    world.run(10.0);
    assert_eq!(world.gradient.limit(), config().min);
    world.drops = 0.0;
    world.run(10.0);
    let healed = world.run(10.0);
    assert!((40.0..=60.0).contains(&healed.limit), "{healed:?}");
}

#[test]
fn its_bounds_hold_and_may_be_narrowed_while_it_runs() {
    let tight = config().between(10, 25).unwrap();
    let mut world = World::new(&tight, 50, 10.0, Work::Constant, 1);
    world.run(10.0);
    assert!(world.trace.iter().all(|limit| (10..=25).contains(limit)));
    assert!(world.trace.contains(&25));
    world.gradient.settings.set(&config().between(1, 12).unwrap());
    world.run(1.0);
    let seen = world.run(5.0);
    assert!(world.trace.iter().all(|limit| (1..=12).contains(limit)) && seen.limit > 11.0, "{seen:?}");
}

#[test]
fn the_same_seed_gives_the_same_limits() {
    let trace = |seed| {
        let mut world = World::new(&config(), 30, 10.0, Work::Outliers, seed);
        world.run(20.0);
        world.trace
    };
    assert_eq!(trace(5), trace(5));
    assert_ne!(trace(5), trace(6));
}

#[test]
fn calls_that_are_taken_back_or_given_up_leave_no_trace() {
    let gradient = Gradient::new(&config());
    let now = start();
    for round in 0..1_000 {
        assert!(gradient.enter() && gradient.enter());
        gradient.back();
        gradient.leave(now + round * Duration::from_millis(5), Duration::from_secs(9), Ending::Ignored);
    }
    assert_eq!((gradient.in_flight(), gradient.limit(), gradient.unloaded()), (0, 20, None));
}

#[test]
fn threads_together_never_exceed_the_limit_and_leave_nothing_behind() {
    let gradient = Gradient::new(&config().initial(7).unwrap().between(7, 7).unwrap());
    let (now, begun, most) = (start(), AtomicU32::new(0), AtomicU32::new(0));
    std::thread::scope(|scope| {
        for thread in 0..4_u64 {
            let (gradient, begun, most) = (&gradient, &begun, &most);
            scope.spawn(move || {
                let mut held = 0;
                let mut dice = Dice(thread);
                for round in 0..5_000_u32 {
                    if dice.unit() < 0.5 && gradient.enter() {
                        held += 1;
                        most.fetch_max(begun.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                    } else if held > 0 {
                        held -= 1;
                        begun.fetch_sub(1, Ordering::SeqCst);
                        gradient.leave(now + round * Duration::from_millis(1), Duration::from_millis(3), Ending::Answered);
                    }
                }
                (0..held).for_each(|_| {
                    begun.fetch_sub(1, Ordering::SeqCst);
                    gradient.back();
                });
            });
        }
    });
    assert!((1..=7).contains(&most.load(Ordering::SeqCst)), "{most:?}");
    assert_eq!(gradient.in_flight(), 0);
}

#[test]
fn what_is_wrong_is_named() {
    for (config, field) in [
        (json!(3), "concurrencyLimit"),
        (json!({"initial": 0}), "concurrencyLimit.initial"),
        (json!({"min": 9, "max": 3}), "concurrencyLimit.min"),
        (json!({"max": 1_000_001}), "concurrencyLimit.max"),
        (json!({"tolerance": 2}), "concurrencyLimit.tolerance"),
        (json!({"tolerance": 0.9}), "concurrencyLimit.tolerance"),
        (json!({"smoothing": 0}), "concurrencyLimit.smoothing"),
        (json!({"window": "0.001s"}), "concurrencyLimit.window"),
        (json!({"probeEvery": "0.5s"}), "concurrencyLimit.probeEvery"),
        (json!({"probeEvery": 5}), "concurrencyLimit.probeEvery"),
    ] {
        assert_eq!(GradientConfig::from_json(&config).unwrap_err().field, field, "{config}");
    }
    assert_eq!(GradientConfig::from_json(&json!({})).unwrap(), GradientConfig::new());
}
