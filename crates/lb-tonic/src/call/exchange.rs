//! A call from its request to its trailers: what it is. How it gets on is in [`progress`](super::progress) until it is answered, and in
//! [`response_body`](super::response_body) from then on.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, response};
use http_body::Frame;
use tokio::time::{Instant, Sleep};
use tonic::body::Body;
use tonic::{Code, Status};

use crate::deadline::Deadline;
use crate::error::CallError;
use crate::inspect::Tally;
use crate::picked::PickedEndpoint;
use crate::shared::Handle;
use crate::transport::{AnyBody, AttemptError, AttemptFuture};

use super::guard::Guard;
use super::head::{Head, Read};
use super::hedging::Hedging;
use super::judged::trailers_only;
use super::message_size::MessageSize;
use super::question::Question;
use super::request_body::{Beginning, Content};
use super::seek::Seeking;
use super::trace::Watched;

/// A call from its request to its trailers.
///
/// What it is stays where it is from the first poll to the last; only its state changes, which is small.
pub(crate) struct Exchange {
    pub(super) deadline: Option<Deadline>,
    /// The head of the response, until the caller gets it.
    pub(super) answer: Option<response::Parts>,
    /// Dropped first: the stream of an attempt is reset before its endpoint counts it as ended.
    pub(super) state: State,
    /// The endpoint of the attempt on its way, or of the first to come.
    pub(crate) guard: Option<Guard>,
    /// Limits messages of the response.
    pub(super) limit: Option<Box<MessageSize>>,
    /// Dropped when it is answered.
    pub(crate) question: Option<Question>,
}

pub(super) enum State {
    /// The request has not been looked at.
    Opening(Beginning),
    Seeking(Seeking),
    Sending(Sending),
    /// Shed or dropped before anything was done for it.
    Refused(Status),
    Hedging(Box<Hedging>),
    /// Its response's body is all that is left.
    Answered(AnyBody),
    Done,
}

/// What became of a call that was polled.
pub(super) enum Step {
    /// It has moved on, and can be polled again.
    On,
    /// It is answered.
    Answered,
}

impl State {
    /// The body of the response that the attempt has got.
    pub(super) fn into_body(self) -> AnyBody {
        match self {
            Self::Sending(mut sending) => sending.attempt.take_body(),
            Self::Answered(body) => body,
            _ => AnyBody::empty(),
        }
    }

    /// The next of the body.
    #[inline]
    pub(super) fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, AttemptError>>> {
        match self {
            Self::Sending(sending) => sending.attempt.poll_frame(cx),
            Self::Answered(body) => body.poll_frame(cx),
            _ => Poll::Ready(None),
        }
    }

    pub(super) fn is_end_stream(&self) -> bool {
        match self {
            Self::Sending(sending) => sending.attempt.is_end_stream(),
            Self::Answered(body) => body.is_end_stream(),
            _ => true,
        }
    }
}

/// An attempt on its way.
pub(super) struct Sending {
    pub(super) attempt: AttemptFuture,
    /// How long the attempt may take, if its policy says.
    pub(super) timer: Option<Pin<Box<Sleep>>>,
}

impl Sending {
    /// The attempt's end, with the response's head put there; `None` if it takes too long.
    #[inline]
    pub(super) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        head: &mut Option<response::Parts>,
    ) -> Poll<Option<Result<(), AttemptError>>> {
        if let Poll::Ready(result) = self.attempt.poll_head(cx, head) {
            return Poll::Ready(Some(result));
        }
        match &mut self.timer {
            Some(timer) => timer.as_mut().poll(cx).map(|()| None),
            None => Poll::Pending,
        }
    }
}

impl Exchange {
    /// A call that has yet to be [prepared](Self::prepare), and to find its endpoint. Moves alone, so that it can be made where it stays.
    #[inline]
    pub(crate) fn new(handle: Arc<Handle>, tally: Option<Tally>, read: Read, request: Request<Body>) -> Self {
        let (head, body) = Head::new(request, read);
        let question = Question { head, content: Content::default(), watch: None, tally, handle };
        Self::with(State::Opening(Beginning::new(body)), question)
    }

    #[inline]
    fn with(state: State, question: Question) -> Self {
        Self { deadline: None, answer: None, state, guard: None, limit: None, question: Some(question) }
    }

