//! Calls that found no endpoint: counted by why, and told together.
//!
//! A call that fails pays two additions and a comparison. The first of a while writes its reason down and wakes the driver, which tells at
//! once and then at most once a second ([`LbEvent::SelectionFailed`]), so that a storm of failing calls is one event with a number.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use lb_core::LbEvent;
use tokio::time::Instant;

use crate::error::CallError;
use crate::shared::Shared;

/// The least time between two tellings: what people follow, and what fills no log.
const PAUSE: Duration = Duration::from_secs(1);

/// Why there was no endpoint, one word for each kind of [`CallError`] a pick can end with.
const KINDS: [&str; 12] = [
    "no_endpoint",
    "nothing_fits",
    "breakers_open",
    "shed",
    "dropped",
    "dropped_by_category",
    "too_many_requests",
    "queue_full",
    "queue_timeout",
    "unknown_policy",
    "deadline_exceeded",
    "other",
];

fn kind(error: &CallError) -> usize {
    match error {
        CallError::NoEndpoint { .. } => 0,
        CallError::NothingFits { .. } => 1,
        CallError::BreakersOpen { .. } => 2,
        CallError::Shed { .. } => 3,
        CallError::Dropped { .. } => 4,
        CallError::DroppedByCategory { .. } => 5,
        CallError::TooManyRequests { .. } => 6,
        CallError::QueueFull { .. } => 7,
        CallError::QueueTimeout { .. } => 8,
        CallError::UnknownPolicy { .. } => 9,
        CallError::DeadlineExceeded { .. } => 10,
        _ => 11,
    }
}

/// Counted where calls fail.
#[derive(Debug, Default)]
pub(crate) struct PickFailures {
    counts: [AtomicU64; KINDS.len()],
    /// Whether the driver knows that there is something to tell.
    pending: AtomicBool,
    /// In full, of the first failure since the last telling.
    reason: Mutex<Option<Arc<str>>>,
}

impl PickFailures {
    /// So many calls failed for each reason, ever.
    pub(crate) fn by_kind(&self) -> BTreeMap<&'static str, u64> {
        let counts = KINDS.into_iter().zip(&self.counts).map(|(kind, count)| (kind, count.load(Ordering::Relaxed)));
        counts.filter(|(_, count)| *count > 0).collect()
    }
}

impl Shared {
    /// A call has found no endpoint.
    #[cold]
    pub(crate) fn pick_failed(&self, error: &CallError) {
        if matches!(error, CallError::Closed) {
            return;
        }
        let failures = &self.pick_failures;
        failures.counts[kind(error)].fetch_add(1, Ordering::Relaxed);
        if !failures.pending.load(Ordering::Relaxed) && !failures.pending.swap(true, Ordering::AcqRel) {
            *failures.reason.lock().unwrap_or_else(PoisonError::into_inner) = Some(error.to_string().into());
            self.inbox.picks_failed();
        }
    }
}

/// Tells of them, not too often. The driver's.
#[derive(Debug, Default)]
pub(crate) struct PickFailureNews {
    told: BTreeMap<&'static str, u64>,
    next: Option<Instant>,
    due: bool,
}

impl PickFailureNews {
    /// There is something to tell; [`due_at`](Self::due_at) says when.
    pub(crate) fn wake(&mut self) {
        self.due = true;
    }

    /// When to tell; `None` while there is nothing.
    pub(crate) fn due_at(&self, now: Instant) -> Option<Instant> {
        self.due.then(|| self.next.unwrap_or(now))
    }

    /// What happened since the last time.
    pub(crate) fn tell(&mut self, failures: &PickFailures, now: Instant) -> Option<LbEvent> {
        (self.due, self.next) = (false, Some(now + PAUSE));
        let reason = failures.reason.lock().unwrap_or_else(PoisonError::into_inner).take();
        // What is counted after this is the next telling's, whose first failure wakes the driver again.
        failures.pending.store(false, Ordering::Release);
        let counts = failures.by_kind();
        let new = |(kind, count): (&&'static str, &u64)| (*kind, count - self.told.get(kind).copied().unwrap_or(0));
        let reasons: BTreeMap<_, _> = counts.iter().map(new).filter(|(_, count)| *count > 0).collect();
        self.told = counts;
        let calls = reasons.values().sum();
        (calls > 0).then(|| LbEvent::SelectionFailed { reason: reason.unwrap_or_default(), calls, reasons })
    }
}
