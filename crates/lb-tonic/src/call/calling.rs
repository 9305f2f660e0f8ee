//! A call from the caller's request to the response's headers.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use http::{Request, Response, response};
use lb_core::retry::RetryPolicy;
use tokio::time::{Instant, Sleep};
use tonic::body::Body;
use tonic::{Code, Status};

use crate::deadline::{self, Deadline};
use crate::error::{CallError, WaitingFor};
use crate::inspect::Tally;
use crate::picked::PickedEndpoint;
use crate::shared::Handle;
use crate::transport::{AnyBody, AttemptError, AttemptFuture};

use super::guard::Guard;
use super::head::Head;
use super::hedging::{Hedging, Won};
use super::judged::{is_answer, trailers_only};
use super::request_body::{Beginning, Content};
use super::response_body::Answering;
use super::seek::{Backoff, Seek, Seeking};
use super::trace::{CallGuard, Follow, Watched};

/// A call until it is answered.
///
/// What it is stays where it is from the first poll to the last; only its state changes, which is small.
pub(crate) struct Calling {
    pub(super) handle: Arc<Handle>,
    pub(super) deadline: Option<Deadline>,
    /// Dropped first: the stream of an attempt is reset before its endpoint counts it as ended.
    pub(super) state: State,
    /// The endpoint of the attempt on its way, or of the first to come.
    pub(crate) guard: Option<Guard>,
    /// Lent to a search for an endpoint and to attempts beside each other, as is `content`.
    pub(crate) head: Head,
    /// Empty until the request has been looked at.
    pub(super) content: Content,
    /// Tells who observes the call how it ends, if more than its attempt know of it. Dropped after everything that belongs to an attempt.
    pub(super) watch: Option<CallGuard>,
    /// Counts the call, if its channel does.
    pub(super) tally: Option<Tally>,
}

pub(super) enum State {
    /// The request has not been looked at.
    Opening(Beginning),
    Seeking(Seeking),
    Sending(Sending),
    /// Shed or dropped before anything was done for it.
    Refused(Status),
    Hedging(Box<Hedging>),
    /// What is left is its response's.
    Answered(AnyBody),
    Done,
}

/// An attempt on its way.
pub(super) struct Sending {
    attempt: AttemptFuture,
    /// How long the attempt may take, if its policy says.
    timer: Option<Pin<Box<Sleep>>>,
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

impl Calling {
    /// A call that has yet to be [prepared](Self::prepare), and to find its endpoint.
    #[inline]
    pub(super) fn new(handle: Arc<Handle>, request: Request<Body>) -> Self {
        let tally = handle.birth().tally();
        let (head, body) = Head::new(request);
        let state = State::Opening(Beginning::new(body));
        Self { handle, deadline: None, state, guard: None, head, content: Content::default(), watch: None, tally }
    }

    /// It is observed from its pick on, if it has one: the pick has read the clock, and once is enough.
    pub(crate) fn observe(&mut self, begun: Watched) {
        self.head.follow.observe(begun, self.guard.as_ref().map_or_else(Instant::now, Guard::started));
    }

    /// Lets others know of the call than its attempt, whose guard this is if it has an endpoint: before that ends without the call, or the
    /// call is lent. Nothing to do if nobody observes it.
    #[cold]
    pub(super) fn share(&mut self, guard: Option<&mut Guard>) {
        if self.watch.is_none() {
            self.watch = self.head.follow.share(guard.and_then(|guard| guard.watch.as_mut()));
        }
    }

    /// Follows what is known of its method.
    #[inline]
    pub(crate) fn prepare(&mut self) {
        let (head, config) = (&self.head, self.handle.config());
        let header = deadline::header_timeout(&head.headers);
        // What is not settled is known when an endpoint has been found.
        let method = head.configured.timeout().filter(|_| head.configured.is_settled());
        let timeout = [header, config.timeout, method].into_iter().flatten().min();
        // A time that cannot be added to the present is no deadline.
        if let Some(timeout) = timeout
            && let Some(at) = Instant::now().checked_add(timeout)
        {
            self.deadline = Some(Deadline::new(at, header == Some(timeout) && !timeout.is_zero()));
        }
        if let (State::Opening(request), Some(limit)) = (&mut self.state, head.configured.max_request(config.max_request)) {
            request.limit(limit);
        }
    }

