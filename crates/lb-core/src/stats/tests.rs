use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::{EndpointStats, Outcome, ticks};
use crate::feedback::Done;
use crate::load::LoadReport;
use crate::policies::testing::{slot, start};

const MS: Duration = Duration::from_millis(1);

const SECOND: Duration = Duration::from_secs(1);

struct Endpoint {
    stats: EndpointStats,
    now: Instant,
}

impl Endpoint {
    fn new() -> Self {
        Self { stats: EndpointStats::default(), now: start() }
    }

    /// A call that ends now after this long.
    fn call(&self, latency: Duration, outcome: Outcome) {
        self.stats.begin();
        self.stats.finish(&Done::new(slot(0), self.now, latency, outcome));
    }

    /// For this long, a call every 20 ms.
    fn calls(&mut self, time: Duration, latency: Duration, outcome: Outcome) {
        for _ in 0..time.as_millis() / 20 {
            self.now += 20 * MS;
            self.call(latency, outcome);
        }
    }

    fn latency(&self) -> f64 {
        self.stats.latency().map_or(0.0, |latency| latency.as_secs_f64() * 1e3)
    }

    fn peak(&self) -> f64 {
        self.stats.peak_latency(self.now).map_or(0.0, |latency| latency.as_secs_f64() * 1e3)
    }

    fn success(&self) -> f64 {
        self.stats.success_rate().unwrap()
    }
}

fn close(value: f64, expected: f64) -> bool {
    (value / expected - 1.0).abs() < 0.02
}

#[test]
fn it_fills_one_cache_line_and_no_more() {
    assert_eq!((size_of::<EndpointStats>(), align_of::<EndpointStats>()), (64, 64));
}

#[test]
fn nothing_is_known_before_the_first_answer() {
    let endpoint = Endpoint::new();
    let now = endpoint.now;
    let unknown = |stats: &EndpointStats| (stats.latency(), stats.peak_latency(now)) == (None, None);
    assert!(unknown(&endpoint.stats) && endpoint.stats.success_rate().is_none() && endpoint.stats.report_age(now).is_none());
    endpoint.call(5 * SECOND, Outcome::Cancelled);
    assert!(unknown(&endpoint.stats) && endpoint.stats.success_rate().is_none());
    endpoint.call(MS, Outcome::Failure);
    assert!(unknown(&endpoint.stats) && endpoint.success() < 1.0);
}

#[test]
fn the_first_answers_count_alike() {
    let endpoint = Endpoint::new();
    for latency in [1_000, 10, 20, 30] {
        endpoint.call(latency * MS, Outcome::Success);
    }
    assert!(close(endpoint.latency(), 265.0), "{}", endpoint.latency());
}

#[test]
fn latency_follows_within_its_memory_whatever_the_rate() {
    for pause in [MS, 20 * MS, 200 * MS] {
        let mut endpoint = Endpoint::new();
        let mut run = |latency: Duration, time: Duration| {
            for _ in 0..time.as_nanos() / pause.as_nanos() {
                endpoint.now += pause;
                endpoint.call(latency, Outcome::Success);
            }
            endpoint.latency()
        };
        assert!(close(run(10 * MS, 60 * SECOND), 10.0));
        // From 10 to 110 over one memory: all but 1/e of the way, 73.2.
        assert!(close(run(110 * MS, 10 * SECOND), 73.2));
    }
}

#[test]
fn a_peak_rises_at_once_and_sinks_slowly() {
    let mut endpoint = Endpoint::new();
    endpoint.calls(SECOND, 10 * MS, Outcome::Success);
    assert!(close(endpoint.peak(), 10.0));
    endpoint.call(500 * MS, Outcome::Success);
    assert!(close(endpoint.peak(), 500.0) && endpoint.latency() < 30.0);
    endpoint.calls(10 * SECOND, 10 * MS, Outcome::Success);
    // 10 and 1/e of 490.
    assert!(close(endpoint.peak(), 190.3), "{}", endpoint.peak());
}

#[test]
fn in_silence_a_peak_sinks_to_nothing() {
    let endpoint = Endpoint::new();
    endpoint.call(1_000 * MS, Outcome::Success);
    for (silence, expected) in [(1, 990.1), (10, 500.0), (70, 20.0), (1_000, 0.1)] {
        let now = endpoint.now + silence * SECOND;
        let peak = endpoint.stats.peak_latency(now).unwrap().as_secs_f64() * 1e3;
        assert!(close(peak, expected), "{silence}: {peak}");
    }
    assert!(close(endpoint.latency(), 1_000.0), "the mean is what it was");
}

#[test]
fn a_failure_makes_no_endpoint_look_faster() {
    let mut endpoint = Endpoint::new();
    endpoint.calls(SECOND, 20 * MS, Outcome::Success);
    endpoint.calls(60 * SECOND, MS, Outcome::Failure);
    assert!(close(endpoint.latency(), 20.0) && close(endpoint.peak(), 20.0), "{} {}", endpoint.latency(), endpoint.peak());
    assert!(endpoint.success() < 0.001);
    endpoint.call(5 * SECOND, Outcome::Failure);
    assert!(close(endpoint.peak(), 5_000.0), "but it can make it look slower");
}

