//! Pacing of connection attempts.
//!
//! Attempt *k* (from 0) is given a delay of `initial · multiplier^k`, at most `max`, spread by ± `jitter`. The next attempt may start
//! that long after the *start* of this one, so an attempt that took longer is followed at once. Jitter comes after the cap, so
//! the longest delay is `max · (1 + jitter)`. The delay of attempt 0 is not spread. A connection counts as made, and the count
//! starts over, only once the server's SETTINGS were seen; see [`Backoff::reset`].
//!
//! Bound: a server that is away for a time *t* sees about `log(t)` attempts of each client at first, then one per `max`.
//! When not: anything whose retry should depend on the error; this paces by count alone.
//!
//! Source: gRPC connection backoff (the specification and the core implementation; grpc-go sleeps after the failure instead).

use std::time::{Duration, Instant};

use crate::policy::ConfigError;

/// Below a millisecond a refused port would keep a core busy.
const SHORTEST: Duration = Duration::from_millis(1);

/// Nobody waits longer; it also keeps every sum of instants far from overflow.
const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);

/// How connection attempts of one subchannel are paced. The default is gRPC's: 1 s, times 1.6, at most 120 s, ±20 %, attempts
/// bounded by 20 s or their delay, whichever is longer.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct BackoffConfig {
    initial: Duration,
    multiplier: f64,
    max: Duration,
    jitter: f64,
    min_connect_timeout: Duration,
}

impl Default for BackoffConfig {
    fn default() -> Self {
        Self {
            initial: Duration::from_secs(1),
            multiplier: 1.6,
            max: Duration::from_secs(120),
            jitter: 0.2,
            min_connect_timeout: Duration::from_secs(20),
        }
    }
}

impl BackoffConfig {
    /// A configuration with all five values; see the setters for what each may be.
    pub fn try_new(
        initial: Duration,
        multiplier: f64,
        max: Duration,
        jitter: f64,
        min_connect_timeout: Duration,
    ) -> Result<Self, ConfigError> {
        Self::default()
            .with_initial(initial)?
            .with_multiplier(multiplier)?
            .with_max(max)?
            .with_jitter(jitter)?
            .with_min_connect_timeout(min_connect_timeout)
    }

    /// Sets the delay of the first attempt, 1 ms to 24 h; default 1 s. Effective is the smaller of this and the longest delay.
    pub fn with_initial(self, initial: Duration) -> Result<Self, ConfigError> {
        let initial = within("initial", initial, SHORTEST)?;
        Ok(Self { initial, ..self })
    }

    /// Sets the factor from one delay to the next, 1 to 100; default 1.6.
    pub fn with_multiplier(self, multiplier: f64) -> Result<Self, ConfigError> {
        match multiplier {
            1.0..=100.0 => Ok(Self { multiplier, ..self }),
            _ => Err(ConfigError::new("backoff.multiplier", multiplier, "a number from 1 to 100")),
        }
    }

    /// Sets the longest delay before jitter, 1 ms to 24 h; default 120 s.
    pub fn with_max(self, max: Duration) -> Result<Self, ConfigError> {
        let max = within("max", max, SHORTEST)?;
        Ok(Self { max, ..self })
    }

    /// Sets the spread as a share of the delay, 0 to 0.9; default 0.2. With 1 a delay could be nothing at all.
    pub fn with_jitter(self, jitter: f64) -> Result<Self, ConfigError> {
        match jitter {
            0.0..=0.9 => Ok(Self { jitter, ..self }),
            _ => Err(ConfigError::new("backoff.jitter", jitter, "a number from 0 to 0.9")),
        }
    }

    /// Sets how long an attempt may take even if its delay is shorter, 0 to 24 h; default 20 s. With 0 an attempt may take as long
    /// as its delay.
    pub fn with_min_connect_timeout(self, timeout: Duration) -> Result<Self, ConfigError> {
        let min_connect_timeout = within("min_connect_timeout", timeout, Duration::ZERO)?;
        Ok(Self { min_connect_timeout, ..self })
    }

    /// The delay of attempt `k` before jitter.
    pub fn nominal(&self, k: u32) -> Duration {
        let growth = self.multiplier.powi(k.try_into().unwrap_or(i32::MAX));
        // Infinite for large k, which the cap takes care of.
        Duration::from_secs_f64((self.initial.as_secs_f64() * growth).min(self.max.as_secs_f64()))
    }

    fn delay(&self, k: u32, entropy: u64) -> Duration {
        if k == 0 {
            return self.nominal(0);
        }
        // 53 bits fill the mantissa: uniform in [0, 1).
        let uniform = (entropy >> 11) as f64 / (1_u64 << 53) as f64;
        self.nominal(k).mul_f64(1.0 - self.jitter + 2.0 * self.jitter * uniform)
    }
}

fn within(field: &str, value: Duration, least: Duration) -> Result<Duration, ConfigError> {
    if (least..=LONGEST).contains(&value) {
        return Ok(value);
    }
    Err(ConfigError::new(format!("backoff.{field}"), format!("{value:?}"), format!("{least:?} to {LONGEST:?}")))
}

/// The attempts of one subchannel so far. Belongs to the subchannel and lives as long as it, across resolver updates.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Backoff {
    config: BackoffConfig,
    attempts: u32,
}

/// What an attempt that starts now may take, and when the next one may start if it fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attempt {
    /// The attempt fails if it is not READY after this time.
    pub timeout: Duration,
    /// No further attempt before this time; it may have passed when the attempt fails.
    pub retry_at: Instant,
}

