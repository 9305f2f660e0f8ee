//! One breaker: of one endpoint, for one group of methods.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU8, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::cell::{Cell, Made};
use super::change::{BreakerInfo, BreakerReason, BreakerState};
use super::config::BreakerConfig;
use super::log::Log;
use super::remote::RemoteState;
use super::state::{Admission, Ms, Order, Pass, Phase, State, Verdict};
use super::window::{Recent, Window};
use crate::stats::ticks;

/// Padded to lines of its own, as [`EndpointStats`](crate::EndpointStats) is, so that endpoints do not slow each other down.
#[derive(Debug)]
#[repr(align(128))]
pub(super) struct Breaker {
    cell: Cell<AtomicU64>,
    /// Of the last change, in ticks; 0 is never.
    since: AtomicI64,
    opened: AtomicU64,
    refused: AtomicU64,
    /// For whom it is to be reported; only counted then.
    succeeded: AtomicU64,
    failed: AtomicU64,
    /// What the remote breaker said last, as a number.
    remote: AtomicU8,
    window: Option<Window>,
    group: Arc<str>,
    seed: u64,
    log: Log<AtomicU64>,
}

/// What a call may do, and whether there is news for whoever listens.
pub(super) struct Answer {
    pub(super) admission: Admission,
    pub(super) news: bool,
}

/// What the end of a call changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Effect {
    Nothing,
    /// Another trial call may go.
    Room,
    /// There is news for whoever listens.
    Changed,
}

impl Breaker {
    pub(super) fn new(group: Arc<str>, config: &BreakerConfig, seed: u64) -> Self {
        Self {
            cell: Cell(AtomicU64::new(State::new().pack())),
            since: AtomicI64::new(0),
            opened: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            succeeded: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            remote: AtomicU8::new(RemoteState::Closed as u8),
            window: config.failure_rate.map(Window::new),
            group,
            seed,
            log: Log::new(),
        }
    }

    /// The same breaker by another configuration, whose window begins empty. It goes on where this one is, and calls under way end at
    /// it; what changes here from now on is lost.
    pub(super) fn successor(&self, config: &BreakerConfig) -> Self {
        let (state, (succeeded, failed)) = (self.cell.state(), self.take_reports());
        Self {
            cell: Cell(AtomicU64::new(state.pack())),
            since: AtomicI64::new(self.since.load(Ordering::Relaxed)),
            opened: AtomicU64::new(self.opened.load(Ordering::Relaxed)),
            refused: AtomicU64::new(self.refused.load(Ordering::Relaxed)),
            succeeded: AtomicU64::new(succeeded),
            failed: AtomicU64::new(failed),
            remote: AtomicU8::new(self.remote.load(Ordering::Relaxed)),
            window: config.failure_rate.map(Window::new),
            group: Arc::clone(&self.group),
            seed: self.seed,
            log: Log::told(state),
        }
    }

    /// Closes what counting has opened: nothing is counted any more.
    pub(super) fn switch_off(&self, now: Instant, config: &BreakerConfig) -> bool {
        let remote = self.remote.load(Ordering::Relaxed) != RemoteState::Closed as u8;
        !remote && self.order(Order::Reset(BreakerReason::Configured), now, config)
    }

    #[inline]
    pub(super) fn enter(&self, now: Instant, config: &BreakerConfig) -> Answer {
        // While it is closed nobody needs to know what time it is.
        if let Some(pass) = self.cell.state().pass() {
            return Answer { admission: Admission::Pass(pass), news: false };
        }
        self.knock(now, config)
    }

    #[cold]
    fn knock(&self, now: Instant, config: &BreakerConfig) -> Answer {
        let at = ticks(now);
        let (admission, made) = self.cell.admit(Ms::floor(at), config);
        if !matches!(admission, Admission::Pass(_)) {
            self.refused.fetch_add(1, Ordering::Relaxed);
        }
        Answer { admission, news: made.is_some_and(|made| self.note(&made, at)) }
    }

    /// What a call would hear now.
    pub(super) fn look(&self, now: Instant, config: &BreakerConfig) -> Admission {
        self.cell.state().admit(Ms::floor(ticks(now)), config).0
    }

    #[inline]
    pub(super) fn leave(&self, pass: Pass, verdict: Verdict, now: Instant, config: &BreakerConfig, report: bool) -> Effect {
        if report {
            self.report(verdict);
        }
        if verdict == Verdict::Success && self.window.is_none() && self.cell.state().is_well() {
            return Effect::Nothing;
        }
        let at = ticks(now);
        let rate = self.rate(pass, verdict, at);
        self.settle(self.cell.settle(pass, verdict, rate, Ms::floor(at), config, self.seed), at)
    }

    /// Counts the call in the window, if it is of the present and there is one, and asks it.
    #[inline]
    fn rate(&self, pass: Pass, verdict: Verdict, at: i64) -> Option<BreakerReason> {
        let window = self.window.as_ref().filter(|_| verdict != Verdict::Neither)?;
        let state = self.cell.state();
        if !matches!(state.phase, Phase::Closed { .. }) || state.epoch != pass.epoch {
            return None;
        }
        let failed = verdict == Verdict::Failure;
        window.count(at, failed);
        failed.then(|| window.tripped(at)).flatten()
    }

    /// The attempt was never made.
    pub(super) fn give_back(&self, pass: Pass, config: &BreakerConfig) -> Effect {
        // A time is not needed to count one less.
        self.settle(self.cell.settle(pass, Verdict::Neither, None, Ms(0), config, self.seed), 0)
    }

