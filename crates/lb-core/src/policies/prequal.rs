//! `prequal`: by what servers report of themselves: the fastest of those that have few calls in flight.
//!
//! A server knows how many calls it has from all its clients; a client does not. So each report of a server, with its calls in
//! flight and how long calls take there at about that many, goes into a small pool, and a pick takes the best one out of it by the
//! *hot/cold rule*: an endpoint is hot with more calls in flight than the `hotQuantile` of what was reported lately. Of the cold
//! ones the fastest is taken; if all are hot, the one with the fewest calls. A report serves one call: used twice it would send the next
//! call to an endpoint that is no longer what it was.
//!
//! **Signals** come, with any mix of them, from
//! - responses: an ORCA report in the trailers, with calls in flight and latency as `lb-server` adds them;
//! - probes: every call asks for `probesPerCall` of them, sent to endpoints at random and never waited for;
//! - reports out of band;
//! - the client alone: with fewer than two fresh reports it chooses as [`peak_ewma`](super::PeakEwma) does, by its own latencies and
//!   calls in flight. One call in 64 is placed so anyway, and as large a share of calls as there are endpoints that report nothing; so
//!   servers with and without reports may be mixed, as during a rollout.
//!
//! **Failures** take an endpoint's report out of the pool, and while it fails its latency counts as many times as its failures cost
//! with the other policies; from about half of its calls on it is hot whatever it says. It is tried again after some 45 s.
//!
//! **Bound.** On the paper's testbed (100 clients, 100 servers, a quarter with busy neighbours, 0.9 of their allocation) p99 is within
//! 1.1 of what an all-knowing oracle reaches with one probe per call. A pick reads `poolSize` entries whatever the number of endpoints,
//! takes no lock and allocates nothing. Many clones and threads share one pool: where two take a report at once, one chooses by its own
//! knowledge.
//!
//! **When not.** Where all servers report nothing it is `peak_ewma` with a detour. With cheap calls to few endpoints probes cost more than
//! they win: set `probesPerCall` to 0 there, reports on responses are enough. It does nothing for affinity.
//!
//! ```
//! use lb_core::{PolicyRegistry, policies::Prequal};
//!
//! let typed = Prequal::default().with_probes_per_call(0.5)?;
//! let from_json = PolicyRegistry::default().build("prequal", &serde_json::json!({"probesPerCall": 0.5, "maxAge": "1s"}))?;
//! # Ok::<(), lb_core::ConfigError>(())
//! ```
//!
//! Source: Wydrowski, Kleinberg, Rumble and Archer, "Load is not what you should balance", NSDI 2024. Differences, each because it won in
//! simulation: a report is used once rather than 1 to 3 times, which makes removing old and bad ones superfluous; a newer report
//! replaces the endpoint's older one; the quantile is .66 rather than .84, which herds under overload; reported latencies are averaged
//! per endpoint over seconds. There are no probes while there are no calls.

mod memory;
mod picker;
mod pool;
#[cfg(test)]
mod tests;
mod theta;

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::Value;

use self::memory::{Endpoints, Listener, Memory};
use self::picker::{HotCold, ProbeRate};
use super::config;
use super::petiole;
use super::sampler::Row;
use crate::feedback::Feedback;
use crate::policy::{ConfigError, LbState, Plan, Policy, SubchannelView};

/// Two make a choice; with more than 64, picks take long and reports get old.
const POOL_SIZES: std::ops::RangeInclusive<u32> = 2..=64;

/// Older than an hour is no report; and the pool's clock comes around after four.
const LONGEST: Duration = Duration::from_secs(3_600);

/// By what servers report of themselves. See the [module table](super) for when to use it.
#[derive(Debug, Default)]
pub struct Prequal {
    settings: Settings,
    memory: Option<Arc<Memory>>,
    endpoints: Arc<Endpoints>,
}

#[derive(Debug, Clone)]
struct Settings {
    pool_size: u32,
    max_age: Duration,
    hot_quantile: f64,
    probes_per_call: f64,
    latency_memory: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            pool_size: 16,
            max_age: Duration::from_secs(1),
            // .6 tells slow endpoints from fast ones too seldom (p99 +2 % on the testbed's figure 7), .75 herds (+5 % on its ramp).
            hot_quantile: 0.66,
            probes_per_call: 1.0,
            // From 1 to 8 s p99 differs by 2 %, without it is 5 % more. Neighbours change within some seconds.
            latency_memory: Duration::from_secs(4),
        }
    }
}

