//! What follows an attempt that failed: another one, or the end of the call.

use std::sync::Arc;
use std::time::Duration;

use http::{Response, response};
use lb_core::retry::{HedgingPolicy, Next, Reached, RetryPolicy};
use tokio::time::Instant;
use tonic::{Code, Status};

use crate::error::{CallError, WaitingFor};
use crate::observe::AttemptKind;
use crate::repeats::Repeat;
use crate::transport::{AnyBody, AttemptError};

use super::calling::{Calling, State};
use super::guard::Guard;
use super::hedging::Hedging;
use super::judged::{Cause, Failed, trailers_only};
use super::seek::Backoff;

/// The head of the response for the caller, or nothing yet: the call has moved on.
type Step = Result<Option<response::Parts>, Status>;

impl Calling {
    /// The policy that retries this call.
    #[inline]
    pub(super) fn retry_policy(&self) -> Option<&RetryPolicy> {
        match self.handle.config().repeats.of(self.head.configured.method())? {
            Repeat::Retry(policy) => Some(policy),
            Repeat::Hedge(_) => None,
        }
    }

    /// The policy that hedges this call.
    #[inline]
    pub(super) fn hedging_policy(&self) -> Option<HedgingPolicy> {
        let repeats = &self.handle.config().repeats;
        match repeats.of(self.head.configured.method())? {
            Repeat::Hedge(policy) => policy.clone().limited(repeats.max_attempts),
            Repeat::Retry(_) => None,
        }
    }

    /// Begins the attempts of a call that has several at once.
    #[cold]
    pub(super) fn hedge(&mut self, policy: HedgingPolicy) -> Result<(), CallError> {
        let at = self.deadline.as_ref().map(|deadline| deadline.at);
        if at.is_some_and(|at| at <= Instant::now()) {
            return Err(self.too_late());
        }
        let (Some(guard), seek) = (self.guard.take(), self.lend()) else { return Err(CallError::Closed) };
        self.state = State::Hedging(Box::new(Hedging::new(&self.handle, policy, at, seek, guard)));
        Ok(())
    }

    /// The attempt ended without an answer.
    #[cold]
    pub(super) fn attempt_ended(&mut self, result: Result<Response<AnyBody>, AttemptError>) -> Step {
        let Some(mut guard) = self.guard.take() else { return Err(no_attempt()) };
        let failed = Failed::new(&mut guard, result, self.content.is_repeatable());
        if self.is_late(&failed) {
            let waiting_for = WaitingFor::Response(guard.connected.endpoint.key().clone());
            if let Some(watch) = guard.watch() {
                watch.ends(Code::DeadlineExceeded);
            }
            self.share(Some(&mut guard));
            return Err(CallError::DeadlineExceeded { waiting_for }.into());
        }
        self.follow(failed, guard)
    }

    /// The attempt took longer than its policy lets it.
    #[cold]
    pub(super) fn attempt_too_long(&mut self) -> Step {
        let Some(mut guard) = self.guard.take() else { return Err(no_attempt()) };
        let timeout = self.retry_policy().and_then(RetryPolicy::attempt_timeout).unwrap_or_default();
        let failed = Failed::too_long(&mut guard, timeout, self.content.is_repeatable());
        self.follow(failed, guard)
    }

    fn follow(&mut self, failed: Failed, mut guard: Guard) -> Step {
        let endpoint = Some(guard.connected.endpoint.key().clone());
        // Unless this is the answer, the call outlives the attempt. Few attempts fail.
        self.share(Some(&mut guard));
        match self.decide(&failed) {
            Next::Surface(_) if self.head.history.is_empty() => match failed.cause {
                Cause::Answer(response) => {
                    let status = trailers_only(&response);
                    self.guard = Some(guard);
                    self.respond(response, status).map(Some)
                }
                Cause::Error(error) => Err(error.into()),
            },
            Next::Surface(why) => Err(self.head.history.exhausted(endpoint, failed, why)),
            Next::Transparent => {
                // Nothing was learnt about the endpoint.
                guard.forget();
                self.head.unusable = (failed.ending.reached == Reached::NotSent).then(|| Arc::clone(&guard.connected));
                self.head.tried.push(guard.connected.slot);
                drop(guard);
                self.head.follow.next(AttemptKind::Transparent, self.head.attempts.counted());
                self.again(None);
                Ok(None)
            }
            Next::Retry(delay) => {
                self.head.tried.push(guard.connected.slot);
                drop(guard);
                let last = self.head.history.add(endpoint, &failed);
                self.again(Some((delay, last)));
                Ok(None)
            }
        }
    }

    /// There is no endpoint for the attempt.
    #[cold]
    pub(super) fn pick_failed(&mut self, error: CallError) -> Step {
        if !error.is_of_the_moment() {
            return Err(error.into());
        }
        let failed = Failed::to_pick(error, self.content.is_repeatable());
        self.head.attempts.begin();
        match self.decide(&failed) {
            Next::Retry(delay) => {
                let last = self.head.history.add(None, &failed);
                self.again(Some((delay, last)));
                Ok(None)
            }
            Next::Surface(why) if !self.head.history.is_empty() => Err(self.head.history.exhausted(None, failed, why)),
            Next::Surface(_) | Next::Transparent => match failed.cause {
                Cause::Error(error) => Err(error.into()),
                Cause::Answer(_) => Err(Status::internal("a pick has no answer")),
            },
        }
    }

    fn decide(&mut self, failed: &Failed) -> Next {
        let limit = self.handle.config().repeats.max_attempts;
        let policy = self.retry_policy().and_then(|policy| policy.clone().limited(limit));
        // Where no policy decides there is no delay to spread.
        let entropy = policy.as_ref().map_or(0, |_| self.handle.scratch().random());
        self.head.attempts.after(&failed.ending, policy.as_ref(), &self.handle.shared().throttle, entropy)
    }

    /// Seeks an endpoint for another attempt, after a delay if any.
    fn again(&mut self, delay: Option<(Duration, Arc<str>)>) {
        let head = &mut self.head;
        head.restore();
        let backoff = delay.and_then(|(delay, last)| {
            head.follow.next(AttemptKind::Retry, head.attempts.counted());
            let attempt = head.attempts.counted() + 1;
            Some(Backoff { until: Instant::now().checked_add(delay)?, attempt, last })
        });
        self.seek(backoff);
    }

    /// Whether the attempt was cancelled by the server because the deadline passed, which it may notice a moment before us. tonic's
    /// servers answer CANCELLED then and others reset the stream, but the caller must hear DEADLINE_EXCEEDED (as in grpc-go).
    fn is_late(&self, failed: &Failed) -> bool {
        failed.ending.code == Code::Cancelled as i32 && self.deadline.as_ref().is_some_and(|deadline| deadline.at <= Instant::now())
    }
}

/// There is none without an endpoint.
#[cold]
fn no_attempt() -> Status {
    Status::internal("an attempt without an endpoint")
}