impl Backoff {
    /// No attempts yet.
    pub fn new(config: BackoffConfig) -> Self {
        Self { config, attempts: 0 }
    }

    /// Counts an attempt that starts at `now` and says how long it may take. `entropy` is 64 random bits.
    pub fn begin(&mut self, now: Instant, entropy: u64) -> Attempt {
        let delay = self.config.delay(self.attempts, entropy);
        self.attempts = self.attempts.saturating_add(1);
        Attempt { timeout: delay.max(self.config.min_connect_timeout), retry_at: now + delay }
    }

    /// Starts over: a connection was made (the server's SETTINGS seen), or somebody asked for an immediate attempt.
    pub fn reset(&mut self) {
        self.attempts = 0;
    }

    /// Attempts since the last reset.
    pub fn attempts(&self) -> u32 {
        self.attempts
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// An instant to count from; nothing depends on which.
    fn start() -> Instant {
        #[expect(clippy::disallowed_methods, reason = "an Instant has no other constructor; the value does not matter")]
        Instant::now()
    }

    fn unspread() -> BackoffConfig {
        BackoffConfig::default().with_jitter(0.0).unwrap()
    }

    #[test]
    fn nominal_delays_follow_the_table() {
        let expected = [1.0, 1.6, 2.56, 4.096, 6.554, 10.486, 16.777, 26.844, 42.950, 68.719, 109.951, 120.0, 120.0];
        let (now, mut backoff) = (start(), Backoff::new(unspread()));
        for (k, expected) in expected.into_iter().enumerate() {
            assert_eq!(backoff.attempts() as usize, k);
            let attempt = backoff.begin(now, 7);
            let delay = (attempt.retry_at - now).as_secs_f64();
            assert!((delay - expected).abs() < 0.001, "attempt {k}: {delay}, expected {expected}");
            assert_eq!(attempt.timeout, (attempt.retry_at - now).max(Duration::from_secs(20)));
        }
    }

    #[test]
    fn thirteen_attempts_in_540_seconds() {
        let (now, mut backoff, mut at, mut attempts) = (start(), Backoff::new(unspread()), start(), 0);
        while at < now + Duration::from_secs(540) {
            at = backoff.begin(at, 0).retry_at;
            attempts += 1;
        }
        assert!((12..=14).contains(&attempts), "{attempts}");
    }

    #[test]
    fn the_first_delay_is_not_spread_and_later_ones_are_after_the_cap() {
        let now = start();
        for (entropy, factor) in [(0, 0.8), (1 << 63, 1.0), (u64::MAX, 1.2)] {
            let mut backoff = Backoff::default();
            assert_eq!(backoff.begin(now, entropy).retry_at, now + Duration::from_secs(1));
            for _ in 0..20 {
                backoff.begin(now, entropy);
            }
            let delay = (backoff.begin(now, entropy).retry_at - now).as_secs_f64();
            assert!((delay - 120.0 * factor).abs() < 1e-6, "{delay}");
        }
    }

    #[test]
    fn no_min_connect_timeout_bounds_an_attempt_by_its_delay() {
        let mut backoff = Backoff::new(unspread().with_min_connect_timeout(Duration::ZERO).unwrap());
        assert_eq!(backoff.begin(start(), 0).timeout, Duration::from_secs(1));
    }

    #[test]
    fn reset_starts_over_and_overrides_are_honoured() {
        let ms = Duration::from_millis;
        let (now, mut backoff) = (start(), Backoff::new(BackoffConfig::try_new(ms(10), 2.0, ms(35), 0.0, ms(5)).unwrap()));
        let mut delays = || backoff.begin(now, 1).retry_at - now;
        assert_eq!([delays(), delays(), delays(), delays()], [ms(10), ms(20), ms(35), ms(35)]);
        backoff.reset();
        assert_eq!(backoff.begin(now, 1).retry_at - now, ms(10));
    }

    #[test]
    fn values_out_of_range_are_errors_that_name_the_field() {
        let (default, second) = (BackoffConfig::default(), Duration::from_secs(1));
        for (result, field) in [
            (default.with_initial(Duration::ZERO), "backoff.initial"),
            (default.with_max(Duration::MAX), "backoff.max"),
            (default.with_multiplier(0.99), "backoff.multiplier"),
            (default.with_multiplier(f64::NAN), "backoff.multiplier"),
            (default.with_jitter(1.0), "backoff.jitter"),
            (default.with_jitter(-0.1), "backoff.jitter"),
            (default.with_min_connect_timeout(LONGEST + second), "backoff.min_connect_timeout"),
            (BackoffConfig::try_new(second, f64::INFINITY, second, 0.0, second), "backoff.multiplier"),
        ] {
            assert_eq!(result.unwrap_err().field, field);
        }
    }

    proptest! {
        #[test]
        fn delays_stay_within_their_bounds(k in any::<u32>(), entropy in any::<u64>(), multiplier in 1.0..100.0_f64) {
            let config = BackoffConfig::default().with_multiplier(multiplier).unwrap();
            let (nominal, delay) = (config.nominal(k), config.delay(k, entropy));
            prop_assert!(nominal >= Duration::from_secs(1) && nominal <= Duration::from_secs(120));
            prop_assert!(delay >= nominal.mul_f64(0.799) && delay <= nominal.mul_f64(1.201));
        }
    }
}
