//! One call, from the caller's request to the response's headers.
//!
//! ```text
//! Opening ── body looked at ──> has a pick? ── yes ──> Sending ── headers ──> response
//!                                  │ no                   │ not sent, refused for the first time,
//!                                  └──────> Seeking <─────┘ or retried: after a backoff
//! ```
//!
//! The pick is made in [`LbChannel::call`](crate::LbChannel), on the caller's task, with the channel clone's own scratch. A call
//! that finds no endpoint at once *seeks*: it waits for the next generation and picks again, until it finds one, its policy says
//! no, or its deadline passes. A call with a hedging policy is in one more state, `Hedging`, with an attempt or several at once, from its
//! first attempt on. A seek is boxed; everything before and after it is not, so a call that finds its endpoint at once
//! allocates nothing here but the [`PickedEndpoint`] of its response.
//!
//! Cancel safe: dropping the future at any point takes the call off its endpoint's books and resets its stream.

mod again;
mod configured;
mod failure;
mod guard;
mod head;
mod hedging;
mod history;
mod judged;
mod message_size;
mod replay;
mod request_body;
mod response_body;
mod retained;
mod search;
mod seek;
mod trace;

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use http::Response;
use lb_core::retry::RetryPolicy;
use tokio::time::{Instant, Sleep};
use tonic::body::Body;
use tonic::{Code, Status};

use crate::deadline;
use crate::error::{CallError, WaitingFor};
use crate::inspect::Tally;
use crate::picked::PickedEndpoint;
use crate::shared::Handle;
use crate::transport::{AnyBody, AttemptError, AttemptFuture};

pub(crate) use configured::Configured;
pub(crate) use failure::{failure, http_failure};
pub(crate) use guard::{Guard, Placement};
pub(crate) use head::Head;
pub(crate) use message_size::{Messages, Passage};
pub(crate) use request_body::RequestBody;
pub use response_body::ResponseBody;
pub(crate) use search::find_endpoint;
pub(crate) use seek::{LastFailure, Picked, pick_by_policy, pick_first};
pub(crate) use trace::Observers;

use hedging::{Hedging, Won};
use judged::{is_answer, trailers_only};
use request_body::{Beginning, Content};
use seek::{Seek, Seeking};
use trace::{Begun, CallGuard, Follow};

/// The future of one call. Resolves with the response's headers; the rest comes with its body.
#[must_use = "futures do nothing unless polled"]
pub struct Call {
    handle: Arc<Handle>,
    deadline: Option<Deadline>,
    state: State,
    /// Tells who observes the call how it ends. Dropped after everything that belongs to an attempt.
    watch: Option<CallGuard>,
    /// Counts the call, if its channel does.
    tally: Option<Tally>,
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

#[expect(clippy::large_enum_variant, reason = "the largest is the common one; a box would be one more allocation for each call")]
enum State {
    Opening(Opening),
    Seeking(Seeking),
    Sending(Sending),
    /// Shed before anything was done for it.
    Refused(Status),
    Hedging(Box<Hedging>),
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
    /// How long the attempt may take, if its policy says.
    timer: Option<Pin<Box<Sleep>>>,
    guard: Guard,
    head: Head,
    content: Content,
}

impl Sending {
    /// The attempt's end; `None` if it takes too long.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Response<AnyBody>, AttemptError>>> {
        if let Poll::Ready(result) = self.attempt.poll(cx) {
            return Poll::Ready(Some(result));
        }
        match &mut self.timer {
            Some(timer) => timer.as_mut().poll(cx).map(|()| None),
            None => Poll::Pending,
        }
    }
}

impl Call {
    /// A call that goes to the endpoint of `guard`, or has to look for one.
    pub(crate) fn new(handle: Arc<Handle>, mut head: Head, body: Body, guard: Option<Guard>, begun: Option<Begun>) -> Self {
        let watch = begun.map(|begun| begun.at(guard.as_ref().map_or_else(Instant::now, Guard::started)));
        head.follow = Follow::new(watch.as_ref());
        let header = deadline::header_timeout(&head.headers);
        // What is not settled is known when an endpoint has been found.
        let method = head.configured.timeout().filter(|_| head.configured.is_settled());
        let timeout = [header, handle.config().timeout, method].into_iter().flatten().min();
        // A time that cannot be added to the present is no deadline.
        let deadline = timeout.and_then(|timeout| Some((timeout, Instant::now().checked_add(timeout)?)));
        let deadline = deadline.map(|(timeout, at)| Deadline::new(at, header == Some(timeout) && !timeout.is_zero()));
        let request = Beginning::new(body, head.configured.max_request(handle.config().max_request));
        let tally = handle.birth().tally();
        Self { handle, deadline, state: State::Opening(Opening { head, guard, request }), watch, tally }
    }

