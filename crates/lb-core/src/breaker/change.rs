//! What is told of breakers.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde::{Serialize, Serializer};

use crate::endpoint::EndpointKey;

/// What a breaker does with calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum BreakerState {
    /// Lets all through, and counts how they end.
    Closed,
    /// Lets none through until it is time to try again.
    Open,
    /// Lets a few through, to see how they end.
    HalfOpen,
    /// Lets none through until somebody says otherwise.
    ForcedOpen,
    /// Lets all through, however they end.
    ForcedClosed,
}

impl BreakerState {
    /// Whether calls find no way, or only a few do.
    pub fn is_open(self) -> bool {
        matches!(self, Self::Open | Self::ForcedOpen | Self::HalfOpen)
    }
}

impl fmt::Display for BreakerState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Closed => "closed",
            Self::Open => "open",
            Self::HalfOpen => "half-open",
            Self::ForcedOpen => "forced open",
            Self::ForcedClosed => "forced closed",
        })
    }
}

/// Why a breaker changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum BreakerReason {
    /// So many calls in a row failed.
    FailuresInARow(u32),
    /// Too many of the latest calls failed.
    FailureRate {
        /// The share of failures.
        percent: u8,
        /// Of so many calls.
        calls: u32,
    },
    /// It was open long enough.
    TimeOver,
    /// So many trial calls succeeded.
    TrialsSucceeded(u32),
    /// A trial call failed.
    TrialFailed,
    /// The trial calls did not end in time; others take their places. No change of the state.
    TrialsOverdue,
    /// Somebody forced it.
    Forced,
    /// Somebody reset it.
    Reset,
    /// The remote circuit breaker said so.
    Remote,
    /// By its new configuration it would never have opened.
    Configured,
}

impl fmt::Display for BreakerReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::FailuresInARow(1) => f.write_str("a call failed"),
            Self::FailuresInARow(failures) => write!(f, "{failures} calls in a row failed"),
            Self::FailureRate { percent, calls } => write!(f, "{percent} % of the latest {calls} calls failed"),
            Self::TimeOver => f.write_str("it is time to try again"),
            Self::TrialsSucceeded(1) => f.write_str("a trial call succeeded"),
            Self::TrialsSucceeded(successes) => write!(f, "{successes} trial calls succeeded"),
            Self::TrialFailed => f.write_str("a trial call failed"),
            Self::TrialsOverdue => f.write_str("the trial calls did not end in time"),
            Self::Forced => f.write_str("forced"),
            Self::Reset => f.write_str("reset"),
            Self::Remote => f.write_str("the remote circuit breaker said so"),
            Self::Configured => f.write_str("breakers were switched off"),
        }
    }
}

impl BreakerReason {
    /// In 44 bits, never 0.
    pub(super) fn pack(self) -> u64 {
        let (kind, small, large) = match self {
            Self::FailuresInARow(failures) => (1, 0, failures),
            Self::FailureRate { percent, calls } => (2, percent, calls),
            Self::TimeOver => (3, 0, 0),
            Self::TrialsSucceeded(successes) => (4, 0, successes),
            Self::TrialFailed => (5, 0, 0),
            Self::TrialsOverdue => (6, 0, 0),
            Self::Forced => (7, 0, 0),
            Self::Reset => (8, 0, 0),
            Self::Remote => (9, 0, 0),
            Self::Configured => (10, 0, 0),
        };
        kind << 40 | u64::from(small) << 32 | u64::from(large)
    }

    pub(super) fn unpack(bits: u64) -> Self {
        let large = bits as u32;
        match bits >> 40 & 0xf {
            1 => Self::FailuresInARow(large),
            2 => Self::FailureRate { percent: (bits >> 32) as u8, calls: large },
            3 => Self::TimeOver,
            4 => Self::TrialsSucceeded(large),
            5 => Self::TrialFailed,
            6 => Self::TrialsOverdue,
            7 => Self::Forced,
            8 => Self::Reset,
            10 => Self::Configured,
            _ => Self::Remote,
        }
    }
}

/// A breaker changed.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct BreakerChange {
    /// Whose.
    pub endpoint: EndpointKey,
    /// For which methods.
    pub group: Arc<str>,
    /// Before.
    pub from: BreakerState,
    /// After.
    pub to: BreakerState,
    /// Why.
    pub reason: BreakerReason,
}

/// One breaker as it is now. As data, names are in camel case and times are seconds with decimals.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct BreakerInfo {
    /// For which methods; `*` for all.
    pub group: Arc<str>,
    /// What it does with calls.
    pub state: BreakerState,
    /// For how long it has been in this state; `None` if it has been closed from the beginning.
    #[serde(serialize_with = "seconds")]
    pub since: Option<Duration>,
    /// How long until it tries again at the latest: it is open until then, or its trial calls are overdue then. `None` if it lets calls
    /// through, or none for ever.
    #[serde(serialize_with = "seconds")]
    pub next_trial: Option<Duration>,
    /// How many calls in a row have failed, while it is closed.
    pub failures_in_a_row: u32,
    /// Calls in the window, while it is closed; 0 without a [rate](super::BreakerConfig::failure_rate).
    pub recent_calls: u32,
    /// Failures among them.
    pub recent_failures: u32,
    /// Trial calls under way.
    pub trials: u32,
    /// Trial calls that have succeeded since it is half-open.
    pub trial_successes: u32,
    /// How often it has opened.
    pub opened: u64,
    /// How often it has turned a call away. A call asks more than once.
    pub refused: u64,
}

fn seconds<S: Serializer>(duration: &Option<Duration>, serializer: S) -> Result<S::Ok, S::Error> {
    duration.map(|duration| duration.as_secs_f64()).serialize(serializer)
}
