//! How a call gets on from its request to the response's head.

use std::sync::Arc;
use std::task::{Context, Poll, ready};

use http::response;
use tokio::time::Instant;
use tonic::{Code, Status};

use crate::deadline;
use crate::error::{CallError, WaitingFor};
use crate::repeats::Repeat;

use super::exchange::{Exchange, Sending, State, Step, over};
use super::hedging::Won;
use super::judged::{is_answer, trailers_only};
use super::question::Question;
use super::seek::{Backoff, Seek, Seeking};
use super::trace::Follow;

impl Exchange {
    /// Begins an attempt at the endpoint that was found.
    fn send(&mut self, cx: &mut Context<'_>) -> Result<(), CallError> {
        let Some(question) = &mut self.question else { return Err(CallError::Closed) };
        let timeout = match question.repeat() {
            None => None,
            Some(Repeat::Retry(policy)) => policy.attempt_timeout(),
            Some(Repeat::Hedge(policy)) => match question.hedges(policy) {
                Some(policy) => return self.hedge(policy),
                None => None,
            },
        };
        question.head.attempts.begin();
        let Question { head, content, .. } = question;
        if let Some(deadline) = &mut self.deadline
            && !std::mem::replace(&mut deadline.announced, false)
        {
            let now = Instant::now();
            if deadline.at <= now {
                return Err(question.too_late());
            }
            deadline::set_remaining(&mut head.request.headers, deadline.at, now);
        }
        let Some(guard) = &mut self.guard else { return Err(CallError::Closed) };
        let Some(mut body) = content.attempt() else {
            return Err(CallError::Lost {
                endpoint: guard.connected.endpoint.key().clone(),
                reason: "the attempt before was not taken, and the request is too large to be sent again".into(),
            });
        };
        head.place(&mut body, guard);
        let attempt = guard.connected.transport.start(cx, &head.request.uri, &mut head.request.headers, body);
        let timer = timeout.map(|timeout| Box::pin(tokio::time::sleep(timeout)));
        self.state = State::Sending(Sending { attempt, timer });
        Ok(())
    }

    /// What the server is told must not contain the time spent waiting.
    fn forget_announced(&mut self) {
        if let Some(deadline) = &mut self.deadline {
            deadline.announced = false;
        }
    }

    /// Looks for an endpoint, after this wait if any.
    #[cold]
    pub(super) fn seek(&mut self, backoff: Option<Backoff>) {
        self.forget_announced();
        if let Some(question) = &mut self.question {
            self.state = State::Seeking(Seeking::new(Arc::clone(&question.handle), question.lend(), backoff));
        }
    }

    /// Polls what the call is doing now.
    #[inline]
    fn poll_state(&mut self, cx: &mut Context<'_>) -> Poll<Result<Step, Status>> {
        let Some(question) = &mut self.question else { return Poll::Ready(Err(over())) };
        Poll::Ready(match &mut self.state {
            State::Opening(request) => {
                let limited = question.repeat().is_some();
                question.content = request.content(cx, &question.handle.config().repeats.allowance, limited)?;
                match self.guard {
                    Some(_) => self.send(cx)?,
                    None => self.seek(None),
                }
                Ok(Step::On)
            }
            State::Sending(sending) => match (ready!(sending.poll(cx, &mut self.answer)), &self.answer) {
                (Some(Ok(())), Some(head)) => {
                    let status = trailers_only(&head.headers);
                    match is_answer(head.status, status) {
                        true => {
                            question.handle.shared().throttle.succeeded();
                            self.respond(status)
                        }
                        false => self.attempt_failed(None),
                    }
                }
                (Some(result), _) => self.attempt_failed(result.err()),
                (None, _) => self.attempt_too_long(),
            },
            State::Seeking(_) | State::Refused(_) | State::Hedging(_) | State::Answered(_) | State::Done => {
                return self.poll_seldom(cx);
            }
        })
    }