    /// A call that is over before it begins.
    #[cold]
    pub(super) fn refused(handle: Arc<Handle>, error: CallError, begun: Option<Watched>) -> Self {
        let mut head = Head::default();
        if let Some(begun) = begun {
            head.follow.observe(begun, Instant::now());
        }
        let tally = handle.birth().tally();
        let state = State::Refused(error.into());
        Self { handle, deadline: None, state, guard: None, head, content: Content::default(), watch: None, tally }
    }

    /// Begins an attempt at the endpoint that was found.
    fn send(&mut self, cx: &mut Context<'_>) -> Result<(), CallError> {
        if let Some(policy) = self.hedging_policy() {
            return self.hedge(policy);
        }
        self.head.attempts.begin();
        if let Some(deadline) = &mut self.deadline
            && !std::mem::replace(&mut deadline.announced, false)
        {
            let now = Instant::now();
            if deadline.at <= now {
                return Err(self.too_late());
            }
            deadline::set_remaining(&mut self.head.headers, deadline.at, now);
        }
        let Some(guard) = &mut self.guard else { return Err(CallError::Closed) };
        let Some(body) = self.content.attempt() else {
            return Err(CallError::Lost {
                endpoint: guard.connected.endpoint.key().clone(),
                reason: "the attempt before was not taken, and the request is too large to be sent again".into(),
            });
        };
        let (head, body) = self.head.request(body, guard);
        let attempt = guard.connected.transport.start(cx, head, body);
        let timeout = self.retry_policy().and_then(RetryPolicy::attempt_timeout);
        let timer = timeout.map(|timeout| Box::pin(tokio::time::sleep(timeout)));
        self.state = State::Sending(Sending { attempt, timer });
        Ok(())
    }

    /// Gives away what the call is, to be [given back](Self::take_back).
    pub(super) fn lend(&mut self) -> Seek {
        self.share(None);
        Seek::new(std::mem::take(&mut self.head), std::mem::take(&mut self.content))
    }

    fn take_back(&mut self, head: Head, content: Content) {
        (self.head, self.content) = (head, content);
    }

    /// The deadline has passed before there was an attempt to send.
    #[cold]
    pub(super) fn too_late(&self) -> CallError {
        self.tell_late();
        CallError::DeadlineExceeded { waiting_for: WaitingFor::Endpoint(None) }
    }