    fn settle(&self, made: Option<Made>, at: i64) -> Effect {
        match made {
            None => Effect::Nothing,
            Some(made) if self.note(&made, at) => Effect::Changed,
            Some(made) if matches!(made.to.phase, Phase::HalfOpen { .. }) => Effect::Room,
            Some(_) => Effect::Nothing,
        }
    }

    pub(super) fn order(&self, order: Order, now: Instant, config: &BreakerConfig) -> bool {
        let at = ticks(now);
        self.cell.order(order, Ms::floor(at), config).is_some_and(|made| self.note(&made, at))
    }

    /// Does what the remote breaker says, if it is news.
    pub(super) fn told(&self, state: RemoteState, open: Duration, now: Instant, config: &BreakerConfig) -> bool {
        let before = self.remote.swap(state as u8, Ordering::Relaxed);
        match state {
            RemoteState::Open => self.order(Order::Open(open), now, config),
            RemoteState::HalfOpen if before != state as u8 => self.order(Order::HalfOpen, now, config),
            RemoteState::Closed if before != state as u8 => self.order(Order::Reset(BreakerReason::Remote), now, config),
            RemoteState::HalfOpen | RemoteState::Closed => false,
        }
    }

    /// Writes down what was done; whether it is news.
    #[inline]
    fn note(&self, made: &Made, at: i64) -> bool {
        let Some(reason) = made.reason else { return false };
        if made.from.shown() != made.to.shown() {
            self.since.store(at, Ordering::Relaxed);
        }
        if made.to.shown() == BreakerState::Open {
            self.opened.fetch_add(1, Ordering::Relaxed);
        }
        if let Some(window) = &self.window {
            // What it saw before says nothing of what comes.
            window.clear();
        }
        self.log.write(made, reason);
        true
    }

    /// What holds for all methods of the endpoint until somebody says otherwise, for a breaker that is made only now.
    pub(super) fn inherit(&self, all: &Self, now: Instant, config: &BreakerConfig) {
        let remote = all.remote.load(Ordering::Relaxed);
        let at = Ms::floor(ticks(now));
        let order = match all.cell.state().phase {
            Phase::ForcedOpen => Order::ForceOpen,
            Phase::ForcedClosed => Order::ForceClosed,
            Phase::Open { until } if remote == RemoteState::Open as u8 => Order::Open(until.since(at)),
            _ => return,
        };
        self.remote.store(remote, Ordering::Relaxed);
        self.order(order, now, config);
    }

    fn report(&self, verdict: Verdict) {
        match verdict {
            Verdict::Success => self.succeeded.fetch_add(1, Ordering::Relaxed),
            Verdict::Failure => self.failed.fetch_add(1, Ordering::Relaxed),
            Verdict::Neither => return,
        };
    }

    /// Successes and failures since they were taken last.
    pub(super) fn take_reports(&self) -> (u64, u64) {
        (self.succeeded.swap(0, Ordering::Relaxed), self.failed.swap(0, Ordering::Relaxed))
    }

    /// Puts back what could not be delivered.
    pub(super) fn put_back(&self, succeeded: u64, failed: u64) {
        self.succeeded.fetch_add(succeeded, Ordering::Relaxed);
        self.failed.fetch_add(failed, Ordering::Relaxed);
    }

    pub(super) fn group(&self) -> &Arc<str> {
        &self.group
    }

    pub(super) fn state(&self) -> BreakerState {
        self.cell.state().shown()
    }

    pub(super) fn changes(&self, tell: impl FnMut(BreakerState, BreakerState, BreakerReason)) {
        self.log.read(self.cell.state(), tell);
    }

    pub(super) fn info(&self, now: Instant) -> BreakerInfo {
        let (state, at) = (self.cell.state(), ticks(now));
        let (mut next_trial, mut in_a_row, mut trials, mut successes) = (None, 0, 0, 0);
        match state.phase {
            Phase::Closed { failures, .. } => in_a_row = failures.into(),
            Phase::Open { until } => next_trial = Some(ahead(now, until)),
            Phase::HalfOpen { trials: under_way, successes: good, overdue } => {
                (trials, successes) = (under_way.into(), good.into());
                next_trial = Some(ahead(now, Ms(u64::from(overdue) * 1000)));
            }
            Phase::ForcedOpen | Phase::ForcedClosed => {}
        }
        let recent = self.window.as_ref().map_or_else(Recent::default, |window| window.recent(at));
        let since = self.since.load(Ordering::Relaxed);
        BreakerInfo {
            group: Arc::clone(&self.group),
            state: state.shown(),
            since: (since != 0).then(|| Duration::from_nanos(at.saturating_sub(since).max(0) as u64)),
            next_trial,
            failures_in_a_row: in_a_row,
            recent_calls: recent.calls.try_into().unwrap_or(u32::MAX),
            recent_failures: recent.failures.try_into().unwrap_or(u32::MAX),
            trials,
            trial_successes: successes,
            opened: self.opened.load(Ordering::Relaxed),
            refused: self.refused.load(Ordering::Relaxed),
        }
    }
}

/// How long it is until then; zero if it has passed.
fn ahead(now: Instant, at: Ms) -> Duration {
    Duration::from_nanos(at.ticks().saturating_sub(ticks(now)).max(0) as u64)
}

/// That time as an instant; one that has passed is `now`. A nanosecond more, because ticks are never 0: who comes then is not early.
pub(super) fn instant(now: Instant, at: Ms) -> Option<Instant> {
    now.checked_add(ahead(now, at) + Duration::from_nanos(1))
}
