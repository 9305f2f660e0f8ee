//! Time that passes only when it is told to.

use std::time::{Duration, Instant};

/// A clock that starts at zero and is moved by hand. Instants are counted from one real instant taken when it is made, which
/// nothing may depend on.
#[derive(Debug, Clone)]
pub struct SimClock {
    start: Instant,
    now: Instant,
}

impl Default for SimClock {
    fn default() -> Self {
        Self::new()
    }
}

impl SimClock {
    /// A clock at zero.
    pub fn new() -> Self {
        let start = Instant::now();
        Self { start, now: start }
    }

    /// The present.
    pub fn now(&self) -> Instant {
        self.now
    }

    /// Time since zero.
    pub fn elapsed(&self) -> Duration {
        self.now - self.start
    }

    /// Moves forward.
    pub fn advance(&mut self, by: Duration) {
        self.now += by;
    }

    /// Moves to an instant; one in the past leaves the clock where it is.
    pub fn advance_to(&mut self, at: Instant) {
        self.now = self.now.max(at);
    }
}