    /// A call that is over before it begins.
    #[cold]
    pub(super) fn refused(handle: Arc<Handle>, error: CallError, begun: Option<Watched>) -> Self {
        let mut head = Head::default();
        if let Some(begun) = begun {
            head.follow.observe(begun, Instant::now());
        }
        let tally = handle.birth().tally();
        let question = Question { head, content: Content::default(), watch: None, tally, handle };
        Self::with(State::Refused(error.into()), question)
    }

    /// It is observed from its pick on, if it has one: the pick has read the clock, and once is enough.
    pub(crate) fn observe(&mut self, begun: Watched) {
        if let Some(question) = &mut self.question {
            question.head.follow.observe(begun, self.guard.as_ref().map_or_else(Instant::now, Guard::started));
        }
    }

    /// Follows what is known of its method.
    #[inline]
    pub(crate) fn prepare(&mut self) {
        let Some(Question { head, handle, .. }) = &self.question else { return };
        let config = handle.config();
        if let (State::Opening(request), Some(limit)) = (&mut self.state, head.configured.max_request(config.max_request)) {
            request.limit(limit);
        }
        // What is not settled is known when an endpoint has been found.
        let method = head.configured.timeout().filter(|_| head.configured.is_settled());
        if head.timeout.is_some() || config.timeout.is_some() || method.is_some() {
            self.deadline = deadline(head.timeout, config.timeout, method);
        }
    }

    /// Makes the head of the response what the caller gets, with its status if that came without messages.
    #[inline]
    pub(super) fn respond(&mut self, status: Option<Code>) -> Result<Step, Status> {
        let Self { state, guard: Some(guard), answer: Some(answer), question: Some(question), limit, .. } = self else {
            return Err(no_attempt());
        };
        question.content.commit(None);
        let Question { head, handle, .. } = question;
        if let (Some(tie), Some(sessions)) = (&guard.tie, handle.sessions()) {
            sessions.answer(tie, &guard.connected, &mut answer.headers);
        }
        // The request's map has its memory already, and what was in it has been read. A new map would cost three allocations.
        if head.extended {
            let extensions = &mut head.request.extensions;
            extensions.clear();
            extensions.insert(PickedEndpoint::new(Arc::clone(&guard.connected), head.attempts.made()));
            std::mem::swap(&mut answer.extensions, extensions);
        }
        if let Some(watch) = &mut guard.watch {
            watch.answers(question.watch.take());
        }
        if question.tally.is_some() {
            guard.tally = question.tally.take();
        }
        if let Some(max) = head.configured.max_response(handle.config().max_response) {
            *limit = Some(Box::new(MessageSize::new("response", max)));
        }
        if let State::Sending(Sending { timer: timer @ Some(_), .. }) = state {
            *timer = None;
        }
        // A response without messages has its status in the headers, and tonic may drop the body unread.
        if let Some(code) = status {
            guard.ends(code);
            guard.read_load(&answer.headers);
        }
        Ok(Step::Answered)
    }

    /// The response of an attempt that goes to the caller, whatever it says.
    pub(super) fn surface(&mut self, guard: Guard, response: Response<AnyBody>) -> Result<Step, Status> {
        let (head, body) = response.into_parts();
        let status = trailers_only(&head.headers);
        self.guard = Some(guard);
        self.answer = Some(head);
        self.state = State::Answered(body);
        self.respond(status)
    }
}

/// The earliest of what headers, channel and method say. A time that cannot be added to the present is no deadline.
fn deadline(header: Option<Duration>, channel: Option<Duration>, method: Option<Duration>) -> Option<Deadline> {
    let timeout = [header, channel, method].into_iter().flatten().min()?;
    let at = Instant::now().checked_add(timeout)?;
    Some(Deadline::new(at, header == Some(timeout) && !timeout.is_zero()))
}

/// There is none without an endpoint.
#[cold]
pub(super) fn no_attempt() -> Status {
    Status::internal("an attempt without an endpoint")
}

/// It was polled once more than futures may be.
#[cold]
pub(super) fn over() -> Status {
    Status::internal("the call was polled after it had ended")
}

impl fmt::Debug for Exchange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.state {
            _ if self.question.is_none() => "Call (done)",
            State::Opening(_) => "Call (opening)",
            State::Seeking(_) => "Call (seeking an endpoint)",
            State::Sending(_) => "Call (sending)",
            State::Refused(_) => "Call (shed)",
            State::Hedging(_) => "Call (sending, several attempts)",
            State::Answered(_) | State::Done => "Call (done)",
        })
    }
}
