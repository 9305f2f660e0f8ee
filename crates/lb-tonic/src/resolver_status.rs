//! How far what a channel knows of its endpoints can be trusted.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use lb_core::ResolveError;
use serde::Serialize;
use tokio::time::Instant;

use crate::stats::optional_seconds;

/// What the resolver of a channel has done so far, and whether it can answer now.
///
/// A resolver that fails costs no endpoint: the channel keeps the last set it was given, and this says how old the doubt about it is.
///
/// As data, names are in camel case and times are seconds with decimals.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct ResolverStatus {
    /// For how long the resolver has not been able to answer; `None` while it can. The set in use is at least this old.
    #[serde(serialize_with = "optional_seconds")]
    pub stale_for: Option<Duration>,
    /// What it failed with last, while it fails.
    pub error: Option<Arc<str>>,
    /// Why the last service config it brought was refused, while it is; an earlier one or none may be in use.
    pub refused_config: Option<Arc<str>>,
    /// Sets it has delivered since the channel was built.
    pub updates: u64,
    /// Failures it has told since the channel was built.
    pub failures: u64,
}

/// Written by the driver, read by anybody.
#[derive(Debug, Default)]
pub(crate) struct Resolution(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    failing: Option<(Instant, Arc<str>)>,
    refused_config: Option<Arc<str>>,
    updates: u64,
    failures: u64,
}

impl Resolution {
    pub(crate) fn succeeded(&self) {
        self.change(|inner| {
            inner.failing = None;
            inner.updates += 1;
        });
    }

    pub(crate) fn refused_config(&self, reason: Option<&Arc<str>>) {
        self.change(|inner| inner.refused_config = reason.cloned());
    }

    /// The doubt begins with the first of several failures, the error is the last one's.
    pub(crate) fn failed(&self, error: &ResolveError, now: Instant) {
        self.change(|inner| {
            let since = inner.failing.as_ref().map_or(now, |(since, _)| *since);
            inner.failing = Some((since, error.to_string().into()));
            inner.failures += 1;
        });
    }

    /// The channel has let its resolver go: nothing is known, and so nothing is stale.
    pub(crate) fn stopped(&self) {
        self.change(|inner| (inner.failing, inner.refused_config) = (None, None));
    }

    pub(crate) fn status(&self, now: Instant) -> ResolverStatus {
        let inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (stale_for, error) = inner.failing.clone().map(|(since, error)| (now.saturating_duration_since(since), error)).unzip();
        let refused_config = inner.refused_config.clone();
        ResolverStatus { stale_for, error, refused_config, updates: inner.updates, failures: inner.failures }
    }

    fn change(&self, change: impl FnOnce(&mut Inner)) {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

#[cfg(test)]
mod tests {
    use lb_core::ResolveErrorKind;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_doubt_is_as_old_as_the_first_failure_and_ends_with_an_answer() {
        let resolution = Resolution::default();
        resolution.succeeded();
        assert_eq!(resolution.status(Instant::now()), ResolverStatus { updates: 1, ..ResolverStatus::default() });
        resolution.failed(&ResolveError::new(ResolveErrorKind::Unavailable, "first"), Instant::now());
        tokio::time::advance(Duration::from_secs(60)).await;
        resolution.failed(&ResolveError::new(ResolveErrorKind::Unavailable, "second"), Instant::now());
        let status = resolution.status(Instant::now());
        assert_eq!((status.stale_for, status.failures), (Some(Duration::from_secs(60)), 2));
        assert!(status.error.is_some_and(|error| error.contains("second")));
        resolution.succeeded();
        let status = resolution.status(Instant::now());
        assert_eq!((status.stale_for, status.error, status.updates), (None, None, 2));
    }
}
