//! What a run counts.

use lb_core::Outcome;

use crate::time::Time;

/// Counts of one run, or of several of one candidate under the same load. Calls count if they begin in the measured time.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct Tally {
    /// Latencies in microseconds, by the measured second in which the call began: of calls that were answered well, and of those
    /// given up at the deadline. Fast errors are not in it.
    pub(crate) latencies: Vec<Vec<u32>>,
    /// Calls that were answered with an error or found no server, by the same seconds.
    pub(crate) errors_by_second: Vec<u64>,
    /// Calls that ended.
    pub calls: u64,
    /// Calls that were answered with an error, lost with their server, or found none.
    pub errors: u64,
    /// Calls given up at the deadline.
    pub timeouts: u64,
    /// Probes sent.
    pub probes: u64,
    /// Calls with a key.
    pub keyed: u64,
    /// Calls with a key that went to another server than the last one with that key.
    pub moved: u64,
    /// Calls with a key that found a server which had not seen it lately.
    pub cold: u64,
    /// Calls sent to each server.
    pub(crate) by_server: Vec<u64>,
}

/// How a call ended, for its caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    Answered(Outcome),
    /// No server, or it went away.
    Lost,
    GivenUp,
}

impl Tally {
    pub(crate) fn new(servers: usize, seconds: f64) -> Self {
        let seconds = seconds.ceil() as usize;
        let (latencies, errors_by_second) = (vec![Vec::new(); seconds], vec![0; seconds]);
        Self { latencies, errors_by_second, by_server: vec![0; servers], ..Self::default() }
    }

    /// A call that began `since` after the start of the measured time has ended.
    pub(crate) fn ended(&mut self, since: Time, latency: Time, end: End) {
        self.calls += 1;
        let last = self.latencies.len() - 1;
        let second = ((since / 1_000_000_000) as usize).min(last);
        match end {
            End::Answered(Outcome::Success) => {}
            End::GivenUp => self.timeouts += 1,
            End::Answered(_) | End::Lost => {
                self.errors += 1;
                self.errors_by_second[second] += 1;
                return;
            }
        }
        self.latencies[second].push((latency / 1_000) as u32);
    }

    /// Adds another run of the same candidate under the same load.
    pub fn merge(&mut self, other: Self) {
        let longest = self.latencies.len().max(other.latencies.len());
        self.latencies.resize(longest, Vec::new());
        self.errors_by_second.resize(longest, 0);
        self.by_server.resize(self.by_server.len().max(other.by_server.len()), 0);
        self.latencies.iter_mut().zip(other.latencies).for_each(|(mine, theirs)| mine.extend(theirs));
        self.errors_by_second.iter_mut().zip(other.errors_by_second).for_each(|(mine, theirs)| *mine += theirs);
        self.by_server.iter_mut().zip(other.by_server).for_each(|(mine, theirs)| *mine += theirs);
        self.calls += other.calls;
        self.errors += other.errors;
        self.timeouts += other.timeouts;
        self.probes += other.probes;
        self.keyed += other.keyed;
        self.moved += other.moved;
        self.cold += other.cold;
    }

    /// Latencies in milliseconds at these shares of the calls, each from 0 to 1; 0 if there were no calls.
    pub fn quantiles<const N: usize>(&self, shares: [f64; N]) -> [f64; N] {
        let mut all: Vec<u32> = self.latencies.iter().flatten().copied().collect();
        shares.map(|share| quantile(&mut all, share))
    }

    /// The same latency, second by second.
    pub fn quantile_by_second(&self, share: f64) -> Vec<f64> {
        self.latencies.iter().map(|second| quantile(&mut second.clone(), share)).collect()
    }

    /// The same latency over the measured seconds from `from` to before `to`.
    pub fn quantile_between(&self, from: usize, to: usize, share: f64) -> f64 {
        let mut all: Vec<u32> = self.latencies.iter().take(to).skip(from).flatten().copied().collect();
        quantile(&mut all, share)
    }

    /// Share of calls that ended in an error, of those begun in the measured seconds from `from` to before `to`.
    pub fn error_share_between(&self, from: usize, to: usize) -> f64 {
        let errors: u64 = self.errors_by_second.iter().take(to).skip(from).sum();
        let others: usize = self.latencies.iter().take(to).skip(from).map(Vec::len).sum();
        share(errors, errors + others as u64)
    }

    /// Calls of the busiest server over those of the mean one.
    pub fn imbalance(&self) -> f64 {
        let used: Vec<u64> = self.by_server.iter().copied().filter(|calls| *calls > 0).collect();
        let mean = used.iter().sum::<u64>() as f64 / used.len().max(1) as f64;
        used.iter().max().map_or(0.0, |most| *most as f64 / mean)
    }

    /// Share of calls that ended in an error.
    pub fn error_share(&self) -> f64 {
        share(self.errors, self.calls)
    }

    /// Share of calls given up at the deadline.
    pub fn timeout_share(&self) -> f64 {
        share(self.timeouts, self.calls)
    }

    /// Share of calls with a key that went elsewhere than the last one with that key; `None` without keys.
    pub fn moved_share(&self) -> Option<f64> {
        (self.keyed > 0).then(|| share(self.moved, self.keyed))
    }

    /// Share of calls with a key that found a cold server; `None` without keys.
    pub fn cold_share(&self) -> Option<f64> {
        (self.keyed > 0).then(|| share(self.cold, self.keyed))
    }

    /// Probes per call.
    pub fn probes_per_call(&self) -> f64 {
        share(self.probes, self.calls)
    }
}

fn share(part: u64, whole: u64) -> f64 {
    part as f64 / whole.max(1) as f64
}

/// In milliseconds: the smallest latency that at least this share of the calls does not exceed.
fn quantile(latencies: &mut [u32], share: f64) -> f64 {
    let Some(last) = latencies.len().checked_sub(1) else { return 0.0 };
    let index = ((share * latencies.len() as f64).ceil() as usize).saturating_sub(1).min(last);
    f64::from(*latencies.select_nth_unstable(index).1) / 1_000.0
}
