//! Many runs: every candidate at every load with every seed, several at a time.

use std::num::NonZeroUsize;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use lb_core::ConfigError;

use crate::candidate::Candidate;
use crate::scenario::Scenario;
use crate::sim;
use crate::tally::Tally;

/// What to compare.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Comparison {
    /// Under which circumstances.
    pub scenario: Scenario,
    /// Whom.
    pub candidates: Vec<Candidate>,
    /// Seeds 1 to this; what they count is added up.
    pub seeds: u64,
    /// Runs at the same time.
    pub jobs: NonZeroUsize,
}

/// One line of the result.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Line {
    /// Demand as a share of the allocation.
    pub load: f64,
    /// Who placed the calls.
    pub candidate: Candidate,
    /// What came of it, all seeds together.
    pub tally: Tally,
}

impl Comparison {
    /// One seed, one run at a time.
    pub fn new(scenario: Scenario, candidates: Vec<Candidate>) -> Self {
        Self { scenario, candidates, seeds: 1, jobs: NonZeroUsize::MIN }
    }

    /// Simulated seconds of all runs together.
    pub fn seconds(&self) -> f64 {
        self.scenario.end() * (self.scenario.loads.len() * self.candidates.len()) as f64 * self.seeds as f64
    }

    /// Runs everything. `progress` is told simulated seconds as they pass, from any thread.
    ///
    /// # Errors
    /// A policy refuses its configuration.
    pub fn run(&self, progress: &(dyn Fn(f64) + Sync)) -> Result<Vec<Line>, ConfigError> {
        let mut lines: Vec<Line> = Vec::new();
        for load in &self.scenario.loads {
            let line = |candidate: &Candidate| Line { load: *load, candidate: candidate.clone(), tally: Tally::default() };
            lines.extend(self.candidates.iter().map(line));
        }
        let (next, results) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
        let runs = lines.len() * self.seeds as usize;
        std::thread::scope(|scope| {
            for _ in 0..self.jobs.get().min(runs) {
                scope.spawn(|| {
                    while let Some(run) = Some(next.fetch_add(1, Ordering::Relaxed)).filter(|run| *run < runs) {
                        let tally = self.one(&lines[run / self.seeds as usize], 1 + run as u64 % self.seeds, progress);
                        results.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push((run, tally));
                    }
                });
            }
        });
        let mut results = results.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
        results.sort_by_key(|(run, _)| *run);
        for (run, tally) in results {
            lines[run / self.seeds as usize].tally.merge(tally?);
        }
        Ok(lines)
    }

    fn one(&self, line: &Line, seed: u64, progress: &(dyn Fn(f64) + Sync)) -> Result<Tally, ConfigError> {
        let (mut told, end) = (0.0, self.scenario.end());
        let tally = sim::run(&self.scenario, line.load, &line.candidate, seed, &mut |seconds| {
            progress(seconds.min(end) - told);
            told = seconds.min(end);
        });
        progress(end - told);
        tally
    }
}
