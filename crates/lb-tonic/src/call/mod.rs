//! One call, from the caller's request to the response's headers.
//!
//! ```text
//! Opening ── body looked at ──> has a pick? ── yes ──> Sending ── headers ──> response
//!                                  │ no                   │ not sent, or refused for the first time
//!                                  └──────> Seeking <─────┘
//! ```
//!
//! The pick is made in [`LbChannel::call`](crate::LbChannel), on the caller's task, with the channel clone's own scratch. A call
//! that finds no endpoint at once *seeks*: it waits for the next generation and picks again, until it finds one, its policy says
//! no, or its deadline passes. A seek is boxed; everything before and after it is not, so a call that finds its endpoint at once
//! allocates nothing here but the [`PickedEndpoint`] of its response.
//!
//! Cancel safe: dropping the future at any point takes the call off its endpoint's books and resets its stream.

mod configured;
mod failure;
mod guard;
mod head;
mod message_size;
mod request_body;
mod response_body;
mod retained;
mod seek;

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use http::Response;
use tokio::time::{Instant, Sleep};
use tonic::body::Body;
use tonic::{Code, Status};

use crate::deadline;
use crate::error::{CallError, WaitingFor};
use crate::header;
use crate::picked::PickedEndpoint;
use crate::shared::Handle;
use crate::transport::{AnyBody, AttemptError, AttemptErrorKind, AttemptFuture};

pub(crate) use configured::Configured;
pub(crate) use failure::{failure, http_failure};
pub(crate) use guard::{Guard, Placement};
pub(crate) use head::Head;
pub(crate) use request_body::RequestBody;
pub use response_body::ResponseBody;
pub(crate) use seek::{LastFailure, Picked, find_endpoint, pick, pick_by_policy};

use request_body::{Beginning, Content};
use seek::{Seek, Seeking};

/// The future of one call. Resolves with the response's headers; the rest comes with its body.
#[must_use = "futures do nothing unless polled"]
pub struct Call {
    handle: Arc<Handle>,
    deadline: Option<Deadline>,
    state: State,
}

struct Deadline {
    at: Instant,
    sleep: Pin<Box<Sleep>>,
    /// Whether the header the caller set still tells the server the truth.
    announced: bool,
}

impl Deadline {
    fn new(at: Instant, announced: bool) -> Self {
        Self { at, sleep: Box::pin(tokio::time::sleep_until(at)), announced }
    }
}

enum State {
    Opening(Opening),
    Seeking(Seeking),
    Sending(Sending),
    /// Shed before anything was done for it.
    Refused(Status),
    Done,
}

/// A call whose request has not been looked at.
struct Opening {
    head: Head,
    guard: Option<Guard>,
    request: Beginning,
}

/// A call with an attempt on its way.
struct Sending {
    attempt: AttemptFuture,
    guard: Guard,
    head: Head,
    content: Content,
}

impl Call {
    /// A call that goes to the endpoint of `guard`, or has to look for one.
    pub(crate) fn new(handle: Arc<Handle>, head: Head, body: Body, guard: Option<Guard>) -> Self {
        let header = deadline::header_timeout(&head.headers);
        // What is not settled is known when an endpoint has been found.
        let method = head.configured.timeout().filter(|_| head.configured.is_settled());
        let timeout = [header, handle.config().timeout, method].into_iter().flatten().min();
        // A time that cannot be added to the present is no deadline.
        let deadline = timeout.and_then(|timeout| Some((timeout, Instant::now().checked_add(timeout)?)));
        let deadline = deadline.map(|(timeout, at)| Deadline::new(at, header == Some(timeout) && !timeout.is_zero()));
        let request = Beginning::new(body, head.configured.max_request(handle.config().max_request));
        Self { handle, deadline, state: State::Opening(Opening { head, guard, request }) }
    }

    /// A call that is over before it begins.
    #[cold]
    pub(crate) fn refused(handle: Arc<Handle>, error: CallError) -> Self {
        Self { handle, deadline: None, state: State::Refused(error.into()) }
    }

