//! Failures in a row, and who wants to hear of them at once.

use std::sync::atomic::{AtomicU32, Ordering};

use super::aside::Aside;
use crate::feedback::Done;
use crate::gate::GateSignal;
use crate::stats::Outcome;

const UNKNOWN: i32 = 2;
const DEADLINE_EXCEEDED: i32 = 4;
const UNIMPLEMENTED: i32 = 12;
const INTERNAL: i32 = 13;
const UNAVAILABLE: i32 = 14;
const DATA_LOSS: i32 = 15;

/// How many of the latest answers in a row were failures of the server.
///
/// Failures are the codes whose HTTP counterparts are 5xx, as Envoy has them, and calls without a code, whose connection was lost; those
/// of them that a gateway would answer for a server it cannot reach are counted by themselves, too. Any other code is an answer and ends
/// the row: what the caller did wrong is not the server's fault. Cancelled calls say nothing.
#[derive(Debug, Default)]
pub(super) struct InARow {
    failures: AtomicU32,
    gateway: AtomicU32,
}

/// Wakes the channel when a row is long enough; 0 is never.
#[derive(Debug)]
pub(super) struct Alarm {
    failures: AtomicU32,
    gateway: AtomicU32,
    signal: GateSignal,
}

impl InARow {
    #[inline]
    pub(super) fn finished(&self, done: &Done<'_>, aside: &Aside) {
        match done.outcome {
            Outcome::Success => self.answered(),
            Outcome::Failure => self.failed(done.code, aside),
            Outcome::Cancelled => {}
        }
    }

    /// Writes only if there is a row to end.
    #[inline]
    fn answered(&self) {
        if self.failures.load(Ordering::Relaxed) != 0 {
            self.failures.store(0, Ordering::Relaxed);
            self.gateway.store(0, Ordering::Relaxed);
        }
    }

    #[cold]
    fn failed(&self, code: Option<i32>, aside: &Aside) {
        let (server, gateway) = match code {
            None | Some(DEADLINE_EXCEEDED | UNAVAILABLE) => (true, true),
            Some(UNKNOWN | UNIMPLEMENTED | INTERNAL | DATA_LOSS) => (true, false),
            Some(_) => (false, false),
        };
        if !server {
            return self.answered();
        }
        let failures = more(&self.failures);
        let gateway = if gateway { more(&self.gateway) } else { none(&self.gateway) };
        if let Some(alarm) = aside.alarm()
            && (rings(failures, &alarm.failures) || rings(gateway, &alarm.gateway))
        {
            alarm.signal.changed();
        }
    }

    pub(super) fn failures(&self) -> u32 {
        self.failures.load(Ordering::Relaxed)
    }

    pub(super) fn gateway(&self) -> u32 {
        self.gateway.load(Ordering::Relaxed)
    }
}

impl Alarm {
    pub(super) fn new(signal: GateSignal) -> Self {
        Self { failures: AtomicU32::new(0), gateway: AtomicU32::new(0), signal }
    }

    /// Wakes the channel from now on when a row gets this long.
    pub(super) fn set(&self, failures: u32, gateway: u32) {
        self.failures.store(failures, Ordering::Relaxed);
        self.gateway.store(gateway, Ordering::Relaxed);
    }
}

fn more(row: &AtomicU32) -> u32 {
    row.fetch_add(1, Ordering::Relaxed).saturating_add(1)
}

fn none(row: &AtomicU32) -> u32 {
    row.store(0, Ordering::Relaxed);
    0
}

/// At the threshold, and then at twice, four times and so on: where nobody may be ejected a server that fails everything must not have
/// the channel look again with every few calls.
fn rings(row: u32, threshold: &AtomicU32) -> bool {
    let threshold = threshold.load(Ordering::Relaxed);
    threshold > 0 && row.is_multiple_of(threshold) && (row / threshold).is_power_of_two()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::AtomicUsize;
    use std::time::Duration;

    use super::*;
    use crate::gate::GateListener;
    use crate::policies::testing::{slot, start};

    fn tell((row, aside): &(InARow, Aside), outcome: Outcome, code: Option<i32>) -> (u32, u32) {
        row.finished(&Done::new(slot(0), start(), Duration::ZERO, outcome).with_code(code), aside);
        (row.failures(), row.gateway())
    }

    #[test]
    fn rows_are_of_server_failures_and_end_with_any_answer() {
        let row = Default::default();
        for (code, expected) in [(Some(13), (1, 0)), (Some(14), (2, 1)), (None, (3, 2)), (Some(4), (4, 3)), (Some(2), (5, 0))] {
            assert_eq!(tell(&row, Outcome::Failure, code), expected, "{code:?}");
        }
        assert_eq!(tell(&row, Outcome::Cancelled, Some(1)), (5, 0), "the caller went away: nothing is learnt");
        for code in [5, 1, 3, 6, 7, 8, 9, 10, 11, 16] {
            tell(&row, Outcome::Failure, None);
            assert_eq!(tell(&row, Outcome::Failure, Some(code)), (0, 0), "{code} is an answer");
        }
        tell(&row, Outcome::Failure, None);
        assert_eq!(tell(&row, Outcome::Success, Some(0)), (0, 0));
    }

    #[derive(Debug, Default)]
    struct Bell(AtomicUsize);

    impl GateListener for Bell {
        fn changed(&self) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
        fn opened(&self) {}
    }

    #[test]
    fn the_channel_is_woken_at_the_threshold_and_ever_more_rarely_after_it() {
        let (row, bell): ((InARow, Aside), _) = (Default::default(), Arc::new(Bell::default()));
        let rung_after = |failures: usize| {
            for _ in 0..failures {
                tell(&row, Outcome::Failure, Some(13));
            }
            bell.0.load(Ordering::Relaxed)
        };
        assert_eq!(rung_after(10), 0, "nobody watches");
        tell(&row, Outcome::Success, None);
        row.1.watch(5, 0, &GateSignal::new(bell.clone()));
        assert_eq!([rung_after(4), rung_after(1), rung_after(4), rung_after(1)], [0, 1, 1, 2]);
        assert_eq!(rung_after(100_000), 15, "at 5, 10, 20 and so on to 81 920");
        tell(&row, Outcome::Success, None);
        assert_eq!([rung_after(4), rung_after(1)], [15, 16]);
    }
}
