//! What was said last, so that nothing is said twice.

use std::sync::Arc;
use std::time::Duration;

use lb_core::ResolveError;
use lb_core::ResolverUpdate;
use tokio::time::Instant;

use crate::failure::Failure;

/// An error that stays the same is repeated at this pace, with its age.
const REPEATED: Duration = Duration::from_secs(30);

/// Remembers the last update and the last error.
#[derive(Debug, Default)]
pub(crate) struct Voice {
    update: Option<ResolverUpdate>,
    /// `None` while all is well.
    trouble: Option<Trouble>,
}

#[derive(Debug)]
struct Trouble {
    since: Instant,
    said: Instant,
    message: Arc<str>,
}

impl Voice {
    /// An update, if it says something new or ends an error.
    pub(crate) fn update(&mut self, update: ResolverUpdate) -> Option<ResolverUpdate> {
        let recovered = self.trouble.take();
        if let Some(trouble) = &recovered {
            tracing::info!(endpoints = update.endpoints.len(), stale = ?trouble.since.elapsed(), "etcd answers again");
        }
        if recovered.is_none() && self.update.as_ref() == Some(&update) {
            return None;
        }
        self.update = Some(update.clone());
        Some(update)
    }

    /// An error that says since when the set is stale; `None` if that was said a moment ago.
    pub(crate) fn failure(&mut self, failure: Failure) -> Option<ResolveError> {
        let now = Instant::now();
        let before = self.trouble.take();
        if before.is_none() {
            tracing::warn!(error = %failure.message, "etcd cannot be watched");
        }
        let since = before.as_ref().map_or(now, |trouble| trouble.since);
        let same = before.filter(|trouble| trouble.message == failure.message && now - trouble.said < REPEATED);
        if let Some(trouble) = same {
            self.trouble = Some(trouble);
            return None;
        }
        self.trouble = Some(Trouble { since, said: now, message: Arc::clone(&failure.message) });
        Some(failure.into_error(&self.age(now - since)))
    }

    fn age(&self, age: Duration) -> String {
        match &self.update {
            Some(_) => format!(" (the last good set stands, stale for {:.1} s)", age.as_secs_f64()),
            None => String::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use lb_core::ResolveErrorKind;

    use super::*;
    use crate::failure::Cause;

    fn trouble(message: &str) -> Failure {
        Failure::new(Cause::Unavailable, message)
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_the_same_is_said_once_and_again_as_the_end_of_an_error() {
        let mut voice = Voice::default();
        let update = || ResolverUpdate::new(Vec::new());
        assert!(voice.update(update()).is_some());
        assert!(voice.update(update()).is_none());
        assert!(voice.failure(trouble("a")).is_some());
        assert!(voice.update(update()).is_some());
        assert!(voice.update(update()).is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn an_error_is_repeated_seldom_and_tells_its_age() {
        let mut voice = Voice::default();
        let first = voice.failure(trouble("a")).unwrap();
        assert_eq!((first.kind(), first.message()), (ResolveErrorKind::Unavailable, "a"));
        voice.update(ResolverUpdate::new(Vec::new())).unwrap();
        assert!(voice.failure(trouble("a")).unwrap().message().contains("stale for 0.0 s"));
        tokio::time::advance(Duration::from_secs(1)).await;
        assert!(voice.failure(trouble("a")).is_none());
        assert!(voice.failure(trouble("b")).unwrap().message().contains("b (the last good set stands, stale for 1.0 s)"));
        tokio::time::advance(REPEATED).await;
        assert!(voice.failure(trouble("b")).unwrap().message().contains("31.0 s"));
    }
}
