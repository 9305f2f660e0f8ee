//! A call with several attempts at once.
//!
//! Each attempt picks, sends and fails on its own; the call takes the first answer, and dropping the others resets their streams and takes
//! them off their endpoints' books. When attempts are sent and what their failures mean is [`Hedges`]' to say. The first attempt
//! goes where the call was picked; if there is no endpoint for it the call fails as any other.
//!
//! Boxed, so that calls without a hedging policy pay one branch.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_util::future::BoxFuture;
use http::Response;
use lb_core::EndpointKey;
use lb_core::retry::{Attempts, HedgeStep, Hedges, HedgingPolicy, Next, Reached, Throttle};
use tokio::time::{Instant, Sleep, sleep_until};
use tonic::{Code, Status};

use crate::deadline;
use crate::error::{CallError, WaitingFor};
use crate::observe::AttemptKind;
use crate::shared::Handle;
use crate::transport::{AnyBody, AttemptError, AttemptFuture, request};

use super::guard::Guard;
use super::head::Head;
use super::judged::{Cause, Failed, is_answer, trailers_only};
use super::request_body::Content;
use super::search::find_endpoint;
use super::seek::{LastFailure, Seek};

/// The attempts of one call.
pub(super) struct Hedging {
    handle: Arc<Handle>,
    policy: HedgingPolicy,
    deadline: Option<Instant>,
    /// What every attempt begins with. Its headers are never taken.
    head: Head,
    content: Content,
    hedges: Hedges,
    running: Vec<Hedge>,
    timer: Option<Pin<Box<Sleep>>>,
    /// The latest failure.
    last: Option<Cause>,
    /// Whether something has begun that has to be polled.
    stirred: bool,
}

/// One of them.
struct Hedge {
    /// As what the server counts it; one that takes the place of another has its number.
    attempts: Attempts,
    stage: Stage,
}

#[expect(clippy::large_enum_variant, reason = "most attempts are sent as soon as they begin; a box would be one more for each")]
enum Stage {
    Seeking(BoxFuture<'static, Result<(Box<Head>, Guard), CallError>>),
    Sending { attempt: AttemptFuture, guard: Guard, epoch: u32 },
}

/// The attempt that answered.
pub(super) struct Won {
    pub(super) response: Response<AnyBody>,
    pub(super) guard: Guard,
}

/// What happened to one of the attempts.
enum Event {
    Found(Box<Head>, Guard),
    Ended(Result<Response<AnyBody>, AttemptError>),
    NoEndpoint(CallError),
}

impl Hedging {
    /// Begins a call whose first attempt goes to the endpoint of `guard`.
    pub(super) fn new(handle: &Arc<Handle>, policy: HedgingPolicy, deadline: Option<Instant>, seek: Seek, guard: Guard) -> Self {
        let now = Instant::now();
        let Seek { mut head, content, .. } = seek;
        let mut hedges = Hedges::new(now.into_std());
        hedges.due(now.into_std(), &policy, throttle(handle));
        head.attempts.begin();
        let running = Vec::with_capacity(2);
        let handle = Arc::clone(handle);
        let mut hedging = Self { handle, policy, deadline, head, content, hedges, running, timer: None, last: None, stirred: true };
        let mut first = hedging.head.fork(hedging.head.attempts);
        first.follow = std::mem::replace(&mut hedging.head.follow, first.follow.fork());
        // Nobody has sent anything yet, so there is nothing in its way.
        let _ = hedging.send(first, guard);
        hedging
    }

    /// The first answer. Cancel safe: dropping the call drops every attempt.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<Won, Status>> {
        loop {
            self.stirred = false;
            // One at a time: each has picked before the next one does, and goes elsewhere.
            if self.hedges.due(Instant::now().into_std(), &self.policy, throttle(&self.handle)) {
                self.head.attempts.begin();
                self.seek(self.head.attempts, AttemptKind::Hedge);
            }
            for index in (0..self.running.len()).rev() {
                if let Poll::Ready(result) = self.poll_one(index, cx) {
                    return Poll::Ready(result);
                }
            }
            if !self.stirred && !self.poll_timer(cx) {
                return Poll::Pending;
            }
        }
    }

    /// Whether it is time for the next attempt; if not the task is woken when it is.
    fn poll_timer(&mut self, cx: &mut Context<'_>) -> bool {
        let Some(at) = self.hedges.next_at().map(Instant::from_std) else { return false };
        let timer = self.timer.get_or_insert_with(|| Box::pin(sleep_until(at)));
        if timer.deadline() != at {
            timer.as_mut().reset(at);
        }
        timer.as_mut().poll(cx).is_ready()
    }

    /// Polls one attempt; ready when that ends the call.
    fn poll_one(&mut self, index: usize, cx: &mut Context<'_>) -> Poll<Result<Won, Status>> {
        let Some(hedge) = self.running.get_mut(index) else { return Poll::Pending };
        let Poll::Ready(event) = hedge.stage.poll(cx) else { return Poll::Pending };
        let Hedge { attempts, stage } = self.running.swap_remove(index);
        match (event, stage) {
            (Event::Found(head, guard), _) => self.send(*head, guard),
            (Event::NoEndpoint(error), _) => self.not_placed(error),
            (Event::Ended(result), Stage::Sending { guard, epoch, .. }) => self.ended(result, guard, epoch, attempts),
            (Event::Ended(_), Stage::Seeking(_)) => Poll::Pending,
        }
    }