#[test]
fn a_call_given_up_was_at_least_that_slow() {
    let mut endpoint = Endpoint::new();
    endpoint.calls(SECOND, 20 * MS, Outcome::Success);
    endpoint.now += SECOND;
    let before = endpoint.peak();
    endpoint.call(MS, Outcome::Cancelled);
    assert!(endpoint.peak() == before, "a hedge that lost says nothing, and is no answer that ends a silence");
    endpoint.call(5 * SECOND, Outcome::Cancelled);
    assert!(close(endpoint.peak(), 5_000.0) && endpoint.latency() > 100.0 && endpoint.success() == 1.0);
}

#[test]
fn success_rate_follows_in_seconds_and_one_failure_is_not_the_end() {
    let mut endpoint = Endpoint::new();
    endpoint.calls(10 * SECOND, MS, Outcome::Success);
    assert_eq!(endpoint.success(), 1.0);
    endpoint.now += 3_600 * SECOND;
    endpoint.call(MS, Outcome::Failure);
    assert_eq!(endpoint.success(), 0.75);
    endpoint.calls(SECOND, MS, Outcome::Failure);
    // 0.75 · 0.98^50
    assert!((endpoint.success() - 0.273).abs() < 0.01, "{}", endpoint.success());
    endpoint.calls(5 * SECOND, MS, Outcome::Success);
    assert!(endpoint.success() > 0.99);
}

#[test]
fn a_share_of_failures_is_seen_as_it_is() {
    let mut endpoint = Endpoint::new();
    let mut sum = 0.0;
    for round in 0..1_000 {
        endpoint.calls(20 * MS, MS, if round % 10 == 0 { Outcome::Failure } else { Outcome::Success });
        sum += endpoint.success();
    }
    assert!(close(sum / 1_000.0, 0.9), "{}", sum / 1_000.0);
}

#[test]
fn failures_are_forgotten_in_silence() {
    let mut endpoint = Endpoint::new();
    endpoint.calls(60 * SECOND, MS, Outcome::Failure);
    let failing = |seconds: u32| f64::from(endpoint.stats.failing(ticks(endpoint.now + seconds * SECOND)));
    assert!(close(failing(0), 1.0) && close(failing(10), 0.5) && close(failing(70), 0.02));
}

#[test]
fn time_that_goes_backwards_changes_nothing_much() {
    let mut endpoint = Endpoint::new();
    endpoint.calls(SECOND, 20 * MS, Outcome::Success);
    let now = endpoint.now;
    endpoint.now -= 10 * SECOND;
    assert!(close(endpoint.peak(), 20.0), "an age below 0 is 0");
    endpoint.call(20 * MS, Outcome::Success);
    endpoint.now = now + 10 * SECOND;
    assert!(close(endpoint.peak(), 10.0), "and the later time stays");
}

#[test]
fn reports_are_read_back_and_what_they_leave_out_stays() {
    let endpoint = Endpoint::new();
    let mut load = LoadReport { in_flight: Some(0), latency: Some(80 * MS), application_utilization: 1.5, ..LoadReport::default() };
    endpoint.stats.report(endpoint.now, &load);
    let read = |stats: &EndpointStats| {
        (stats.reported_in_flight(), stats.reported_latency().map(|latency| latency.as_secs_f32()), stats.utilization())
    };
    assert_eq!(read(&endpoint.stats), (Some(0), Some(0.08), Some(1.5)));
    load = LoadReport { in_flight: Some(u32::MAX), ..LoadReport::default() };
    endpoint.stats.finish(&Done::new(slot(0), endpoint.now + SECOND, MS, Outcome::Success).with_load(Some(&load)));
    assert_eq!(read(&endpoint.stats), (Some(u32::MAX - 1), Some(0.08), Some(1.5)));
    assert_eq!(endpoint.stats.report_age(endpoint.now + 3 * SECOND), Some(2 * SECOND));
    assert_eq!(endpoint.stats.report_age(endpoint.now), Some(Duration::ZERO));
}

fn calls() -> impl Strategy<Value = Vec<(u64, u64, u8)>> {
    prop::collection::vec(
        (prop_oneof![0..1_000_000_u64, any::<u64>()], prop_oneof![0..1_000_000_u64, any::<u64>()], 0..3_u8),
        1..50,
    )
}

proptest! {
    #[test]
    fn estimates_stay_in_range_whatever_happens(calls in calls()) {
        let mut endpoint = Endpoint::new();
        for (pause, latency, outcome) in calls {
            endpoint.now = endpoint.now.checked_add(Duration::from_nanos(pause >> 8)).unwrap_or(endpoint.now);
            let outcome = [Outcome::Success, Outcome::Failure, Outcome::Cancelled][usize::from(outcome)];
            endpoint.call(Duration::from_millis(latency), outcome);
            prop_assert!(endpoint.stats.success_rate().is_none_or(|rate| (0.0..=1.0).contains(&rate)));
            prop_assert!(endpoint.latency().is_finite() && endpoint.peak().is_finite());
            prop_assert_eq!(endpoint.stats.latency().is_some(), endpoint.stats.succeeded() > 0);
        }
    }
}

#[test]
fn ten_thousand_endpoints_that_all_answer_take_fourteen_megabytes_at_most() {
    // Each with its counters, its histogram and what few need; the channel's history is bounded by itself.
    let each = size_of::<EndpointStats>() + size_of::<super::Seldom>() + size_of::<super::Histogram>() + super::aside::BYTES;
    assert!(10_000 * each <= 14 << 20, "{each} bytes each");
    // A subscriber's backlog: 1024 events, whatever the endpoints.
    assert!(1024 * size_of::<crate::LbEvent>() <= 128 << 10, "{} bytes each", size_of::<crate::LbEvent>());
}
