//! The way of one endpoint from its first share to the full one.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::config::{Linear, RampConfig, Steps};
use crate::stats::EndpointStats;

/// How often a line is looked at in its window. Its share is set for the middle of the time until the next look, so that a straight line
/// is never off by more than 1.25 points; a bent one is where it is steep, for a fortieth of the window.
const LOOKS_PER_WINDOW: u32 = 40;

/// How often steps are looked at between two of them, so that an endpoint which fails all its calls need not wait for the next.
const LOOKS_PER_STEP: u32 = 10;

/// So many calls can say that an endpoint fails before its step is over.
const TELLING: u64 = 10;

/// What became of an endpoint's calls, ever.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Counts {
    succeeded: u64,
    failed: u64,
}

impl Counts {
    fn of(stats: &EndpointStats) -> Self {
        Self { succeeded: stats.succeeded(), failed: stats.failed() }
    }

    fn since(self, before: Self) -> Self {
        let Self { succeeded, failed } = self;
        Self { succeeded: succeeded.saturating_sub(before.succeeded), failed: failed.saturating_sub(before.failed) }
    }

    fn calls(self) -> u64 {
        self.succeeded + self.failed
    }

    /// 1 without calls.
    fn success(self) -> f64 {
        1.0 - self.failed as f64 / self.calls().max(1) as f64
    }
}

/// One endpoint's ramp.
#[derive(Debug)]
pub(super) struct Climb {
    pub(super) share: f64,
    /// When it began, or began anew.
    pub(super) since: Instant,
    /// When to look next.
    pub(super) next: Instant,
    /// Of steps: when the last one was made, and the calls until then.
    step: (Instant, Counts),
}

/// What a look at a ramp came to.
#[derive(Debug, PartialEq)]
pub(super) enum Look {
    /// It goes on.
    Climbing,
    /// Back to where it began, and why.
    FellBack(Arc<str>),
    /// The full share.
    Finished,
}

impl Climb {
    /// Begins.
    pub(super) fn begin(now: Instant, config: &RampConfig, stats: &EndpointStats) -> Self {
        let mut climb = Self { share: config.start(), since: now, next: now, step: (now, Counts::of(stats)) };
        // A line's first share is that of the middle of its first piece.
        let _ = climb.look(now, config, stats);
        climb
    }

    /// Looks at the clock and at the endpoint's calls. Looking more often than asked for changes nothing.
    pub(super) fn look(&mut self, now: Instant, config: &RampConfig, stats: &EndpointStats) -> Look {
        if now < self.next {
            return Look::Climbing;
        }
        match config {
            RampConfig::Linear(line) => self.along(now, line),
            RampConfig::Steps(steps) => self.up(now, steps, Counts::of(stats)),
        }
    }

    fn along(&mut self, now: Instant, line: &Linear) -> Look {
        let passed = now.saturating_duration_since(self.since);
        if passed >= line.window {
            return Look::Finished;
        }
        let piece = line.window / LOOKS_PER_WINDOW;
        self.next = now + piece;
        let part = (passed + piece / 2).as_secs_f64() / line.window.as_secs_f64();
        self.share = part.powf(1.0 / line.aggression).clamp(line.least, 1.0);
        Look::Climbing
    }

    fn up(&mut self, now: Instant, steps: &Steps, counts: Counts) -> Look {
        let (made, before) = self.step;
        let calls = counts.since(before);
        let (due, fails) = (now >= made + steps.every, calls.success() < steps.threshold);
        let look = if fails && (due || calls.calls() >= TELLING) {
            self.fall_back(now, steps, calls)
        } else if due {
            // Ten steps of 0.1 are 0.9999999999999999.
            self.share += steps.step;
            if self.share >= 1.0 - 1e-9 { Look::Finished } else { Look::Climbing }
        } else {
            self.next = now + pause(steps);
            return Look::Climbing;
        };
        self.step = (now, counts);
        self.next = now + pause(steps);
        look
    }

    /// An endpoint that is where it began stays there, and has not fallen.
    fn fall_back(&mut self, now: Instant, steps: &Steps, calls: Counts) -> Look {
        let fell = self.share > steps.start;
        (self.share, self.since) = (steps.start, now);
        let percent = |share: f64| (share * 100.0).round();
        let reason = || format!("{} % of {} calls succeeded", percent(calls.success()), calls.calls());
        if fell { Look::FellBack(reason().into()) } else { Look::Climbing }
    }
}