    /// The same in states that calls seldom have.
    #[cold]
    fn poll_seldom(&mut self, cx: &mut Context<'_>) -> Poll<Result<Step, Status>> {
        let Some(question) = &mut self.question else { return Poll::Ready(Err(over())) };
        Poll::Ready(match &mut self.state {
            State::Seeking(seeking) => match ready!(seeking.poll(cx)) {
                Ok((seek, guard)) => {
                    let Seek { head, content, was_unsettled } = *seek;
                    question.take_back(head, content);
                    self.guard = Some(guard);
                    if was_unsettled {
                        question.follow_config(&mut self.deadline)?;
                    }
                    self.send(cx)?;
                    Ok(Step::On)
                }
                Err((seek, error)) => {
                    question.take_back(seek.head, seek.content);
                    self.pick_failed(error)
                }
            },
            State::Hedging(hedging) => {
                let Won { response, guard } = ready!(hedging.poll(cx))?;
                let State::Hedging(hedging) = std::mem::replace(&mut self.state, State::Done) else { return Poll::Pending };
                let (head, content) = hedging.into_parts();
                question.take_back(head, content);
                self.surface(guard, response)
            }
            State::Refused(_) => match std::mem::replace(&mut self.state, State::Done) {
                State::Refused(status) => Err(status),
                _ => Err(over()),
            },
            State::Opening(_) | State::Sending(_) | State::Answered(_) | State::Done => Err(over()),
        })
    }

    /// The call ends with this status.
    #[cold]
    fn failed(&mut self, status: Status) -> Status {
        let Some(question) = &mut self.question else { return status };
        question.tally = None;
        let mut guard = self.guard.take();
        question.share(guard.as_mut());
        // Whatever attempt there still was is over before the call is.
        self.state = State::Done;
        drop(guard);
        if let Some(watch) = question.watch.take() {
            question.head.follow = Follow::default();
            watch.failed(&status);
        }
        status
    }

    /// The head of the response. What only the question needed is dropped then.
    #[inline]
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<response::Parts, Status>> {
        loop {
            match self.poll_state(cx) {
                Poll::Ready(Ok(Step::On)) => {}
                Poll::Ready(Ok(Step::Answered)) => {
                    self.question = None;
                    return Poll::Ready(self.answer.take().ok_or_else(over));
                }
                Poll::Ready(Err(status)) => return Poll::Ready(Err(self.failed(status))),
                Poll::Pending if self.deadline.is_none() => return Poll::Pending,
                Poll::Pending => return self.poll_deadline(cx).map(|error| Err(self.failed(error.into()))),
            }
        }
    }

    fn poll_deadline(&mut self, cx: &mut Context<'_>) -> Poll<CallError> {
        let (Some(deadline), Some(question)) = (&mut self.deadline, &mut self.question) else { return Poll::Pending };
        ready!(deadline.sleep.as_mut().poll(cx));
        let mut guard = self.guard.take();
        question.share(guard.as_mut());
        question.tell_late();
        let seeking = matches!(self.state, State::Seeking(_));
        let waiting_for = match std::mem::replace(&mut self.state, State::Done) {
            State::Sending(sending) => {
                drop(sending);
                guard.take().map_or(WaitingFor::Endpoint(None), |mut guard| {
                    guard.ends(Code::DeadlineExceeded);
                    WaitingFor::Response(guard.connected.endpoint.key().clone())
                })
            }
            State::Seeking(seeking) => seeking.waiting_for(Instant::now()),
            State::Hedging(mut hedging) => hedging.give_up(),
            State::Opening(_) | State::Refused(_) | State::Answered(_) | State::Done => WaitingFor::Endpoint(None),
        };
        let error = CallError::DeadlineExceeded { waiting_for };
        if seeking {
            question.handle.shared().pick_failed(&error);
        }
        Poll::Ready(error)
    }
}