    /// Begins an attempt at the endpoint of `guard`.
    fn send(&mut self, mut head: Head, content: Content, guard: Guard) -> Result<State, CallError> {
        head.attempts += 1;
        if let Some(deadline) = &mut self.deadline
            && !std::mem::replace(&mut deadline.announced, false)
        {
            let now = Instant::now();
            if deadline.at <= now {
                return Err(CallError::DeadlineExceeded { waiting_for: WaitingFor::Endpoint(None) });
            }
            deadline::set_remaining(&mut head.headers, deadline.at, now);
        }
        let Some(body) = content.attempt() else {
            return Err(CallError::Lost {
                endpoint: guard.connected.endpoint.key().clone(),
                reason: "the attempt before was not taken, and the request is too large to be sent again".into(),
            });
        };
        let attempt = guard.connected.transport.send(head.request(body));
        Ok(State::Sending(Sending { attempt, guard, head, content }))
    }

    /// Follows what the service config says that came while the call was waiting for it.
    fn follow_config(&mut self, head: &Head, content: &Content) -> Result<(), CallError> {
        let at = head.configured.until();
        if let Some(at) = at.filter(|at| self.deadline.as_ref().is_none_or(|deadline| *at < deadline.at)) {
            self.deadline = Some(Deadline::new(at, false));
        }
        head.configured.max_request(self.handle.config().max_request).map_or(Ok(()), |limit| content.limit(limit))
    }

    /// Sends, or seeks first.
    fn advance(&mut self, head: Head, content: Content, guard: Option<Guard>) -> Result<State, CallError> {
        match guard {
            Some(guard) => self.send(head, content, guard),
            None => {
                if let Some(deadline) = &mut self.deadline {
                    // What the server is told must not contain the time spent waiting.
                    deadline.announced = false;
                }
                Ok(State::Seeking(Seeking::new(Arc::clone(&self.handle), Seek::new(head, content))))
            }
        }
    }

    /// The attempt failed: another one, or the end of the call.
    fn attempt_failed(&mut self, sending: Sending, error: &AttemptError) -> Result<State, CallError> {
        let Sending { mut guard, mut head, content, .. } = sending;
        let again = match error.kind {
            AttemptErrorKind::NotSent => true,
            AttemptErrorKind::Refused => !std::mem::replace(&mut head.was_refused, true),
            AttemptErrorKind::Lost | AttemptErrorKind::Failed(_) => false,
        };
        if !again {
            guard.ends(error.code());
            return Err(failure(&guard.connected, error));
        }
        head.restore();
        head.tried.push(guard.connected.slot);
        head.unusable = (error.kind == AttemptErrorKind::NotSent).then(|| Arc::clone(&guard.connected));
        drop(guard);
        self.advance(head, content, None)
    }

    /// Whether the attempt was cancelled by the server because the deadline passed, which it may notice a moment before us. tonic's
    /// servers answer CANCELLED then and others reset the stream, but the caller must hear DEADLINE_EXCEEDED (as in grpc-go).
    fn is_late(&self, result: &Result<Response<AnyBody>, AttemptError>) -> bool {
        if self.deadline.as_ref().is_none_or(|deadline| Instant::now() < deadline.at) {
            return false;
        }
        let code = match result {
            Ok(response) => response.headers().get(&header::STATUS).map(|code| Code::from_bytes(code.as_bytes())),
            Err(error) => match error.kind {
                AttemptErrorKind::Failed(code) => Some(Code::from_i32(code)),
                _ => None,
            },
        };
        code == Some(Code::Cancelled)
    }

