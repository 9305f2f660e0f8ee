//! What health checks have found at an endpoint.

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use serde::{Serialize, Serializer};

/// Counted where checks end; read by anybody.
#[derive(Debug, Default)]
pub(super) struct Checks {
    checks: AtomicU64,
    failures: AtomicU64,
    /// In ticks; 0 is never.
    last: AtomicI64,
    passed: AtomicBool,
    /// An `f32` as bits, seconds.
    took: AtomicU32,
}

/// What health checks have found at an endpoint since it was first listed, over all its connections.
///
/// As data, names are in camel case and times are seconds with decimals.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct CheckCounts {
    /// Answers of the endpoint, and checks without one. Where the server tells of changes by itself each of its messages is one.
    pub checks: u64,
    /// Those that did not say that it serves.
    pub failures: u64,
    /// How long ago the last one ended.
    #[serde(serialize_with = "seconds")]
    pub last: Duration,
    /// Whether the last one said that it serves.
    pub passed: bool,
    /// How long the last one took that was asked, from the question to the answer.
    #[serde(serialize_with = "seconds")]
    pub latency: Duration,
}

fn seconds<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(duration.as_secs_f64())
}

impl Checks {
    /// `took` is `None` for an answer nobody has asked for.
    pub(super) fn note(&self, at: i64, took: Option<Duration>, passed: bool) {
        self.checks.fetch_add(1, Ordering::Relaxed);
        self.failures.fetch_add(u64::from(!passed), Ordering::Relaxed);
        self.passed.store(passed, Ordering::Relaxed);
        self.last.store(at, Ordering::Relaxed);
        if let Some(took) = took {
            self.took.store(took.as_secs_f32().to_bits(), Ordering::Relaxed);
        }
    }

    /// `None` before the first check has ended.
    pub(super) fn counts(&self, now: i64) -> Option<CheckCounts> {
        let last = self.last.load(Ordering::Relaxed);
        (last != 0).then(|| CheckCounts {
            checks: self.checks.load(Ordering::Relaxed),
            failures: self.failures.load(Ordering::Relaxed),
            last: Duration::from_nanos(now.saturating_sub(last).max(0) as u64),
            passed: self.passed.load(Ordering::Relaxed),
            latency: Duration::try_from_secs_f32(f32::from_bits(self.took.load(Ordering::Relaxed))).unwrap_or(Duration::MAX),
        })
    }
}
