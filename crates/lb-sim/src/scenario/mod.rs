//! What is simulated: clients, servers, their work and what befalls them, read from a TOML file.
//!
//! Every field but `about` and `loads` has a default, which is the testbed of the Prequal paper (Wydrowski et al., NSDI 2024): 100
//! clients, 100 servers of 6.5 cores, work `max(0, N(80 ms, 80 ms))`, a deadline of 5 s, 0.25 ms of network.

mod check;
mod shipped;
#[cfg(test)]
mod tests;

use std::ops::Range;
use std::path::Path;

use lb_core::ConfigError;
use serde::Deserialize;

pub use shipped::shipped;

/// One scenario. Times are in seconds unless the name says `_ms`.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Scenario {
    /// Its name: the file's, without `.toml`.
    #[serde(skip)]
    pub name: String,
    /// What it shows, in a line or two.
    pub about: String,
    /// Demand as a share of what all servers listed at the start were allocated, each above 0 and at most 10; each is a run of its own.
    pub loads: Vec<f64>,
    /// Clients, 1 to 10 000, each with a channel of its own.
    #[serde(default = "defaults::clients")]
    pub clients: usize,
    /// Time before measuring starts, 0 to 1 000.
    #[serde(default = "defaults::warmup")]
    pub warmup: f64,
    /// Measured time, above 0 and at most 10 000.
    #[serde(default = "defaults::seconds")]
    pub seconds: f64,
    /// After this long the caller gives up, 0.001 to 1 000.
    #[serde(default = "defaults::deadline")]
    pub deadline: f64,
    /// Whether a server goes on with work that nobody waits for any more; default true, as CPU-bound work does that does not look
    /// at its deadline.
    #[serde(default = "defaults::finishes_abandoned")]
    pub finishes_abandoned: bool,
    /// Network round trip, 0 to 1 000.
    #[serde(default = "defaults::network_ms")]
    pub network_ms: f64,
    /// Policies to compare if the command line names none; empty: [`crate::LINEUP`].
    #[serde(default)]
    pub policies: Vec<String>,
    /// The servers.
    #[serde(default)]
    pub servers: Servers,
    /// How much work a call is.
    #[serde(default)]
    pub work: Work,
    /// If given, every call has a key, and a server that has not seen it lately takes longer.
    #[serde(default)]
    pub keys: Option<Keys>,
    /// What happens when.
    #[serde(default)]
    pub events: Vec<Incident>,
}

/// The servers of a scenario.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[non_exhaustive]
pub struct Servers {
    /// Servers listed from the start, 1 to 10 000.
    pub count: usize,
    /// Further servers that exist but are not listed before an `add`, 0 to 10 000.
    pub spare: usize,
    /// Cores each is allocated, above 0; a call uses at most one core at a time.
    pub cores: f64,
    /// Share of servers whose machine has busy neighbours, 0 to 1.
    pub contended: f64,
    /// Servers that are not of speed 1; which ones is drawn by the seed.
    pub kinds: Vec<Kind>,
    /// Zones they are dealt to in turn, 1 to 100.
    pub zones: usize,
    /// Calls beyond this many at once are refused at once; 0: none are.
    pub queue_limit: usize,
}

/// A kind of server.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Kind {
    /// Share of the servers, 0 to 1; all kinds together at most 1.
    pub share: f64,
    /// Work done per second on one core, 0.001 to 1 000.
    pub speed: f64,
    /// Whether these are the first to be on contended machines; else chance decides.
    #[serde(default)]
    pub contended: bool,
}

/// How much work a call is: `max(0, N(mean, deviation))` of milliseconds on one core of speed 1.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[non_exhaustive]
pub struct Work {
    /// Mean before the cut, above 0 and at most 100 000.
    pub mean_ms: f64,
    /// Deviation before the cut, 0 to 100 000.
    pub deviation_ms: f64,
}

/// Keys of calls, and caches.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Keys {
    /// Different keys, 1 to 100 000.
    pub count: usize,
    /// The `k`-th most frequent key comes in proportion to `1 / k^skew`; 0 to 5.
    pub skew: f64,
    /// How many times the work a call takes on a server that has not seen its key lately, 1 to 1 000.
    pub cold_factor: f64,
    /// How long a server remembers a key it has served, 0 to 10 000.
    pub warm_seconds: f64,
}

/// Something that happens to servers or to the load.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Incident {
    /// When, from the start of the warm-up.
    pub at: f64,
    /// What.
    pub what: What,
    /// Which servers: first and one past the last; default all.
    #[serde(default)]
    pub servers: Option<[usize; 2]>,
    /// Only those of this zone.
    #[serde(default)]
    pub zone: Option<usize>,
    /// One server after the other, this far apart; default all at once.
    #[serde(default)]
    pub every: f64,
}

/// What can happen.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
#[non_exhaustive]
pub enum What {
    /// Answers this share of calls with an error after `ms`, without doing their work; 0 heals.
    Fail {
        /// 0 to 1.
        share: f64,
        /// 0 to 100 000.
        ms: f64,
    },
    /// Works at this speed from now on.
    Speed(f64),
    /// Is gone: its connections and the calls in flight there fail, and new connections are refused.
    Kill,
    /// Accepts connections again.
    Start,
    /// Answers nothing for so long, as a process that is stopped: calls and probes wait for it, connections stay.
    Stall {
        /// 0 to 1 000.
        seconds: f64,
        /// So often again, 0 to 1 000; 0 is once. Not before it answers again.
        #[serde(default)]
        every: f64,
    },
    /// Sends its clients away (GOAWAY), finishes its calls, and is away for this long.
    Restart {
        /// 0 to 10 000.
        seconds: f64,
    },
    /// Is marked as draining in the registry.
    Drain,
    /// Is listed in the registry.
    Add,
    /// Is no longer listed.
    Remove,
    /// From now on all clients together demand this share of the allocation.
    Load(f64),
}

