//! What observers of calls are told, and when.
//!
//! Most calls find their endpoint at once and have one attempt, so there is one box for both, a [`Watched`]: with the call's head first, and then with
//! the [`Guard`](super::Guard) of its attempt. Nothing in it is behind a lock.
//!
//! Before a call does anything else (waits for an endpoint, has another attempt, or ends otherwise than its attempt) it is
//! [shared](Follow::share): what is the call's goes behind an `Arc`, with a [`CallGuard`] that stays with the call's future. Attempts have boxes of their
//! own then, with their search first and with their `Guard` later.
//!
//! Dropping any of them tells the end, so no way out of a call can forget to.

mod attempt;
mod few;
mod follow;
mod scores;
mod watch;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use http::Request;
use tokio::time::Instant;
use tonic::{Code, Status};

use crate::observe::{AttemptKind, CallEnd, CallObserver, CallStart, CallTrace};
use crate::shared::Shared;
use crate::snapshot::Connected;

pub(crate) use attempt::{AttemptWatch, SentWatch};
pub(crate) use follow::Follow;
pub(crate) use watch::Watched;

use few::Few;
use scores::Scores;

/// Those who observe the calls of one channel.
#[derive(Debug)]
pub(crate) struct Observers {
    list: Vec<Arc<dyn CallObserver>>,
    target: Arc<str>,
    shared: Arc<Shared>,
    scores: Scores,
}

impl Observers {
    /// `None` if there is nobody.
    pub(crate) fn new(list: Vec<Arc<dyn CallObserver>>, target: &Arc<str>, shared: &Arc<Shared>) -> Option<Arc<Self>> {
        let (target, shared, scores) = (Arc::clone(target), Arc::clone(shared), Scores::default());
        (!list.is_empty()).then(|| Arc::new(Self { list, target, shared, scores }))
    }

    /// What the channel's policy thinks of an endpoint.
    pub(crate) fn score(&self, connected: &Connected) -> Option<f64> {
        self.scores.of(connected.slot, Instant::now(), || self.shared.snapshot.load_full())
    }

    /// Tells them of a call; `None` if nobody wants to hear more.
    pub(crate) fn begin<B>(self: &Arc<Self>, request: &Request<B>) -> Option<Watched> {
        let start = CallStart::new(&self.target, request);
        let mut traces = Few::new();
        for observer in &self.list {
            if let Some(trace) = observer.call(&start) {
                traces.push(trace);
            }
        }
        (!traces.is_empty()).then(|| Watched::new(self, traces))
    }
}

/// What is known of a call from its beginning to its end.
struct CallWatch {
    observers: Arc<Observers>,
    traces: Few<dyn CallTrace>,
    /// `None` until it is known: the pick reads the clock, and once is enough.
    started: Option<Instant>,
}

impl CallWatch {
    /// How long it has taken by then.
    fn waited(&self, now: Instant) -> Duration {
        self.started.map_or(Duration::ZERO, |started| now.saturating_duration_since(started))
    }

    #[inline]
    fn end(&self, ledger: &Ledger, code: Code, message: &str, moment: &Moment<'_>) {
        let end = CallEnd {
            code,
            message,
            duration: self.started.map_or(Duration::ZERO, |started| moment.since(started)),
            attempts: ledger.attempts,
            retries: ledger.retries,
            transparent_retries: ledger.transparent,
            hedges: ledger.hedges,
            retry_delay: ledger.delay,
        };
        self.traces.for_each(|trace| trace.end(&end));
    }
}

/// A call that more than its only attempt know of: it waits for an endpoint, or has, had or may have several attempts.
pub(crate) struct SharedCall {
    call: CallWatch,
    ledger: Mutex<Ledger>,
}

/// What has become of a call so far. Its attempts may be on several tasks.
#[derive(Debug, Clone, Copy, Default)]
struct Ledger {
    attempts: u32,
    retries: u32,
    transparent: u32,
    hedges: u32,
    active: u32,
    /// Since when there is no attempt, after the first.
    idle_since: Option<Instant>,
    delay: Duration,
    /// How it all ends that does not say so itself: it is dropped, or its deadline has passed.
    late: bool,
}

