//! A server: processor sharing over the cores its machine has for it.
//!
//! All calls in progress get the same share, at most one core each. That share is kept as *virtual time*: the work every call has
//! been given since the server began. A call that arrives at virtual time `v` with work `w` is done at virtual time `v + w`,
//! whatever happens meanwhile; so an arrival, an end or a change of the weather costs a logarithm, not a walk over the calls.

use std::collections::BTreeMap;

use crate::call::CallId;
use crate::signal::Signal;
use crate::time::{Time, from_seconds, seconds};
use crate::weather::Weather;

/// Where a call is in its server's order: the virtual time at which it is done (as bits, which order positive numbers), and the call.
pub(crate) type Ticket = (u64, CallId);

#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) weather: Weather,
    /// Work done per second on one core.
    pub(crate) speed: f64,
    cores: f64,
    /// Whether connections and calls reach it.
    pub(crate) reachable: bool,
    /// Answers this share of calls with an error, after this long.
    pub(crate) failing: Option<(f64, Time)>,
    pub(crate) signal: Signal,
    /// Calls on their way to it, in progress, or on their way back.
    pub(crate) assigned: usize,
    /// When each key was last served, if keys matter.
    warm: Vec<Option<Time>>,
    jobs: BTreeMap<Ticket, ()>,
    virtual_time: f64,
    now: Time,
    /// When the next call will be done, as last told to the agenda.
    pub(crate) due: Option<Time>,
}

impl Server {
    pub(crate) fn new(weather: Weather, speed: f64, cores: f64, keys: usize) -> Self {
        Self {
            weather,
            speed,
            cores,
            reachable: true,
            failing: None,
            signal: Signal::default(),
            assigned: 0,
            warm: vec![None; keys],
            jobs: BTreeMap::new(),
            virtual_time: 0.0,
            now: 0,
            due: None,
        }
    }

    /// Calls in progress.
    pub(crate) fn in_flight(&self) -> usize {
        self.jobs.len()
    }

    /// Work a second that each of `calls` calls would be given.
    pub(crate) fn rate(&self, calls: usize) -> f64 {
        self.speed * (self.weather.capacity(calls, self.cores) / calls.max(1) as f64).min(1.0)
    }

    /// Share of the allocation that `calls` calls would leave free; negative when they want more than there is.
    pub(crate) fn slack(&self, calls: usize) -> f64 {
        1.0 - calls as f64 / self.weather.capacity(calls, self.cores)
    }

    /// Does the work up to `now`. Everything that changes what calls are given comes after this.
    pub(crate) fn advance(&mut self, now: Time) {
        let span = seconds(now - self.now);
        self.now = now;
        let calls = self.jobs.len();
        self.virtual_time += span * self.rate(calls);
        let used = self.weather.capacity(calls, self.cores).min(calls as f64);
        self.signal.pass(span, used / self.cores);
    }

    /// Begins a call of this much work.
    pub(crate) fn begin(&mut self, call: CallId, work: f64) -> Ticket {
        let ticket = ((self.virtual_time + work).to_bits(), call);
        self.jobs.insert(ticket, ());
        ticket
    }

    /// Stops a call before it is done.
    pub(crate) fn cancel(&mut self, ticket: Ticket) {
        self.jobs.remove(&ticket);
    }

    /// The next call that is done by now, if any.
    pub(crate) fn pop_done(&mut self) -> Option<CallId> {
        let entry = self.jobs.first_entry()?;
        if f64::from_bits(entry.key().0) > self.virtual_time {
            return None;
        }
        Some(entry.remove_entry().0.1)
    }

    /// All calls in progress, which end here.
    pub(crate) fn drop_all(&mut self) -> Vec<CallId> {
        std::mem::take(&mut self.jobs).into_keys().map(|(_, call)| call).collect()
    }

    /// When the next call is done if nothing changes; at least a nanosecond from now, so that rounding cannot stop time.
    pub(crate) fn next_done(&self) -> Option<Time> {
        let ((done, _), ()) = self.jobs.first_key_value()?;
        let wait = (f64::from_bits(*done) - self.virtual_time).max(0.0) / self.rate(self.jobs.len());
        Some(self.now + from_seconds(wait) + 1)
    }

    /// Whether it has served this key lately; it has from now on.
    pub(crate) fn touch(&mut self, key: usize, memory: Time) -> bool {
        let last = self.warm[key].replace(self.now);
        last.is_some_and(|at| self.now - at <= memory)
    }

    /// Forgets every key, as a new process has.
    pub(crate) fn chill(&mut self) {
        self.warm.fill(None);
    }
}