/// Why a scenario cannot be run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ScenarioError {
    /// There is neither a shipped scenario of this name nor a file.
    #[error("scenario is {name:?}, allowed is a file or one of {known}")]
    Unknown {
        /// What was asked for.
        name: String,
        /// The shipped ones.
        known: String,
    },
    /// The file could not be read.
    #[error("{path}: {source}")]
    File {
        /// Which file.
        path: String,
        /// Why.
        source: std::io::Error,
    },
    /// It is no TOML, a field is unknown or missing, or a value has the wrong type; the message shows the place.
    #[error("{name}: {source}")]
    Unreadable {
        /// Which scenario.
        name: String,
        /// Where and why.
        source: toml::de::Error,
    },
    /// A value is out of range.
    #[error("{name}: {source}")]
    Refused {
        /// Which scenario.
        name: String,
        /// Field, value and what is allowed.
        source: ConfigError,
    },
}

impl Scenario {
    /// The shipped scenario of this name, or the one in this file.
    ///
    /// # Errors
    /// There is none, or it makes no sense.
    pub fn load(name: &str) -> Result<Self, ScenarioError> {
        if let Some((_, text)) = shipped().iter().find(|(shipped, _)| *shipped == name) {
            return Self::parse(name, text);
        }
        let path = Path::new(name);
        if !path.exists() {
            let known = shipped().iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ");
            return Err(ScenarioError::Unknown { name: name.into(), known });
        }
        let text = std::fs::read_to_string(path).map_err(|source| ScenarioError::File { path: name.into(), source })?;
        Self::parse(&path.file_stem().unwrap_or_default().to_string_lossy(), &text)
    }

    /// A scenario from its text.
    ///
    /// # Errors
    /// It cannot be read, or a value is out of range.
    pub fn parse(name: &str, text: &str) -> Result<Self, ScenarioError> {
        let mut scenario: Self = toml::from_str(text).map_err(|source| ScenarioError::Unreadable { name: name.into(), source })?;
        scenario.name = name.into();
        scenario.check()?;
        Ok(scenario)
    }

    /// Refuses values that make no sense; for scenarios that were changed after reading.
    ///
    /// # Errors
    /// The first value that is out of range.
    pub fn check(&self) -> Result<(), ScenarioError> {
        check::check(self).map_err(|source| ScenarioError::Refused { name: self.name.clone(), source })
    }

    /// The same with all its times this many times as long, above 0; for a quick look, or a long one.
    #[must_use]
    pub fn stretched(mut self, factor: f64) -> Self {
        self.warmup *= factor;
        self.seconds *= factor;
        for incident in &mut self.events {
            incident.at *= factor;
            incident.every *= factor;
        }
        self
    }

    /// All servers, listed or not.
    pub(crate) fn all_servers(&self) -> usize {
        self.servers.count + self.servers.spare
    }

    /// Calls per second of all clients together at this load.
    pub(crate) fn rate(&self, load: f64) -> f64 {
        load * self.servers.count as f64 * self.servers.cores / self.work.mean_seconds()
    }

    /// When the last call begins.
    pub(crate) fn end(&self) -> f64 {
        self.warmup + self.seconds
    }
}

impl Incident {
    /// The servers it happens to, in order.
    pub(crate) fn affected(&self, scenario: &Scenario) -> Vec<usize> {
        let range: Range<usize> = self.servers.map_or_else(|| 0..scenario.all_servers(), |[from, to]| from..to);
        range.filter(|server| self.zone.is_none_or(|zone| server % scenario.servers.zones == zone)).collect()
    }
}

impl Work {
    /// Mean after the cut, in seconds: `m Φ(m/s) + s φ(m/s)`, by Simpson's rule over the part above 0.
    pub(crate) fn mean_seconds(&self) -> f64 {
        let (mean, deviation) = (self.mean_ms / 1000.0, self.deviation_ms / 1000.0);
        if deviation == 0.0 {
            return mean;
        }
        let density = |x: f64| (-0.5 * ((x - mean) / deviation).powi(2)).exp() / (deviation * std::f64::consts::TAU.sqrt());
        // Beyond nine deviations nothing is left; 2 000 steps leave an error below 1e-9.
        let (steps, to) = (2_000, mean + 9.0 * deviation);
        let width = to / f64::from(steps);
        let weight = |step: i32| if step == 0 || step == steps { 1.0 } else { f64::from(2 + 2 * (step % 2)) };
        (0..=steps).map(|step| weight(step) * f64::from(step) * width * density(f64::from(step) * width)).sum::<f64>() * width / 3.0
    }
}

impl Default for Servers {
    fn default() -> Self {
        Self { count: 100, spare: 0, cores: 6.5, contended: 0.0, kinds: Vec::new(), zones: 1, queue_limit: 0 }
    }
}

impl Default for Work {
    fn default() -> Self {
        Self { mean_ms: 80.0, deviation_ms: 80.0 }
    }
}

mod defaults {
    pub(super) fn clients() -> usize {
        100
    }

    /// Weighted round robin trusts no weight before it is ten seconds old.
    pub(super) fn warmup() -> f64 {
        12.0
    }

    pub(super) fn seconds() -> f64 {
        30.0
    }

    pub(super) fn deadline() -> f64 {
        5.0
    }

    pub(super) fn finishes_abandoned() -> bool {
        true
    }

    pub(super) fn network_ms() -> f64 {
        0.25
    }
}
