//! What all calls of a channel may retry together.
//!
//! A bucket of tokens. An attempt that fails with a retryable code takes one, a call that succeeds brings a small part of one, and
//! further attempts are made only while it is more than half full. It never blocks: a retry that is denied surfaces the failure.
//!
//! Bound: from a full bucket, `max_tokens / 2` failures at most are followed by a retry before all retries stop; afterwards
//! retries make up at most `token_ratio` of the calls that succeed.
//!
//! Source: gRFC A6.

use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::Value;

use super::policy::object;
use crate::policy::ConfigError;

const NAME: &str = "retryThrottling";

/// Tokens are counted in thousandths, as gRPC does: the ratio has three decimals.
const WHOLE: f64 = 1000.0;

/// A million thousandths, the most there may be, need 20 bits, and three such numbers fit one word.
const BITS: u32 = 20;
const MASK: u64 = (1 << BITS) - 1;

/// How a channel's retries are held back while many attempts fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Throttling {
    /// In thousandths.
    max: u32,
    ratio: u32,
}

impl Default for Throttling {
    /// Ten tokens, a tenth of one for each success: what gRPC's own examples use. Five failures in a row end retrying.
    fn default() -> Self {
        Self { max: 10_000, ratio: 100 }
    }
}

impl Throttling {
    /// A bucket of `max_tokens`, above 0 and at most 1000, to which each success adds `token_ratio`, from 0.001. Both are cut
    /// to three decimals.
    pub fn try_new(max_tokens: f64, token_ratio: f64) -> Result<Self, ConfigError> {
        let max = thousandths("maxTokens", max_tokens, "a number above 0 (from 0.001) and at most 1000", 1000.0)?;
        let ratio = thousandths("tokenRatio", token_ratio, "a number above 0 (from 0.001)", f64::MAX)?;
        // More than a full bucket is a full bucket.
        Ok(Self { max, ratio: ratio.min(max) })
    }

    /// From a `retryThrottling` in gRPC's JSON; unknown fields are ignored.
    ///
    /// # Errors
    /// `maxTokens` or `tokenRatio` is missing, no number or out of range.
    pub fn from_json(value: &Value) -> Result<Self, ConfigError> {
        object(NAME, value)?;
        // Missing is refused like any other value that is not allowed.
        let number = |field: &str| match value.get(field) {
            None | Some(Value::Null) => Ok(f64::NAN),
            Some(given) => given.as_f64().ok_or_else(|| ConfigError::new(format!("{NAME}.{field}"), given, "a number")),
        };
        Self::try_new(number("maxTokens")?, number("tokenRatio")?)
    }
}

fn thousandths(field: &str, value: f64, allowed: &str, most: f64) -> Result<u32, ConfigError> {
    // 0.546 · 1000 is 545.999…: a billionth part more makes it 546, and no fourth decimal a third.
    let cut = (value * WHOLE * (1.0 + 1e-9)).floor();
    if cut >= 1.0 && value <= most {
        return Ok(cut as u32);
    }
    Err(ConfigError::new(format!("{NAME}.{field}"), value, allowed))
}

/// The tokens of a channel. Shared by all its calls; no lock, one word.
#[derive(Debug)]
pub struct Throttle(
    /// Tokens, the most there may be, and what a success adds; in thousandths, from the lowest bits up. All 0 is off.
    AtomicU64,
);

impl Default for Throttle {
    /// Off.
    fn default() -> Self {
        Self::new(None)
    }
}

impl Throttle {
    /// A full bucket, or one that is off and permits everything.
    pub fn new(config: Option<Throttling>) -> Self {
        Self(AtomicU64::new(config.map_or(0, |config| pack(config.max, config))))
    }

    /// Changes the configuration. The bucket stays as full as it was, in proportion; one that was off is full.
    pub fn configure(&self, config: Option<Throttling>) {
        self.change(|tokens, max, _| {
            let Some(config) = config else { return 0 };
            let scaled = if max == 0 { u64::from(config.max) } else { u64::from(tokens) * u64::from(config.max) / u64::from(max) };
            pack(scaled as u32, config)
        });
    }

    /// An attempt failed in a way that counts: takes a token. Whether another attempt may follow.
    pub fn failed(&self) -> bool {
        let word = self.change(|tokens, max, ratio| pack(tokens.saturating_sub(WHOLE as u32), Throttling { max, ratio }));
        permits(word)
    }

    /// A call succeeded. A full bucket is only read.
    #[inline]
    pub fn succeeded(&self) {
        let (tokens, max, _) = unpack(self.0.load(Ordering::Relaxed));
        if tokens < max {
            self.change(|tokens, max, ratio| pack((tokens + ratio).min(max), Throttling { max, ratio }));
        }
    }

    /// Whether further attempts may be made now.
    pub fn permits(&self) -> bool {
        permits(self.0.load(Ordering::Relaxed))
    }

    /// Tokens there are now; `None` if it is off.
    pub fn tokens(&self) -> Option<f64> {
        let (tokens, max, _) = unpack(self.0.load(Ordering::Relaxed));
        (max > 0).then(|| f64::from(tokens) / WHOLE)
    }

    /// Applies a change that leaves one that is off as it is unless it turns it on. What is there afterwards.
    fn change(&self, change: impl Fn(u32, u32, u32) -> u64) -> u64 {
        let mut seen = self.0.load(Ordering::Relaxed);
        loop {
            let (tokens, max, ratio) = unpack(seen);
            let next = change(tokens, max, ratio);
            match self.0.compare_exchange_weak(seen, next, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return next,
                Err(newer) => seen = newer,
            }
        }
    }
}

fn pack(tokens: u32, Throttling { max, ratio }: Throttling) -> u64 {
    u64::from(tokens) | u64::from(max) << BITS | u64::from(ratio) << (2 * BITS)
}

fn unpack(word: u64) -> (u32, u32, u32) {
    let part = |index: u32| (word >> (index * BITS) & MASK) as u32;
    (part(0), part(1), part(2))
}

fn permits(word: u64) -> bool {
    let (tokens, max, _) = unpack(word);
    // Off, or more than half full: the half itself denies.
    max == 0 || 2 * tokens > max
}

#[cfg(test)]
mod tests;
