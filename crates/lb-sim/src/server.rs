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
    /// Until when it answers nothing.
    pub(crate) stalled: Option<Time>,
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
            stalled: None,
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
        if self.stalled.is_some() {
            return 0.0;
        }
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
        let used = if self.stalled.is_some() { 0.0 } else { self.weather.capacity(calls, self.cores).min(calls as f64) };
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

    /// When the next call is done if nothing changes, if any is; at least a nanosecond from now, so that rounding cannot stop time.
    pub(crate) fn next_done(&self) -> Option<Time> {
        let ((done, _), ()) = self.jobs.first_key_value().filter(|_| self.stalled.is_none())?;
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::call::{Call, Calls};
    use crate::dice::{Dice, Purpose};

    /// Feeds one server Poisson arrivals until this many calls are done; the mean time from arrival to end, in seconds.
    fn mean_sojourn(server: &mut Server, rate: f64, calls: usize, mut work: impl FnMut(&mut Dice) -> f64) -> f64 {
        let (mut dice, mut ids) = (Dice::new(1, Purpose::Arrivals, 0), Calls::default());
        let (mut next, mut done, mut sum) = (from_seconds(dice.exponential(1.0 / rate)), 0, 0.0);
        while done < calls {
            let due = server.next_done().unwrap_or(Time::MAX);
            let now = due.min(next);
            server.advance(now);
            while let Some(call) = server.pop_done() {
                done += 1;
                sum += seconds(now - ids.end(call).unwrap().begun);
            }
            if now == next {
                let id = ids.begin(Call { client: 0, begun: now, work: 0.0, key: None, attempt: None });
                server.begin(id, work(&mut dice));
                next = now + from_seconds(dice.exponential(1.0 / rate));
            }
        }
        sum / done as f64
    }

    #[test]
    fn one_core_is_as_the_closed_form_for_processor_sharing_says() {
        // M/M/1-PS: E[T] = E[S] / (1 - rho). With 400 000 calls at rho 0.7 the standard error of the mean is about 1.2 %; batches of
        // calls are correlated, hence a bound of five of them.
        let mut server = Server::new(Weather::steady(1.0), 1.0, 1.0, 0);
        let mean = mean_sojourn(&mut server, 0.7, 400_000, |dice| dice.exponential(1.0));
        assert!((mean * 0.3 - 1.0).abs() < 0.06, "{mean} in place of 3.33");
    }

    #[test]
    fn processor_sharing_does_not_care_how_work_is_distributed() {
        // M/G/1-PS has the same mean for any work of the same mean: here 0 or 2, each half of the time.
        let mut server = Server::new(Weather::steady(1.0), 1.0, 1.0, 0);
        let mean = mean_sojourn(&mut server, 0.5, 400_000, |dice| if dice.fraction() < 0.5 { 0.0 } else { 2.0 });
        assert!((mean * 0.5 - 1.0).abs() < 0.05, "{mean} in place of 2");
    }

    #[test]
    fn nobody_gets_more_than_one_core_and_speed_multiplies() {
        let mut ids = Calls::default();
        let mut begin = || ids.begin(Call { client: 0, begun: 0, work: 0.0, key: None, attempt: None });
        let mut server = Server::new(Weather::steady(2.0), 0.5, 2.0, 0);
        server.begin(begin(), 1.0);
        assert_eq!(server.next_done(), Some(2_000_000_001), "four cores, and only half of one second's work a second");
        (0..7).for_each(|_| {
            server.begin(begin(), 1.0);
        });
        assert_eq!(server.next_done(), Some(4_000_000_001), "eight calls on four cores");
    }

    #[test]
    fn a_cancelled_call_leaves_its_share_to_the_others() {
        let mut ids = Calls::default();
        let mut begin = || ids.begin(Call { client: 0, begun: 0, work: 0.0, key: None, attempt: None });
        let mut server = Server::new(Weather::steady(1.0), 1.0, 1.0, 0);
        let (first, _second) = (server.begin(begin(), 1.0), server.begin(begin(), 1.0));
        server.advance(1_000_000_000);
        server.cancel(first);
        assert_eq!(server.next_done(), Some(1_500_000_001));
    }
}