fn pause(steps: &Steps) -> Duration {
    (steps.every / LOOKS_PER_STEP).max(Duration::from_millis(1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policies::testing::start;
    use crate::stats::Outcome;

    fn secs(secs: u64) -> Duration {
        Duration::from_secs(secs)
    }

    fn calls(stats: &EndpointStats, succeeded: u64, failed: u64) {
        for outcome in (0..succeeded).map(|_| Outcome::Success).chain((0..failed).map(|_| Outcome::Failure)) {
            stats.begin();
            stats.end(outcome);
        }
    }

    /// Looks whenever asked for until `end` after the beginning; answers with the shares and what happened.
    fn run(
        climb: &mut Climb,
        config: &RampConfig,
        stats: &EndpointStats,
        until: Instant,
        mut each: impl FnMut(&Climb),
    ) -> Option<Look> {
        while climb.next <= until {
            let now = climb.next;
            match climb.look(now, config, stats) {
                Look::Climbing => each(climb),
                other => return Some(other),
            }
        }
        None
    }

    #[test]
    fn a_line_is_never_off_by_more_than_its_pieces() {
        for (aggression, off) in [(0.5, 0.026), (1.0, 0.013), (2.0, 0.05)] {
            let config = RampConfig::linear(secs(60)).unwrap().with_aggression(aggression).unwrap();
            let (stats, begin) = (EndpointStats::default(), start());
            let mut climb = Climb::begin(begin, &config, &stats);
            let mut looks = 1;
            let end = run(&mut climb, &config, &stats, begin + secs(61), |climb| {
                looks += 1;
                for at in [climb.next - Duration::from_millis(1500), climb.next] {
                    let ideal = (at - begin).as_secs_f64() / 60.0;
                    let ideal = ideal.powf(1.0 / aggression).max(0.1);
                    assert!((climb.share - ideal).abs() < off, "{aggression}: {} for {ideal}", climb.share);
                }
            });
            assert_eq!((end, looks), (Some(Look::Finished), 40));
        }
    }

    #[test]
    fn steps_grow_while_calls_succeed_and_are_over_after_nine() {
        let (config, stats, begin) = (RampConfig::steps(), EndpointStats::default(), start());
        let mut climb = Climb::begin(begin, &config, &stats);
        for step in 0..9_u32 {
            let expected = 0.1 * f64::from(step + 1);
            assert!((climb.share - expected).abs() < 1e-9, "{} in step {step}", climb.share);
            calls(&stats, 80, 20);
            let end = run(&mut climb, &config, &stats, begin + secs(30) * (step + 1), |_| {});
            assert_eq!(end, (step == 8).then_some(Look::Finished), "exactly 80 % is enough");
        }
    }

    #[test]
    fn it_falls_back_at_the_step_or_as_soon_as_ten_calls_say_so() {
        let (config, stats, begin) = (RampConfig::steps(), EndpointStats::default(), start());
        let mut climb = Climb::begin(begin, &config, &stats);
        assert_eq!(run(&mut climb, &config, &stats, begin + secs(60), |_| {}), None);
        assert!((climb.share - 0.3).abs() < 1e-9, "without calls nothing speaks against it");
        calls(&stats, 7, 2);
        let fell = run(&mut climb, &config, &stats, begin + secs(90), |_| {});
        assert_eq!(fell, Some(Look::FellBack("78 % of 9 calls succeeded".into())));
        assert_eq!((climb.share, climb.since), (0.1, begin + secs(90)), "nine calls wait for the step");

        assert_eq!(run(&mut climb, &config, &stats, begin + secs(121), |_| {}), None);
        calls(&stats, 0, 10);
        let fell = run(&mut climb, &config, &stats, begin + secs(130), |_| {});
        assert_eq!(fell, Some(Look::FellBack("0 % of 10 calls succeeded".into())));
        assert_eq!(climb.since, begin + secs(123), "ten do not");
        calls(&stats, 0, 10);
        assert_eq!(run(&mut climb, &config, &stats, begin + secs(200), |_| {}), None, "it has not fallen from where it began");
    }

    #[test]
    fn looking_too_often_changes_nothing() {
        let (config, stats, begin) = (RampConfig::steps(), EndpointStats::default(), start());
        let mut climb = Climb::begin(begin, &config, &stats);
        for millis in 0..29_999 {
            assert_eq!(climb.look(begin + Duration::from_millis(millis), &config, &stats), Look::Climbing);
        }
        assert_eq!(climb.share, 0.1);
    }
}