    /// Attempts that are given up from now on are so because of the deadline.
    fn tell_late(&self) {
        if let Some(watch) = &self.watch {
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
    fn follow_config(&mut self) -> Result<(), CallError> {
        let at = self.head.configured.until();
        if let Some(at) = at.filter(|at| self.deadline.as_ref().is_none_or(|deadline| *at < deadline.at)) {
            self.deadline = Some(Deadline::new(at, false));
        }
        let limit = self.head.configured.max_request(self.handle.config().max_request);
        limit.map_or(Ok(()), |limit| self.content.limit(limit))
    }

    /// Looks for an endpoint, after this wait if any.
    #[cold]
    pub(super) fn seek(&mut self, backoff: Option<Backoff>) {
        self.forget_announced();
        self.state = State::Seeking(Seeking::new(Arc::clone(&self.handle), self.lend(), backoff));
    }

    /// The head of the response that the caller gets, with its status if that came without messages.
    pub(super) fn respond(&mut self, response: Response<AnyBody>, status: Option<Code>) -> Result<response::Parts, Status> {
        self.content.commit(None);
        let Some(guard) = &mut self.guard else { return Err(Status::internal("an answer without an attempt")) };
        let head = &mut self.head;
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
            watch.answers(self.watch.take());
        }
        guard.tally = self.tally.take();
        // A response without messages has its status in the headers, and tonic may drop the body unread.
        if let Some(code) = status {
            guard.ends(code);
            guard.read_load(&parts.headers);
        }
        self.state = State::Answered(body);
        Ok(parts)
    }

    /// What is left of it once it is answered.
    #[inline]
    pub(super) fn answer(&mut self) -> Answering {
        let body = match std::mem::replace(&mut self.state, State::Done) {
            State::Answered(body) => body,
            _ => AnyBody::empty(),
        };
        let deadline = self.deadline.take().map(|deadline| deadline.sleep);
        let limit = self.head.configured.max_response(self.handle.config().max_response);
        Answering::new(body, self.guard.take(), deadline, limit)
    }

    /// Polls what the call is doing now. `Ok(None)` means it has moved on and can be polled again.
    fn poll_state(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<response::Parts>, Status>> {
        match &mut self.state {
            State::Opening(request) => {
                request.poll(cx)?;
                let repeats = &self.handle.config().repeats;
                let limited = repeats.of(self.head.configured.method()).is_some();
                self.content = request.take_content(&repeats.allowance, limited);
                match self.guard {
                    Some(_) => self.send(cx)?,
                    None => self.seek(None),
                }
            }
            State::Seeking(seeking) => match ready!(seeking.poll(cx)) {
                Ok((seek, guard)) => {
                    let Seek { head, content, was_unsettled } = *seek;
                    self.take_back(head, content);
                    self.guard = Some(guard);
                    if was_unsettled {
                        self.follow_config()?;
                    }
                    self.send(cx)?;
                }
                Err((seek, error)) => {
                    self.take_back(seek.head, seek.content);
                    return Poll::Ready(self.pick_failed(error));
                }
            },
            State::Sending(sending) => {
                let result = ready!(sending.poll(cx));
                // The stream of an attempt that is given up is reset before there is another one.
                self.state = State::Done;
                let Some(result) = result else { return Poll::Ready(self.attempt_too_long()) };
                let status = result.as_ref().ok().and_then(trailers_only);
                return Poll::Ready(match result {
                    Ok(response) if is_answer(&response, status) => {
                        self.handle.shared().throttle.succeeded();
                        self.respond(response, status).map(Some)
                    }
                    result => self.attempt_ended(result),
                });
            }
            State::Hedging(hedging) => {
                let Won { response, status, guard } = ready!(hedging.poll(cx))?;
                let State::Hedging(hedging) = std::mem::replace(&mut self.state, State::Done) else { return Poll::Pending };
                let (head, content) = hedging.into_parts();
                self.take_back(head, content);
                self.guard = Some(guard);
                return Poll::Ready(self.respond(response, status).map(Some));
            }
            State::Refused(_) => {
                let State::Refused(status) = std::mem::replace(&mut self.state, State::Done) else { return Poll::Pending };
                return Poll::Ready(Err(status));
            }
            State::Answered(_) | State::Done => return Poll::Ready(Err(over())),
        }
        Poll::Ready(Ok(None))
    }

    /// The call ends with this status.
    fn failed(&mut self, status: Status) -> Status {
        self.tally = None;
        let mut guard = self.guard.take();
        self.share(guard.as_mut());
        // Whatever attempt there still was is over before the call is.
        self.state = State::Done;
        drop(guard);
        if let Some(watch) = self.watch.take() {
            self.head.follow = Follow::default();
            watch.failed(&status);
        }
        status
    }

    /// The head of the response; what is left then is the [answer](Self::answer).
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<response::Parts, Status>> {
        loop {
            match self.poll_state(cx) {
                Poll::Ready(Ok(None)) => {}
                Poll::Ready(Ok(Some(parts))) => return Poll::Ready(Ok(parts)),
                Poll::Ready(Err(status)) => return Poll::Ready(Err(self.failed(status))),
                Poll::Pending => return self.poll_deadline(cx).map(|error| Err(self.failed(error.into()))),
            }
        }
    }

    fn poll_deadline(&mut self, cx: &mut Context<'_>) -> Poll<CallError> {
        let Some(deadline) = &mut self.deadline else { return Poll::Pending };
        ready!(deadline.sleep.as_mut().poll(cx));
        let mut guard = self.guard.take();
        self.share(guard.as_mut());
        self.tell_late();
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
            self.handle.shared().pick_failed(&error);
        }
        Poll::Ready(error)
    }
}

/// It was polled once more than futures may be.
#[cold]
pub(super) fn over() -> Status {
    Status::internal("the call was polled after it had ended")
}

impl fmt::Debug for Calling {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.state {
            State::Opening(_) => "Call (opening)",
            State::Seeking(_) => "Call (seeking an endpoint)",
            State::Sending(_) => "Call (sending)",
            State::Refused(_) => "Call (shed)",
            State::Hedging(_) => "Call (sending, several attempts)",
            State::Answered(_) | State::Done => "Call (done)",
        })
    }
}
