//! What follows an attempt that failed: another one, or the end of the call.

use std::sync::Arc;
use std::time::Duration;

use http::Response;
use lb_core::retry::{HedgingPolicy, Next, Reached, RetryPolicy};
use tokio::time::Instant;
use tonic::{Code, Status};

use crate::deadline::Deadline;
use crate::error::{CallError, WaitingFor};
use crate::observe::AttemptKind;
use crate::repeats::Repeat;
use crate::transport::AttemptError;

use super::exchange::{Exchange, State, Step, no_attempt};
use super::guard::Guard;
use super::hedging::Hedging;
use super::judged::{Cause, Failed};
use super::question::Question;
use super::seek::Backoff;

impl Question {
    /// The policy that retries the call.
    fn retry_policy(&self) -> Option<&RetryPolicy> {
        match self.repeat()? {
            Repeat::Retry(policy) => Some(policy),
            Repeat::Hedge(_) => None,
        }
    }

    /// The policy that hedges it, under the channel's limit of attempts.
    #[cold]
    pub(super) fn hedges(&self, policy: &HedgingPolicy) -> Option<HedgingPolicy> {
        policy.clone().limited(self.handle.config().repeats.max_attempts)
    }

    fn decide(&mut self, failed: &Failed) -> Next {
        let limit = self.handle.config().repeats.max_attempts;
        let policy = self.retry_policy().and_then(|policy| policy.clone().limited(limit));
        // Where no policy decides there is no delay to spread.
        let entropy = policy.as_ref().map_or(0, |_| self.handle.scratch().random());
        self.head.attempts.after(&failed.ending, policy.as_ref(), &self.handle.shared().throttle, entropy)
    }
}

impl Exchange {
    /// Begins the attempts of a call that has several at once.
    #[cold]
    pub(super) fn hedge(&mut self, policy: HedgingPolicy) -> Result<(), CallError> {
        let Some(question) = &mut self.question else { return Err(CallError::Closed) };
        let at = self.deadline.as_ref().map(|deadline| deadline.at);
        if at.is_some_and(|at| at <= Instant::now()) {
            return Err(question.too_late());
        }
        let (Some(guard), seek) = (self.guard.take(), question.lend()) else { return Err(CallError::Closed) };
        self.state = State::Hedging(Box::new(Hedging::new(&question.handle, policy, at, seek, guard)));
        Ok(())
    }

    /// The attempt ended with this error, or without one and with no answer either.
    #[cold]
    pub(super) fn attempt_failed(&mut self, error: Option<AttemptError>) -> Result<Step, Status> {
        // The stream of an attempt that is given up is reset before there is another one.
        let body = std::mem::replace(&mut self.state, State::Done).into_body();
        let result = match (error, self.answer.take()) {
            (Some(error), _) => Err(error),
            (None, Some(head)) => Ok(Response::from_parts(head, body)),
            (None, None) => return Err(no_attempt()),
        };
        let Self { guard, question: Some(question), deadline, .. } = self else { return Err(no_attempt()) };
        let Some(mut guard) = guard.take() else { return Err(no_attempt()) };
        let failed = Failed::new(&mut guard, result, question.content.is_repeatable());
        if is_late(&failed, deadline.as_ref()) {
            let waiting_for = WaitingFor::Response(guard.connected.endpoint.key().clone());
            if let Some(watch) = guard.watch() {
                watch.ends(Code::DeadlineExceeded);
            }
            question.share(Some(&mut guard));
            return Err(CallError::DeadlineExceeded { waiting_for }.into());
        }
        self.follow(failed, guard)
    }

    /// The attempt took longer than its policy lets it.
    #[cold]
    pub(super) fn attempt_too_long(&mut self) -> Result<Step, Status> {
        self.state = State::Done;
        let (Some(mut guard), Some(question)) = (self.guard.take(), &self.question) else { return Err(no_attempt()) };
        let timeout = question.retry_policy().and_then(RetryPolicy::attempt_timeout).unwrap_or_default();
        let failed = Failed::too_long(&mut guard, timeout, question.content.is_repeatable());
        self.follow(failed, guard)
    }

    fn follow(&mut self, failed: Failed, mut guard: Guard) -> Result<Step, Status> {
        let Some(question) = &mut self.question else { return Err(no_attempt()) };
        // Unless this is the answer, the call outlives the attempt. Few attempts fail.
        question.share(Some(&mut guard));
        let (next, head) = (question.decide(&failed), &mut question.head);
        let endpoint = Some(guard.connected.endpoint.key().clone());
        match next {
            Next::Surface(_) if head.history.is_empty() => match failed.cause {
                Cause::Answer(response) => self.surface(guard, response),
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
                Ok(self.again(None))
            }
            Next::Retry(delay) => {
                head.tried.push(guard.connected.slot);
                drop(guard);
                let last = head.history.add(endpoint, &failed);
                Ok(self.again(Some((delay, last))))
            }
        }
    }

    /// There is no endpoint for the attempt.
    #[cold]
    pub(super) fn pick_failed(&mut self, error: CallError) -> Result<Step, Status> {
        let Some(question) = self.question.as_mut().filter(|_| error.is_of_the_moment()) else { return Err(error.into()) };
        let failed = Failed::to_pick(error, question.content.is_repeatable());
        question.head.attempts.begin();
        let (next, head) = (question.decide(&failed), &mut question.head);
        match next {
            Next::Retry(delay) => {
                let last = head.history.add(None, &failed);
                Ok(self.again(Some((delay, last))))
            }
            Next::Surface(why) if !head.history.is_empty() => Err(head.history.exhausted(None, failed, why)),
            Next::Surface(_) | Next::Transparent => match failed.cause {
                Cause::Error(error) => Err(error.into()),
                Cause::Answer(_) => Err(Status::internal("a pick has no answer")),
            },
        }
    }

    /// Seeks an endpoint for another attempt, after a delay if any.
    fn again(&mut self, delay: Option<(Duration, Arc<str>)>) -> Step {
        let head = self.question.as_mut().map(|question| &mut question.head);
        let backoff = head.and_then(|head| {
            head.restore();
            let (delay, last) = delay?;
            head.follow.next(AttemptKind::Retry, head.attempts.counted());
            let attempt = head.attempts.counted() + 1;
            Some(Backoff { until: Instant::now().checked_add(delay)?, attempt, last })
        });
        self.seek(backoff);
        Step::On
    }
}

/// Whether the attempt was cancelled by the server because the deadline passed, which it may notice a moment before us. tonic's servers answer
/// CANCELLED then and others reset the stream, but the caller must hear DEADLINE_EXCEEDED (as in grpc-go).
fn is_late(failed: &Failed, deadline: Option<&Deadline>) -> bool {
    failed.ending.code == Code::Cancelled as i32 && deadline.is_some_and(|deadline| deadline.at <= Instant::now())
}
