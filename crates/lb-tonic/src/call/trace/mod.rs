//! What observers of calls are told, and when.
//!
//! A call's [`CallWatch`] is made with it, if anybody observes; its [`CallGuard`] stays with the call's future, and moves into the guard of the
//! attempt that answers. An attempt's [`AttemptGuard`] is with its search first and then with its [`Guard`](super::Guard). Dropping either guard tells
//! the end, so no way out of a call can forget to.

mod attempt;
mod follow;
mod scores;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use http::Request;
use smallvec::SmallVec;
use tokio::time::Instant;
use tonic::{Code, Status};

use crate::observe::{AttemptKind, CallEnd, CallObserver, CallStart, CallTrace};
use crate::shared::Shared;
use crate::snapshot::Connected;

pub(crate) use attempt::{AttemptGuard, AttemptWatch, SentWatch};
pub(crate) use follow::Follow;
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
    pub(crate) fn begin<B>(self: &Arc<Self>, request: &Request<B>) -> Option<Begun> {
        let start = CallStart::new(&self.target, request);
        let traces: Traces<dyn CallTrace> = self.list.iter().filter_map(|observer| observer.call(&start)).collect();
        (!traces.is_empty()).then(|| Begun { observers: Arc::clone(self), traces })
    }
}

/// A call that is observed, before it is known when it began: the pick reads the clock, and once is enough.
pub(crate) struct Begun {
    observers: Arc<Observers>,
    traces: Traces<dyn CallTrace>,
}

impl Begun {
    /// It began then.
    pub(super) fn at(self, started: Instant) -> CallGuard {
        let Self { observers, traces } = self;
        CallGuard(Some(Arc::new(CallWatch { observers, traces, started, ledger: Mutex::default() })))
    }
}

/// One for each observer that wants to hear more. Few channels have more than two.
type Traces<T> = SmallVec<[Arc<T>; 2]>;

/// One call, observed.
pub(crate) struct CallWatch {
    observers: Arc<Observers>,
    traces: Traces<dyn CallTrace>,
    started: Instant,
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

impl CallWatch {
    fn ledger(&self) -> MutexGuard<'_, Ledger> {
        // Nothing under the lock can panic.
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From now on what is given up is given up because it is too late.
    pub(crate) fn is_late(&self) {
        self.ledger().late = true;
    }

    fn end(&self, ledger: &Ledger, code: Code, message: &str, now: Instant) {
        let end = CallEnd {
            code,
            message,
            duration: now.saturating_duration_since(self.started),
            attempts: ledger.attempts,
            retries: ledger.retries,
            transparent_retries: ledger.transparent,
            hedges: ledger.hedges,
            retry_delay: ledger.delay,
        };
        self.traces.iter().for_each(|trace| trace.end(&end));
    }
}

/// Ends a call for its observers when it is dropped, unless that was done before.
pub(crate) struct CallGuard(Option<Arc<CallWatch>>);

impl CallGuard {
    /// For those who begin attempts.
    pub(crate) fn watch(&self) -> Option<&Arc<CallWatch>> {
        self.0.as_ref()
    }

    /// The call failed like this.
    pub(crate) fn failed(mut self, status: &Status) {
        self.over(Some(status.code()), status.message());
    }

    fn over(&mut self, code: Option<Code>, message: &str) {
        if let Some(watch) = self.0.take() {
            let ledger = *watch.ledger();
            watch.end(&ledger, code.unwrap_or_else(|| ledger.given_up()), message, Instant::now());
        }
    }

    fn end(&mut self, ledger: &Ledger, code: Code, message: &str, now: Instant) {
        if let Some(watch) = self.0.take() {
            watch.end(ledger, code, message, now);
        }
    }
}

impl Drop for CallGuard {
    fn drop(&mut self) {
        self.over(None, "");
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
