//! What a server knows of its own load, and says in reports and probe answers.
//!
//! Requests in flight and latency are as in the Prequal paper: for every finished call the server keeps how long it took and how many
//! were in flight when it came, and answers with the median of the latest latencies at or near what is in flight now. The shares and
//! rates that ORCA has are averages over about a second.

use std::collections::VecDeque;
use std::time::Duration;

use lb_core::LoadReport;

use crate::time::Time;

/// Numbers in flight below this have a class of latencies each; beyond, there are four to each doubling.
const EXACT: u32 = 16;
/// Latencies kept per class.
const KEPT: usize = 8;
/// Fewer are no median; the neighbouring classes are asked too.
const ENOUGH: usize = 5;
/// Older ones say nothing about now.
const FRESH: Time = 5_000_000_000;
/// Seconds the averages reach back.
const REACH: f64 = 1.0;

#[derive(Debug, Default)]
pub(crate) struct Signal {
    /// By class of what a call found in flight: when it ended, and how long it took.
    classes: Vec<VecDeque<(Time, Time)>>,
    utilization: f64,
    qps: f64,
    eps: f64,
}

/// One report, before it is made into the type that policies see.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Said {
    in_flight: u32,
    latency: Option<Duration>,
    utilization: f64,
    qps: f64,
    eps: f64,
}

impl Signal {
    /// `span` seconds have passed, with this share of the allocation in use.
    pub(crate) fn pass(&mut self, span: f64, used: f64) {
        let kept = (-span / REACH).exp();
        self.utilization = used + (self.utilization - used) * kept;
        self.qps *= kept;
        self.eps *= kept;
    }

    /// A call is done that found `in_flight` others.
    pub(crate) fn done(&mut self, at: Time, in_flight: usize, latency: Time) {
        self.qps += 1.0 / REACH;
        let class = class(in_flight as u32);
        if self.classes.len() <= class {
            self.classes.resize(class + 1, VecDeque::with_capacity(KEPT));
        }
        let kept = &mut self.classes[class];
        if kept.len() == KEPT {
            kept.pop_front();
        }
        kept.push_back((at, latency));
    }

    /// A call was answered with an error.
    pub(crate) fn failed(&mut self) {
        self.qps += 1.0 / REACH;
        self.eps += 1.0 / REACH;
    }

    /// What it says now.
    pub(crate) fn say(&self, now: Time, in_flight: usize) -> Said {
        let (utilization, qps, eps) = (self.utilization, self.qps, self.eps);
        Said { in_flight: in_flight as u32, latency: self.latency(now, in_flight as u32), utilization, qps, eps }
    }

    fn latency(&self, now: Time, in_flight: u32) -> Option<Duration> {
        let own = class(in_flight);
        let mut found = Vec::with_capacity(3 * KEPT);
        let mut collect = |class: usize| {
            let kept = self.classes.get(class).into_iter().flatten();
            found.extend(kept.filter(|(at, _)| now - at <= FRESH).map(|(_, latency)| *latency));
            found.len() >= ENOUGH
        };
        let mut enough = collect(own);
        for distance in 1..=self.classes.len().max(own) {
            if enough {
                break;
            }
            let below = own.checked_sub(distance).is_some_and(&mut collect);
            enough = collect(own + distance) || below;
        }
        found.sort_unstable();
        found.get(found.len() / 2).map(|latency| Duration::from_nanos(*latency))
    }
}

/// As `lb-server` has them, so that a policy sees here what it will see there.
fn class(in_flight: u32) -> usize {
    if in_flight < EXACT {
        return in_flight as usize;
    }
    let doublings = in_flight.ilog2();
    (EXACT + (doublings - 4) * 4 + ((in_flight >> (doublings - 2)) & 3)) as usize
}

impl Said {
    pub(crate) fn report(&self) -> LoadReport {
        let mut report = LoadReport::default();
        report.cpu_utilization = self.utilization;
        report.qps = self.qps;
        report.eps = self.eps;
        report.in_flight = Some(self.in_flight);
        report.latency = self.latency;
        report
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_of_the_nearest_in_flight() {
        let mut signal = Signal::default();
        for latency in 0..20 {
            signal.done(0, 1, 1_000 + latency);
            signal.done(0, 9, 9_000 + latency);
        }
        let latency = |in_flight| signal.say(0, in_flight).latency.map(|latency| latency.as_nanos());
        assert!((1_000..1_020).contains(&latency(2).unwrap()) && (9_000..9_020).contains(&latency(8).unwrap()));
        assert_eq!(signal.say(FRESH + 1, 1).latency, None, "too old");
    }

    #[test]
    fn averages_follow_the_rate() {
        let mut signal = Signal::default();
        for call in 0..1_000 {
            signal.pass(0.01, 0.5);
            if call % 10 == 0 { signal.failed() } else { signal.done(0, 1, 1) }
        }
        let report = signal.say(0, 0).report();
        assert!((report.qps - 100.0).abs() < 2.0 && (report.eps - 10.0).abs() < 1.0 && (report.cpu_utilization - 0.5).abs() < 1e-3);
    }
}
