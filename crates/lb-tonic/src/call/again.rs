//! What follows an attempt that failed: another one, or the end of the call.

use std::sync::Arc;
use std::time::Duration;

use http::Response;
use lb_core::retry::{HedgingPolicy, Next, Reached, RetryPolicy};
use tokio::time::Instant;
use tonic::{Code, Status};

use crate::error::{CallError, WaitingFor};
use crate::observe::AttemptKind;
use crate::repeats::Repeat;
use crate::transport::{AnyBody, AttemptError};

use super::head::Head;
use super::judged::{Cause, Failed, trailers_only};
use super::request_body::Content;
use super::seek::{Backoff, Seek, Seeking};
use super::{Call, ResponseBody, Sending, State};

/// The response for the caller, or nothing yet: the call has moved on.
type Step = Result<Option<Response<ResponseBody>>, Status>;

impl Call {
    /// The policy that retries this call.
    #[inline]
    pub(super) fn retry_policy<'a>(&'a self, head: &'a Head) -> Option<&'a RetryPolicy> {
        match self.handle.config().repeats.of(head.configured.method())? {
            Repeat::Retry(policy) => Some(policy),
            Repeat::Hedge(_) => None,
        }
    }

    /// The policy that hedges this call.
    #[inline]
    pub(super) fn hedging_policy(&self, head: &Head) -> Option<HedgingPolicy> {
        let repeats = &self.handle.config().repeats;
        match repeats.of(head.configured.method())? {
            Repeat::Hedge(policy) => policy.clone().limited(repeats.max_attempts),
            Repeat::Retry(_) => None,
        }
    }

    /// The attempt ended without an answer.
    #[cold]
    pub(super) fn attempt_ended(&mut self, result: Result<Response<AnyBody>, AttemptError>, mut sending: Sending) -> Step {
        let failed = Failed::new(&mut sending.guard, result, sending.content.is_repeatable());
        if self.is_late(&failed) {
            let waiting_for = WaitingFor::Response(sending.guard.connected.endpoint.key().clone());
            if let Some(watch) = sending.guard.watch() {
                watch.ends(Code::DeadlineExceeded);
            }
            return Err(CallError::DeadlineExceeded { waiting_for }.into());
        }
        self.follow(failed, sending)
    }

    /// The attempt took longer than its policy lets it.
    #[cold]
    pub(super) fn attempt_too_long(&mut self, mut sending: Sending) -> Step {
        let timeout = self.retry_policy(&sending.head).and_then(RetryPolicy::attempt_timeout).unwrap_or_default();
        let failed = Failed::too_long(&mut sending.guard, timeout, sending.content.is_repeatable());
        self.follow(failed, sending)
    }

    fn follow(&mut self, failed: Failed, sending: Sending) -> Step {
        let Sending { attempt, mut guard, mut head, content, .. } = sending;
        // The stream of an attempt that was given up is reset before there is another one.
        drop(attempt);
        let endpoint = Some(guard.connected.endpoint.key().clone());
        match self.decide(&mut head, &failed) {
            Next::Surface(_) if head.history.is_empty() => match failed.cause {
                Cause::Answer(response) => {
                    let status = trailers_only(&response);
                    self.respond(response, status, guard, head, &content).map(Some)
                }
                Cause::Error(error) => Err(error.into()),
            },
            Next::Surface(why) => Err(head.history.exhausted(endpoint, failed, why)),
            Next::Transparent => {
                // Nothing was learnt about the endpoint.
                guard.forget();
                head.unusable = (failed.ending.reached == Reached::NotSent).then(|| Arc::clone(&guard.connected));
                head.tried.push(guard.connected.slot);
                drop(guard);
                head.follow.next(AttemptKind::Transparent, head.attempts.counted());
                self.again(head, content, None);
                Ok(None)
            }
            Next::Retry(delay) => {
                head.tried.push(guard.connected.slot);
                drop(guard);
                let last = head.history.add(endpoint, &failed);
                self.again(head, content, Some((delay, last)));
                Ok(None)
            }
        }
    }

    /// There is no endpoint for the attempt.
    #[cold]
    pub(super) fn pick_failed(&mut self, seek: Seek, error: CallError) -> Step {
        let Seek { mut head, content, .. } = seek;
        if !error.is_of_the_moment() {
            return Err(error.into());
        }
        let failed = Failed::to_pick(error, content.is_repeatable());
        head.attempts.begin();
        match self.decide(&mut head, &failed) {
            Next::Retry(delay) => {
                let last = head.history.add(None, &failed);
                self.again(head, content, Some((delay, last)));
                Ok(None)
            }
            Next::Surface(why) if !head.history.is_empty() => Err(head.history.exhausted(None, failed, why)),
            Next::Surface(_) | Next::Transparent => match failed.cause {
                Cause::Error(error) => Err(error.into()),
                Cause::Answer(_) => Err(Status::internal("a pick has no answer")),
            },
        }
    }

    fn decide(&self, head: &mut Head, failed: &Failed) -> Next {
        let limit = self.handle.config().repeats.max_attempts;
        let policy = self.retry_policy(head).and_then(|policy| policy.clone().limited(limit));
        // Where no policy decides there is no delay to spread.
        let entropy = policy.as_ref().map_or(0, |_| self.handle.scratch().random());
        head.attempts.after(&failed.ending, policy.as_ref(), &self.handle.shared().throttle, entropy)
    }

    /// Seeks an endpoint for another attempt, after a delay if any.
    fn again(&mut self, mut head: Head, content: Content, delay: Option<(Duration, Arc<str>)>) {
        head.restore();
        self.forget_announced();
        let backoff = delay.and_then(|(delay, last)| {
            head.follow.next(AttemptKind::Retry, head.attempts.counted());
            let attempt = head.attempts.counted() + 1;
            Some(Backoff { until: Instant::now().checked_add(delay)?, attempt, last })
        });
        self.state = State::Seeking(Seeking::new(Arc::clone(&self.handle), Seek::new(head, content), backoff));
    }

    /// Whether the attempt was cancelled by the server because the deadline passed, which it may notice a moment before us. tonic's
    /// servers answer CANCELLED then and others reset the stream, but the caller must hear DEADLINE_EXCEEDED (as in grpc-go).
    fn is_late(&self, failed: &Failed) -> bool {
        failed.ending.code == Code::Cancelled as i32 && self.deadline.as_ref().is_some_and(|deadline| deadline.at <= Instant::now())
    }
}
