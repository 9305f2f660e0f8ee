//! The stream of one target: look, yield what is new, wait.

use std::time::Duration;

use futures_util::FutureExt;
use futures_util::stream;
use lb_core::ResolveError;
use lb_core::ResolveErrorKind;
use lb_core::ResolveNow;
use lb_core::ResolverStream;
use lb_core::ResolverUpdate;
use tokio::time::Instant;
use tokio::time::timeout;

use crate::lookup::Look;
use crate::lookup::Lookup;
use crate::pace::Pace;
use crate::pace::Plan;

/// After so many failures in a row the network may have changed under us: the system's configuration is read anew.
const FAILURES_TO_RENEW: u32 = 3;

/// Owns everything the stream needs, so that dropping the stream drops it all, in the middle of a query too.
pub(crate) struct DnsStream {
    lookup: Lookup,
    pace: Pace,
    timeout: Duration,
    again: ResolveNow,
    /// `None` before the first look.
    plan: Option<Plan>,
    /// What was last yielded, unless an error was.
    yielded: Option<ResolverUpdate>,
    /// In a row.
    failures: u32,
}

impl DnsStream {
    pub(crate) fn new(lookup: Lookup, pace: Pace, timeout: Duration, again: ResolveNow) -> Self {
        Self { lookup, pace, timeout, again, plan: None, yielded: None, failures: 0 }
    }

    pub(crate) fn run(self) -> ResolverStream {
        Box::pin(stream::unfold(self, |mut this| async move {
            let item = this.next().await;
            Some((item, this))
        }))
    }

    async fn next(&mut self) -> Result<ResolverUpdate, ResolveError> {
        loop {
            if let Some(plan) = self.plan.take() {
                plan.wait(&mut self.again).await;
            }
            // Whoever asked before the look began is answered by it; who asks during it wants another.
            let _ = self.again.fired().now_or_never();
            match self.look().await {
                Ok(look) => {
                    self.succeeded(look.ttl);
                    if self.yielded.as_ref() != Some(&look.update) {
                        self.yielded = Some(look.update.clone());
                        return Ok(look.update);
                    }
                }
                Err(error) => {
                    self.failed(&error);
                    return Err(error);
                }
            }
        }
    }

    async fn look(&mut self) -> Result<Look, ResolveError> {
        match timeout(self.timeout, self.lookup.look()).await {
            Ok(outcome) => outcome,
            Err(_) => {
                let message = format!("name {:?}: no answer within {:?}", self.lookup.subject.name(), self.timeout);
                Err(ResolveError::new(ResolveErrorKind::Unavailable, message))
            }
        }
    }

    fn succeeded(&mut self, ttl: Duration) {
        self.failures = 0;
        self.plan = Some(self.pace.after_success(Instant::now(), ttl));
    }

    fn failed(&mut self, error: &ResolveError) {
        self.yielded = None;
        self.failures += 1;
        // A name that does not exist is an answer; a new configuration would not change it.
        if self.failures.is_multiple_of(FAILURES_TO_RENEW) && error.kind() != ResolveErrorKind::NotFound {
            self.lookup.dns.renew();
        }
        self.plan = Some(self.pace.after_failure(Instant::now()));
    }
}

#[cfg(test)]
mod tests;