    fn ended(
        &mut self,
        result: Result<Response<AnyBody>, AttemptError>,
        mut guard: Guard,
        epoch: u32,
        attempts: Attempts,
    ) -> Poll<Result<Won, Status>> {
        let status = result.as_ref().ok().and_then(|response| trailers_only(response.headers()));
        let result = match result {
            Ok(response) if is_answer(response.status(), status) => return Poll::Ready(Ok(self.won(response, guard, epoch))),
            result => result,
        };
        if self.content.is_superseded(epoch) {
            // Another one has sent too much to be caught up with.
            guard.forget();
            let step = self.hedges.withdrawn();
            return self.step(step);
        }
        let failed = Failed::new(&mut guard, result, self.content.is_repeatable());
        // Not the policy's: a hedge that nobody has worked on is replaced, not counted.
        if self.head.attempts.after(&failed.ending, None, throttle(&self.handle), 0) == Next::Transparent {
            guard.forget();
            self.head.unusable = (failed.ending.reached == Reached::NotSent).then(|| Arc::clone(&guard.connected));
            drop(guard);
            self.head.attempts.begin();
            self.seek(attempts, AttemptKind::Transparent);
            return Poll::Pending;
        }
        let endpoint = guard.connected.endpoint.key().clone();
        drop(guard);
        self.failed(Some(endpoint), failed)
    }

    fn not_placed(&mut self, error: CallError) -> Poll<Result<Won, Status>> {
        if error.is_of_the_moment() {
            return self.failed(None, Failed::to_pick(error, true));
        }
        // Dropped: nobody shall have the call, but those that have it already.
        self.last = Some(Cause::Error(error));
        self.hedges.freeze();
        let step = self.hedges.withdrawn();
        self.step(step)
    }

    fn failed(&mut self, endpoint: Option<EndpointKey>, failed: Failed) -> Poll<Result<Won, Status>> {
        self.head.history.add(endpoint, &failed);
        let Failed { ending, cause } = failed;
        if !ending.repeatable {
            self.hedges.freeze();
        }
        self.last = Some(cause);
        let now = Instant::now().into_std();
        let step = self.hedges.failed(now, ending.code, ending.pushback, &self.policy, throttle(&self.handle));
        self.step(step)
    }

    /// Goes on, or ends the call with the last failure.
    fn step(&mut self, step: HedgeStep) -> Poll<Result<Won, Status>> {
        // A failure may have made the next attempt due.
        self.stirred = true;
        if step == HedgeStep::GoOn {
            return Poll::Pending;
        }
        for hedge in self.running.drain(..) {
            self.head.history.cancelled(hedge.stage.endpoint());
        }
        let why = self.hedges.why();
        let last = self.last.take().unwrap_or(Cause::Error(CallError::Closed));
        Poll::Ready(Err(self.head.history.surface(last, why)))
    }

    fn won(&mut self, response: Response<AnyBody>, guard: Guard, epoch: u32) -> Won {
        self.content.commit(Some(epoch));
        throttle(&self.handle).succeeded();
        self.running.clear();
        Won { response, guard }
    }

    /// What the call goes on with once an attempt has answered.
    pub(super) fn into_parts(self) -> (Head, Content) {
        (self.head, self.content)
    }

    /// Looks for an endpoint for an attempt.
    fn seek(&mut self, attempts: Attempts, kind: AttemptKind) {
        let (handle, mut head) = (Arc::clone(&self.handle), Box::new(self.head.fork(attempts)));
        head.follow.next(kind, attempts.previous());
        let seeking = async move {
            let guard = find_endpoint(&handle, &mut head, &LastFailure::default()).await?;
            Ok((head, guard))
        };
        self.running.push(Hedge { attempts, stage: Stage::Seeking(Box::pin(seeking)) });
        self.stirred = true;
    }

    /// Sends an attempt, unless too much was sent already by others.
    fn send(&mut self, mut head: Head, mut guard: Guard) -> Poll<Result<Won, Status>> {
        let Some((mut body, epoch)) = self.content.hedge() else {
            self.hedges.freeze();
            let step = self.hedges.withdrawn();
            return self.step(step);
        };
        if let Some(deadline) = self.deadline {
            deadline::set_remaining(&mut head.request.headers, deadline, Instant::now());
        }
        self.head.tried.push(guard.connected.slot);
        head.place(&mut body, &mut guard);
        let attempt = guard.connected.transport.send(request(head.request.uri, head.request.headers), body);
        self.running.push(Hedge { attempts: head.attempts, stage: Stage::Sending { attempt, guard, epoch } });
        self.stirred = true;
        Poll::Pending
    }

    /// The deadline has passed: what the call was waiting for.
    pub(super) fn give_up(&mut self) -> WaitingFor {
        let mut waiting_for = WaitingFor::Endpoint(None);
        for hedge in self.running.drain(..) {
            if let Stage::Sending { mut guard, .. } = hedge.stage {
                guard.ends(Code::DeadlineExceeded);
                waiting_for = WaitingFor::Response(guard.connected.endpoint.key().clone());
            }
        }
        waiting_for
    }
}

impl Stage {
    /// Where the attempt is, if it has been sent.
    fn endpoint(&self) -> Option<EndpointKey> {
        match self {
            Self::Seeking(_) => None,
            Self::Sending { guard, .. } => Some(guard.connected.endpoint.key().clone()),
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Event> {
        match self {
            Self::Seeking(seeking) => seeking.as_mut().poll(cx).map(|found| match found {
                Ok((head, guard)) => Event::Found(head, guard),
                Err(error) => Event::NoEndpoint(error),
            }),
            Self::Sending { attempt, .. } => attempt.poll(cx).map(Event::Ended),
        }
    }
}

fn throttle(handle: &Handle) -> &Throttle {
    &handle.shared().throttle
}
