use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{COARSE, History, Performance, ticks};
use crate::feedback::Done;
use crate::policies::testing::{slot, start};
use crate::stats::{EndpointStats, Outcome};

const MS: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);

struct Channel {
    now: Instant,
    history: History,
    endpoints: Vec<Arc<EndpointStats>>,
}

impl Channel {
    fn new(endpoints: usize) -> Self {
        let endpoints = (0..endpoints).map(|_| Arc::default()).collect();
        let now = at_the_turn_of_a_step(start());
        Self { now, history: History::new(now), endpoints }
    }

    fn call(&self, at: usize, latency: Duration, outcome: Outcome) {
        self.endpoints[at].begin();
        self.endpoints[at].finish(&Done::new(slot(0), self.now, latency, outcome));
    }

    /// So many seconds, with looks when they are due.
    fn run(&mut self, seconds: u32, mut each: impl FnMut(&Self)) {
        for _ in 0..seconds {
            let due = History::next_look(self.now);
            self.now += SECOND;
            each(self);
            if self.now >= due {
                self.look();
            }
        }
    }

    fn look(&mut self) {
        self.history.look(self.now, self.endpoints.iter());
    }

    fn performance(&mut self, window: u64) -> Performance {
        self.look();
        self.history.performance(self.now, Duration::from_secs(window))
    }
}

/// Steps are counted from an instant that all tests of a process share: without this, how much of a window's first step a test sees would depend on
/// who came first.
fn at_the_turn_of_a_step(now: Instant) -> Instant {
    let into = ticks(now).rem_euclid(COARSE.step);
    now + Duration::from_nanos((COARSE.step - into + 1) as u64)
}

fn close(value: f64, expected: f64) -> bool {
    (value / expected - 1.0).abs() < 0.13
}

#[test]
fn a_window_holds_what_ended_in_it() {
    let mut channel = Channel::new(3);
    channel.run(600, |channel| (0..3).for_each(|at| channel.call(at, 10 * MS, Outcome::Success)));
    channel.run(60, |channel| {
        channel.call(0, 500 * MS, Outcome::Success);
        channel.call(1, MS, Outcome::Failure);
        channel.call(2, MS, Outcome::Cancelled);
    });
    let minute = channel.performance(60);
    assert!(minute.window >= Duration::from_secs(60) && minute.window < Duration::from_secs(71), "{minute:?}");
    assert_eq!((minute.succeeded, minute.failed, minute.cancelled), (60, 60, 60));
    assert!(close(minute.rate, 3.0) && close(minute.latency.unwrap().p50.as_secs_f64(), 0.5), "{minute:?}");
    let hour = channel.performance(3600);
    assert_eq!((hour.succeeded, hour.failed, hour.window), (1860, 60, Duration::from_secs(660)), "no older than the channel");
    let latency = hour.latency.unwrap();
    assert!(close(latency.p50.as_secs_f64(), 0.01) && (500 * MS..=625 * MS).contains(&latency.p99), "{latency:?}");
    assert_eq!(latency.count, 1860, "none is lost where minutes turn, none is counted twice");
    assert!(close(hour.error_rate.unwrap(), 60.0 / 1920.0));
}

#[test]
fn an_hour_is_remembered_and_no_more() {
    let mut channel = Channel::new(1);
    channel.run(2 * 3600, |channel| channel.call(0, MS, Outcome::Success));
    let hour = channel.performance(100_000);
    assert!(hour.window <= Duration::from_secs(3600) && hour.window > Duration::from_secs(3500), "{hour:?}");
    assert!(close(hour.rate, 1.0), "{hour:?}");
    let five = channel.performance(300);
    assert!(five.window >= Duration::from_secs(300) && five.window < Duration::from_secs(311) && close(five.rate, 1.0), "{five:?}");
    channel.run(3601, |_| {});
    let hour = channel.performance(3600);
    assert_eq!((hour.succeeded, hour.rate, hour.latency, hour.error_rate), (0, 0.0, None, None));
    assert!(channel.history.fine.is_empty() && channel.history.coarse.is_empty(), "and silence takes no memory");
}

#[test]
fn endpoints_that_come_and_go_are_counted_to_their_end() {
    let mut channel = Channel::new(2);
    channel.run(15, |channel| (0..2).for_each(|at| channel.call(at, MS, Outcome::Success)));
    // Both are called once more after the last look; then one is replaced by another that answers, too.
    (0..2).for_each(|at| channel.call(at, MS, Outcome::Success));
    channel.endpoints[1] = Arc::default();
    channel.call(1, MS, Outcome::Success);
    let all = channel.performance(60);
    assert_eq!((all.succeeded, all.latency.unwrap().count), (33, 33));
    channel.endpoints.clear();
    assert_eq!(channel.performance(60).succeeded, 33);
    channel.endpoints.push(Arc::default());
    channel.call(0, MS, Outcome::Success);
    assert_eq!(channel.performance(60).succeeded, 34);
}

#[test]
fn memory_is_bounded_whatever_calls_there_are() {
    let mut channel = Channel::new(1);
    channel.run(2 * 3600, |channel| {
        // A call in every bucket in every step.
        for exponent in 0..56 {
            channel.call(0, Duration::from_secs_f64(2e-6 * 2f64.powf(f64::from(exponent) / 2.0)), Outcome::Success);
        }
    });
    let steps = || channel.history.fine.iter().chain(&channel.history.coarse);
    let bytes: usize = steps().map(|step| size_of_val(step) + step.latencies.bytes()).sum();
    assert!(steps().count() <= 91 && bytes < 48 * 1024, "{} steps, {bytes} bytes", steps().count());
}

#[test]
fn looks_are_due_at_the_ends_of_steps() {
    let now = start();
    for ahead in [0, 1, 3, 9_999, 10_000, 25_000] {
        let now = now + Duration::from_millis(ahead);
        let due = History::next_look(now);
        assert!(due > now && due <= now + Duration::from_secs(10));
        assert_eq!(History::next_look(due), due + Duration::from_secs(10));
    }
}