    /// A call that is over before it begins.
    #[cold]
    pub(crate) fn refused(handle: Arc<Handle>, error: CallError, begun: Option<Begun>) -> Self {
        let watch = begun.map(|begun| begun.at(Instant::now()));
        let tally = handle.birth().tally();
        Self { handle, deadline: None, state: State::Refused(error.into()), watch, tally }
    }

    /// Begins an attempt at the endpoint of `guard`.
    fn send(&mut self, mut head: Head, content: Content, mut guard: Guard) -> Result<State, CallError> {
        if let Some(policy) = self.hedging_policy(&head) {
            let at = self.deadline.as_ref().map(|deadline| deadline.at);
            if at.is_some_and(|at| at <= Instant::now()) {
                return Err(self.too_late());
            }
            return Ok(State::Hedging(Box::new(Hedging::new(&self.handle, policy, at, Seek::new(head, content), guard))));
        }
        head.attempts.begin();
        if let Some(deadline) = &mut self.deadline
            && !std::mem::replace(&mut deadline.announced, false)
        {
            let now = Instant::now();
            if deadline.at <= now {
                return Err(self.too_late());
            }
            deadline::set_remaining(&mut head.headers, deadline.at, now);
        }
        let Some(body) = content.attempt() else {
            return Err(CallError::Lost {
                endpoint: guard.connected.endpoint.key().clone(),
                reason: "the attempt before was not taken, and the request is too large to be sent again".into(),
            });
        };
        let request = head.request(body, &mut guard);
        let attempt = guard.connected.transport.send(request);
        let timeout = self.retry_policy(&head).and_then(RetryPolicy::attempt_timeout);
        let timer = timeout.map(|timeout| Box::pin(tokio::time::sleep(timeout)));
        Ok(State::Sending(Sending { attempt, timer, guard, head, content }))
    }

    /// The deadline has passed before there was an attempt to send.
    #[cold]
    fn too_late(&self) -> CallError {
        self.tell_late();
        CallError::DeadlineExceeded { waiting_for: WaitingFor::Endpoint(None) }
    }

    /// Attempts that are given up from now on are so because of the deadline.
    fn tell_late(&self) {
        if let Some(watch) = self.watch.as_ref().and_then(CallGuard::watch) {
            watch.is_late();
        }
    }