    fn respond(&mut self, response: Response<AnyBody>, sending: Sending) -> Result<Response<ResponseBody>, CallError> {
        let Sending { mut guard, mut head, content, .. } = sending;
        content.commit();
        if let Some(error) = http_failure(&guard.connected, &response) {
            guard.ends(error.code());
            return Err(error);
        }
        let (mut parts, body) = response.into_parts();
        if let (Some(tie), Some(sessions)) = (&guard.tie, self.handle.sessions()) {
            sessions.answer(tie, &guard.connected, &mut parts.headers);
        }
        // The request's map has its memory already, and what was in it has been read. A new map would cost three allocations.
        if head.extended {
            head.extensions.clear();
            head.extensions.insert(PickedEndpoint::new(Arc::clone(&guard.connected), head.attempts));
            parts.extensions = std::mem::take(&mut head.extensions);
        }
        let deadline = self.deadline.take().map(|deadline| deadline.sleep);
        let limit = head.configured.max_response(self.handle.config().max_response);
        let body = ResponseBody::new(body, guard, &parts.headers, deadline, limit);
        Ok(Response::from_parts(parts, body))
    }

    /// Polls what the call is doing now. `Ok(None)` means it has moved on and can be polled again.
    fn poll_state(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Response<ResponseBody>>, Status>> {
        match &mut self.state {
            State::Opening(opening) => {
                opening.request.poll(cx)?;
                let State::Opening(opening) = std::mem::replace(&mut self.state, State::Done) else { return Poll::Pending };
                self.state = self.advance(opening.head, opening.request.into(), opening.guard)?;
            }
            State::Seeking(seeking) => {
                let (seek, guard) = ready!(seeking.poll(cx))?;
                let seek = *seek;
                if seek.was_unsettled {
                    self.follow_config(&seek.head, &seek.content)?;
                }
                self.state = self.send(seek.head, seek.content, guard)?;
            }
            State::Sending(sending) => {
                let result = ready!(sending.attempt.poll(cx));
                let State::Sending(mut sending) = std::mem::replace(&mut self.state, State::Done) else { return Poll::Pending };
                if self.is_late(&result) {
                    sending.guard.ends(Code::DeadlineExceeded);
                    let waiting_for = WaitingFor::Response(sending.guard.connected.endpoint.key().clone());
                    return Poll::Ready(Err(CallError::DeadlineExceeded { waiting_for }.into()));
                }
                match result {
                    Ok(response) => return Poll::Ready(Ok(Some(self.respond(response, sending)?))),
                    Err(error) => self.state = self.attempt_failed(sending, &error)?,
                }
            }
            State::Refused(_) => {
                let State::Refused(status) = std::mem::replace(&mut self.state, State::Done) else { return Poll::Pending };
                return Poll::Ready(Err(status));
            }
            State::Done => return Poll::Ready(Err(Status::internal("the call was polled after it had ended"))),
        }
        Poll::Ready(Ok(None))
    }

    fn poll_deadline(&mut self, cx: &mut Context<'_>) -> Poll<CallError> {
        let Some(deadline) = &mut self.deadline else { return Poll::Pending };
        ready!(deadline.sleep.as_mut().poll(cx));
        let waiting_for = match std::mem::replace(&mut self.state, State::Done) {
            State::Sending(mut sending) => {
                sending.guard.ends(Code::DeadlineExceeded);
                WaitingFor::Response(sending.guard.connected.endpoint.key().clone())
            }
            State::Seeking(seeking) => WaitingFor::Endpoint(seeking.last_failure()),
            State::Opening(_) | State::Refused(_) | State::Done => WaitingFor::Endpoint(None),
        };
        Poll::Ready(CallError::DeadlineExceeded { waiting_for })
    }
}

impl Future for Call {
    type Output = Result<Response<ResponseBody>, Status>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        loop {
            match this.poll_state(cx) {
                Poll::Ready(Ok(None)) => {}
                Poll::Ready(Ok(Some(response))) => return Poll::Ready(Ok(response)),
                Poll::Ready(Err(status)) => return Poll::Ready(Err(status)),
                Poll::Pending => return this.poll_deadline(cx).map(|error| Err(error.into())),
            }
        }
    }
}

impl fmt::Debug for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.state {
            State::Opening(_) => "Call (opening)",
            State::Seeking(_) => "Call (seeking an endpoint)",
            State::Sending(_) => "Call (sending)",
            State::Refused(_) => "Call (shed)",
            State::Done => "Call (done)",
        })
    }
}