impl Ledger {
    /// Counts an attempt, and says for how long there was none.
    fn begin(&mut self, kind: AttemptKind, now: Instant) -> Duration {
        self.attempts += 1;
        self.active += 1;
        match kind {
            AttemptKind::First => {}
            AttemptKind::Retry => self.retries += 1,
            AttemptKind::Transparent => self.transparent += 1,
            AttemptKind::Hedge => self.hedges += 1,
        }
        // What passes before a transparent retry is no delay, but the time it takes to say so.
        let gap = self.idle_since.take().filter(|_| kind != AttemptKind::Transparent);
        let gap = gap.map_or(Duration::ZERO, |since| now.saturating_duration_since(since));
        self.delay += gap;
        gap
    }

    /// An attempt has ended; how it all stands then.
    fn end(&mut self, now: Instant) -> Self {
        self.active = self.active.saturating_sub(1);
        if self.active == 0 {
            self.idle_since = Some(now);
        }
        *self
    }

    /// The code of what was given up.
    fn given_up(&self) -> Code {
        if self.late { Code::DeadlineExceeded } else { Code::Cancelled }
    }
}

impl SharedCall {
    fn ledger(&self) -> MutexGuard<'_, Ledger> {
        // Nothing under the lock can panic.
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Ends a shared call for its observers when it is dropped, unless that was done before or is left to its attempt.
pub(crate) struct CallGuard(Option<Arc<SharedCall>>);

impl CallGuard {
    fn new(call: Arc<SharedCall>) -> Self {
        Self(Some(call))
    }

    /// From now on what is given up is given up because it is too late.
    pub(crate) fn is_late(&self) {
        if let Some(call) = &self.0 {
            call.ledger().late = true;
        }
    }

    /// The call failed like this.
    pub(crate) fn failed(mut self, status: &Status) {
        self.over(Some(status.code()), status.message());
    }

    fn over(&mut self, code: Option<Code>, message: &str) {
        if let Some(shared) = self.0.take() {
            let ledger = *shared.ledger();
            let moment = Moment::without(Instant::now());
            shared.call.end(&ledger, code.unwrap_or_else(|| ledger.given_up()), message, &moment);
        }
    }
}

impl Drop for CallGuard {
    fn drop(&mut self) {
        self.over(None, "");
    }
}

/// A moment at which something ends, with what is known of it already: reckoning in times is dear where every call does it.
struct Moment<'a> {
    now: Instant,
    /// Some moment before, and how long ago that is.
    known: (Instant, Duration),
    connected: Option<&'a Arc<Connected>>,
}

impl Moment<'_> {
    /// Without a connection that it would have to do with.
    fn without(now: Instant) -> Self {
        Self { now, known: (now, Duration::ZERO), connected: None }
    }

    fn since(&self, earlier: Instant) -> Duration {
        let (known, ago) = self.known;
        if earlier == known { ago } else { self.now.saturating_duration_since(earlier) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_without_an_attempt_is_counted_between_attempts_and_not_before_a_transparent_one() {
        let (begin, ms) = (Instant::now(), Duration::from_millis);
        let mut ledger = Ledger::default();
        assert_eq!(ledger.begin(AttemptKind::First, begin + ms(10)), ms(0));
        ledger.end(begin + ms(20));
        assert_eq!(ledger.begin(AttemptKind::Retry, begin + ms(50)), ms(30));
        ledger.end(begin + ms(60));
        assert_eq!(ledger.begin(AttemptKind::Transparent, begin + ms(61)), ms(0));
        assert_eq!(ledger.begin(AttemptKind::Hedge, begin + ms(70)), ms(0), "there is one");
        ledger.end(begin + ms(80));
        assert_eq!(ledger.idle_since, None, "there is another one");
        ledger.end(begin + ms(90));
        assert_eq!((ledger.delay, ledger.idle_since), (ms(30), Some(begin + ms(90))));
        assert_eq!((ledger.attempts, ledger.retries, ledger.transparent, ledger.hedges), (4, 1, 1, 1));
    }
}