    /// What the server is told must not contain the time spent waiting.
    fn forget_announced(&mut self) {
        if let Some(deadline) = &mut self.deadline {
            deadline.announced = false;
        }
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
                self.forget_announced();
                Ok(State::Seeking(Seeking::new(Arc::clone(&self.handle), Seek::new(head, content), None)))
            }
        }
    }

    /// The response that the caller gets, with its status if that came without messages.
    fn respond(
        &mut self,
        response: Response<AnyBody>,
        status: Option<Code>,
        mut guard: Guard,
        mut head: Head,
        content: &Content,
    ) -> Result<Response<ResponseBody>, Status> {
        content.commit(None);
        let (mut parts, body) = response.into_parts();
        if let (Some(tie), Some(sessions)) = (&guard.tie, self.handle.sessions()) {
            sessions.answer(tie, &guard.connected, &mut parts.headers);
        }
        // The request's map has its memory already, and what was in it has been read. A new map would cost three allocations.
        if head.extended {
            head.extensions.clear();
            head.extensions.insert(PickedEndpoint::new(Arc::clone(&guard.connected), head.attempts.made()));
            parts.extensions = std::mem::take(&mut head.extensions);
        }
        if let Some(watch) = &mut guard.watch {
            // The attempt's end is the call's.
            watch.call = self.watch.take();
        }
        guard.tally = self.tally.take();
        let deadline = self.deadline.take().map(|deadline| deadline.sleep);
        let limit = head.configured.max_response(self.handle.config().max_response);
        let trailers = status.map(|code| (code, &parts.headers));
        let body = ResponseBody::new(body, guard, trailers, deadline, limit);
        Ok(Response::from_parts(parts, body))
    }

    /// Polls what the call is doing now. `Ok(None)` means it has moved on and can be polled again.
    fn poll_state(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Response<ResponseBody>>, Status>> {
        match &mut self.state {
            State::Opening(opening) => {
                opening.request.poll(cx)?;
                let State::Opening(opening) = std::mem::replace(&mut self.state, State::Done) else { return Poll::Pending };
                let repeats = &self.handle.config().repeats;
                let limited = repeats.of(opening.head.configured.method()).is_some();
                let content = opening.request.into_content(&repeats.allowance, limited);
                self.state = self.advance(opening.head, content, opening.guard)?;
            }
            State::Seeking(seeking) => match ready!(seeking.poll(cx)) {
                Ok((seek, guard)) => {
                    let seek = *seek;
                    if seek.was_unsettled {
                        self.follow_config(&seek.head, &seek.content)?;
                    }
                    self.state = self.send(seek.head, seek.content, guard)?;
                }
                Err((seek, error)) => return Poll::Ready(self.pick_failed(*seek, error)),
            },
            State::Sending(sending) => {
                let Some(result) = ready!(sending.poll(cx)) else {
                    let State::Sending(sending) = std::mem::replace(&mut self.state, State::Done) else { return Poll::Pending };
                    return Poll::Ready(self.attempt_too_long(sending));
                };
                let State::Sending(sending) = std::mem::replace(&mut self.state, State::Done) else { return Poll::Pending };
                let status = result.as_ref().ok().and_then(trailers_only);
                return Poll::Ready(match result {
                    Ok(response) if is_answer(&response, status) => {
                        self.handle.shared().throttle.succeeded();
                        let Sending { guard, head, content, .. } = sending;
                        self.respond(response, status, guard, head, &content).map(Some)
                    }
                    result => self.attempt_ended(result, sending),
                });
            }
            State::Hedging(hedging) => {
                let Won { response, status, guard } = ready!(hedging.poll(cx))?;
                let State::Hedging(hedging) = std::mem::replace(&mut self.state, State::Done) else { return Poll::Pending };
                let (head, content) = hedging.into_parts();
                return Poll::Ready(self.respond(response, status, guard, head, &content).map(Some));
            }
            State::Refused(_) => {
                let State::Refused(status) = std::mem::replace(&mut self.state, State::Done) else { return Poll::Pending };
                return Poll::Ready(Err(status));
            }
            State::Done => return Poll::Ready(Err(Status::internal("the call was polled after it had ended"))),
        }
        Poll::Ready(Ok(None))
    }

    /// The call ends with this status.
    fn failed(&mut self, status: Status) -> Status {
        self.tally = None;
        if let Some(watch) = self.watch.take() {
            // Whatever attempt there still was is over before the call is.
            self.state = State::Done;
            watch.failed(&status);
        }
        status
    }

    fn poll_deadline(&mut self, cx: &mut Context<'_>) -> Poll<CallError> {
        let Some(deadline) = &mut self.deadline else { return Poll::Pending };
        ready!(deadline.sleep.as_mut().poll(cx));
        self.tell_late();
        let seeking = matches!(self.state, State::Seeking(_));
        let waiting_for = match std::mem::replace(&mut self.state, State::Done) {
            State::Sending(mut sending) => {
                sending.guard.ends(Code::DeadlineExceeded);
                WaitingFor::Response(sending.guard.connected.endpoint.key().clone())
            }
            State::Seeking(seeking) => seeking.waiting_for(Instant::now()),
            State::Hedging(mut hedging) => hedging.give_up(),
            State::Opening(_) | State::Refused(_) | State::Done => WaitingFor::Endpoint(None),
        };
        let error = CallError::DeadlineExceeded { waiting_for };
        if seeking {
            self.handle.shared().pick_failed(&error);
        }
        Poll::Ready(error)
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
                Poll::Ready(Err(status)) => return Poll::Ready(Err(this.failed(status))),
                Poll::Pending => return this.poll_deadline(cx).map(|error| Err(this.failed(error.into()))),
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
            State::Hedging(_) => "Call (sending, several attempts)",
            State::Done => "Call (done)",
        })
    }
}
