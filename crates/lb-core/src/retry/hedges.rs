//! When the next hedge of a call is sent.

use std::time::{Duration, Instant};

use super::{HedgingPolicy, Pushback, Surfaced, Throttle};

/// The attempts of one hedged call. Attempts are begun when [`due`](Self::due) says so, and every one that fails is told to
/// [`failed`](Self::failed).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hedges {
    begun: u32,
    in_flight: u32,
    /// When the next one is due; `None` if there will be none.
    next_at: Option<Instant>,
    /// Why there will be none, if that is not for their number.
    stopped: Option<Surfaced>,
}

/// What follows a failed attempt of a hedged call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HedgeStep {
    /// Go on: others are in flight, or the next one is due now or later.
    GoOn,
    /// End the call with this failure; cancel the others.
    Surface,
}

impl Hedges {
    /// A call that begins: its first attempt is due at once.
    pub fn new(now: Instant) -> Self {
        Self { begun: 0, in_flight: 0, next_at: Some(now), stopped: None }
    }

    /// When the next attempt is due; `None` if there will be none.
    pub fn next_at(&self) -> Option<Instant> {
        self.next_at
    }

    /// Attempts begun so far.
    pub fn begun(&self) -> u32 {
        self.begun
    }

    /// Whether to begin an attempt now. It counts as begun if so. The first always may; a further one only while the throttle
    /// permits, and once it does not there are no more.
    pub fn due(&mut self, now: Instant, policy: &HedgingPolicy, throttle: &Throttle) -> bool {
        if self.next_at.is_none_or(|at| at > now) {
            return false;
        }
        if self.begun > 0 && !throttle.permits() {
            self.stop(Surfaced::Throttled);
            return false;
        }
        self.begun += 1;
        self.in_flight += 1;
        self.schedule(now, policy.delay(), policy);
        true
    }

    /// No further attempts: those in flight go on. After a pick that was dropped.
    pub fn freeze(&mut self) {
        self.stop(Surfaced::Committed);
    }

    /// Why the call ends with the failures it has had, once a step says so.
    pub fn why(&self) -> Surfaced {
        self.stopped.unwrap_or(Surfaced::LastAttempt)
    }

    /// What ended the further attempts first is why.
    fn stop(&mut self, why: Surfaced) {
        if self.next_at.take().is_some() {
            self.stopped = self.stopped.or(Some(why));
        }
    }

    /// An attempt came to nothing in a way that says nothing of the call: it was dropped at the pick, or others have sent more than can
    /// be sent again.
    pub fn withdrawn(&mut self) -> HedgeStep {
        self.in_flight = self.in_flight.saturating_sub(1);
        self.verdict()
    }

    /// An attempt failed with this code.
    pub fn failed(
        &mut self,
        now: Instant,
        code: i32,
        pushback: Pushback,
        policy: &HedgingPolicy,
        throttle: &Throttle,
    ) -> HedgeStep {
        self.in_flight = self.in_flight.saturating_sub(1);
        let non_fatal = policy.non_fatal().contains(code);
        if non_fatal || pushback == Pushback::Stop {
            throttle.failed();
        }
        if !non_fatal {
            let why = if pushback == Pushback::Stop { Surfaced::Forbidden } else { Surfaced::OtherCode };
            self.stopped = Some(why);
            return HedgeStep::Surface;
        }
        match pushback {
            Pushback::Stop => self.stop(Surfaced::Forbidden),
            Pushback::After(delay) if self.next_at.is_some() => self.schedule(now, delay, policy),
            Pushback::None if self.next_at.is_some() => self.next_at = Some(now),
            Pushback::After(_) | Pushback::None => {}
        }
        if !throttle.permits() {
            self.stop(Surfaced::Throttled);
        }
        self.verdict()
    }

    fn verdict(&self) -> HedgeStep {
        if self.in_flight == 0 && self.next_at.is_none() { HedgeStep::Surface } else { HedgeStep::GoOn }
    }

    fn schedule(&mut self, now: Instant, delay: Duration, policy: &HedgingPolicy) {
        // A time that cannot be added to the present never comes.
        self.next_at = if self.begun < policy.max_attempts() { now.checked_add(delay) } else { None };
    }
}

#[cfg(test)]
mod tests;