impl Prequal {
    /// Its name in service configs.
    pub const NAME: &'static str = "prequal";

    /// Keeps at most this many reports: 2 to 64, default 16.
    pub fn with_pool_size(mut self, size: u32) -> Result<Self, ConfigError> {
        self.settings.pool_size = size;
        POOL_SIZES.contains(&size).then_some(self).ok_or_else(|| refused("poolSize", size, "a whole number from 2 to 64"))
    }

    /// Reports count for this long: 1 ms to 1 h, default 1 s.
    pub fn with_max_age(mut self, age: Duration) -> Result<Self, ConfigError> {
        self.settings.max_age = age;
        let allowed = (Duration::from_millis(1)..=LONGEST).contains(&age);
        allowed.then_some(self).ok_or_else(|| refused("maxAge", format!("{age:?}"), "0.001s to 3600s"))
    }

    /// An endpoint is hot with more calls in flight than this quantile of what is reported: 0 to 1, default 0.66. 0 looks at calls
    /// in flight alone, 1 at latency alone, which is dangerous.
    pub fn with_hot_quantile(mut self, quantile: f64) -> Result<Self, ConfigError> {
        self.settings.hot_quantile = quantile;
        (0.0..=1.0).contains(&quantile).then_some(self).ok_or_else(|| refused("hotQuantile", quantile, "a number from 0 to 1"))
    }

    /// Asks for this many probes per call: 0 to 1, default 1.
    pub fn with_probes_per_call(mut self, probes: f64) -> Result<Self, ConfigError> {
        self.settings.probes_per_call = probes;
        (0.0..=1.0).contains(&probes).then_some(self).ok_or_else(|| refused("probesPerCall", probes, "a number from 0 to 1"))
    }

    /// Averages the latencies an endpoint reports over this long: 0 to 1 h, default 4 s. With 0 each counts as it comes.
    pub fn with_latency_memory(mut self, memory: Duration) -> Result<Self, ConfigError> {
        self.settings.latency_memory = memory;
        (memory <= LONGEST).then_some(self).ok_or_else(|| refused("latencyMemory", format!("{memory:?}"), "0s to 3600s"))
    }

    /// From its configuration: `poolSize`, `maxAge`, `hotQuantile`, `probesPerCall`, `latencyMemory`, each with its default.
    pub fn from_config(config: &Value) -> Result<Self, ConfigError> {
        let default = Settings::default();
        let number = |field, default| config::not_negative(Self::NAME, config, field, default);
        let duration = |field, default| config::duration(Self::NAME, config, field, default);
        Self::default()
            .with_pool_size(config::unsigned(Self::NAME, config, "poolSize", default.pool_size)?)?
            .with_max_age(duration("maxAge", default.max_age)?)?
            .with_hot_quantile(number("hotQuantile", default.hot_quantile)?)?
            .with_probes_per_call(number("probesPerCall", default.probes_per_call)?)?
            .with_latency_memory(duration("latencyMemory", default.latency_memory)?)
    }
}

fn refused(field: &str, value: impl fmt::Display, allowed: &str) -> ConfigError {
    ConfigError::new(format!("{}.{field}", Prequal::NAME), value, allowed)
}

impl Policy for Prequal {
    fn rebuild(&mut self, _now: Instant, view: &[SubchannelView], plan: &mut Plan) -> LbState {
        plan.load_reports.per_call = true;
        let memory = self.memory.get_or_insert_with(|| Arc::new(Memory::new(&self.settings, petiole::sequence(plan))));
        let probes = ProbeRate::per_call(self.settings.probes_per_call);
        petiole::spread(view, plan, |ready, others| {
            self.endpoints = Arc::new(Endpoints::new(ready, &self.endpoints));
            let listener = Listener { memory: Arc::clone(memory), endpoints: Arc::clone(&self.endpoints) };
            let feedback: Arc<dyn Feedback> = Arc::new(listener);
            let rows = ready.iter().map(|row| Row::of(row)).collect();
            Arc::new(HotCold::new(rows, others, Arc::clone(memory), probes, feedback))
        })
    }
}
