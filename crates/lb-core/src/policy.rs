//! Policies: from a view of the subchannels to a picker.
//!
//! The channel owns the subchannels. A policy is told their states and answers with three things: which of them it wants
//! connected, a state for the channel, and a picker. It is called on every change of the view and whenever the time it asked for
//! has come, always by one task, and must be deterministic: same calls, same answers.
//!
//! A minimal policy that always uses the first READY endpoint is `examples/custom_policy.rs`.

use std::any::Any;
use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use serde_json::Value;

use crate::connectivity::ConnectivityState;
use crate::endpoint::Endpoint;
use crate::event::LbEvent;
use crate::gate::{GateSignal, Gates};
use crate::load::LoadReports;
use crate::observer::Measurement;
use crate::pick::Picker;
use crate::registry::PolicyRegistry;
use crate::slot::Slot;
use crate::stages::Ejection;
use crate::stats::EndpointStats;

/// One subchannel as stages and policies see it.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct SubchannelView {
    /// Its name in picks.
    pub slot: Slot,
    /// The endpoint it connects to.
    pub endpoint: Arc<Endpoint>,
    /// Its state, with two rules applied: after a failure it stays TRANSIENT_FAILURE until READY, and it is READY only while its
    /// health check, if any, says so.
    pub state: ConnectivityState,
    /// Its share relative to the others; starts as the endpoint's weight, and stages may change it.
    pub weight: u32,
    /// Its counters.
    pub stats: Arc<EndpointStats>,
    /// Why it is in TRANSIENT_FAILURE.
    pub error: Option<Arc<str>>,
    /// What it gets of the calls that its peers get, above 0 and at most 1, under every policy; starts at 1, and stages may change it. See
    /// [`recovery`](crate::recovery).
    pub share: f64,
    /// Why its share is not the full one.
    pub limited: Option<&'static str>,
    /// What its health check holds against it, if it [serves all the same](crate::ServingStatus::Degraded).
    pub degraded: Option<Arc<str>>,
    /// Whether it has a connection, so that calls can be sent there even if its health check says it does not serve.
    pub connected: bool,
    /// What admits attempts there; `None` if everything does.
    pub gates: Option<Arc<Gates>>,
    /// Why and until when it is ejected, if it is; see [`OutlierStage`](crate::stages::OutlierStage).
    pub ejected: Option<Arc<Ejection>>,
}

impl SubchannelView {
    /// A view of a subchannel with the weight of its endpoint.
    pub fn new(slot: Slot, endpoint: Arc<Endpoint>, state: ConnectivityState, stats: Arc<EndpointStats>) -> Self {
        let weight = endpoint.attributes.weight;
        Self {
            slot,
            endpoint,
            state,
            weight,
            stats,
            error: None,
            share: 1.0,
            limited: None,
            degraded: None,
            connected: state == ConnectivityState::Ready,
            gates: None,
            ejected: None,
        }
    }
}

impl SubchannelView {
    /// Whether the other one says the same of the same subchannel.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        let Self { slot, endpoint, state, weight, stats, error, share, limited, degraded, connected, gates, ejected } = self;
        let same = (slot, state, weight) == (&other.slot, &other.state, &other.weight)
            && (share, limited, connected) == (&other.share, &other.limited, &other.connected)
            && (error, degraded, ejected) == (&other.error, &other.degraded, &other.ejected);
        let gates = match (gates, &other.gates) {
            (Some(one), Some(other)) => Arc::ptr_eq(one, other),
            (one, other) => one.is_none() && other.is_none(),
        };
        same && gates && Arc::ptr_eq(endpoint, &other.endpoint) && Arc::ptr_eq(stats, &other.stats)
    }
}

/// What a policy or stage asks of the channel while it looks at a view.
///
/// Wishes hold until the next rebuild: a subchannel no policy asks for is not reconnected when its connection ends.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct Plan {
    /// Keep these connected; the channel paces attempts by their backoff.
    pub connect: Vec<Slot>,
    /// Close these: connections that another endpoint made superfluous.
    pub disconnect: Vec<Slot>,
    /// Rebuild again at this time even if nothing changes.
    pub wake_at: Option<Instant>,
    /// Ask the resolver to look again.
    pub re_resolve: bool,
    /// Which load reports of the servers are wanted. All policies of a channel share it, so [merge](LoadReports::merge) into it rather than set it.
    pub load_reports: LoadReports,
    /// What observers shall hear of; told in this order.
    pub events: Vec<LbEvent>,
    /// What observers shall know for metrics. Only the last look counts where there are several in a row.
    pub measurements: Vec<Measurement>,
    /// Wakes the channel from where calls end, for whoever cannot wait for the next change.
    pub signal: GateSignal,
    /// 64 random bits, fresh for every rebuild.
    pub entropy: u64,
    /// Whether there was no news since the last look, and only a time has come that somebody asked for. A policy that finds everything as it
    /// was may then answer with the picker it has: where all do, nothing is published.
    pub only_time: bool,
}

impl Plan {
    /// An empty plan with these random bits.
    pub fn new(entropy: u64) -> Self {
        Self { entropy, ..Self::default() }
    }

    /// The same with the channel's signal.
    #[must_use]
    pub fn with_signal(mut self, signal: &GateSignal) -> Self {
        self.signal = signal.clone();
        self
    }

    /// Asks to be called again at `at` or earlier.
    pub fn wake_at(&mut self, at: Instant) {
        self.wake_at = Some(self.wake_at.map_or(at, |earlier| earlier.min(at)));
    }

    /// Adds another plan's wishes to this one. Who wants a connection wins over who does not.
    pub fn merge(&mut self, other: Self) {
        self.connect.extend(other.connect);
        self.disconnect.extend(other.disconnect);
        self.re_resolve |= other.re_resolve;
        self.load_reports.merge(other.load_reports);
        self.events.extend(other.events);
        self.measurements.extend(other.measurements);
        if let Some(at) = other.wake_at {
            self.wake_at(at);
        }
    }
}

/// What a policy makes of a view.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct LbState {
    /// The state of the channel, as far as this policy is concerned.
    pub state: ConnectivityState,
    /// Picks until the next rebuild.
    pub picker: Arc<dyn Picker>,
}

impl LbState {
    /// A state and its picker. Legal pairs: READY with a picker that picks, CONNECTING and IDLE with one that queues (or connects),
    /// TRANSIENT_FAILURE with one that fails.
    pub fn new(state: ConnectivityState, picker: Arc<dyn Picker>) -> Self {
        Self { state, picker }
    }
}

/// Turns a view into a picker. Deterministic: no clock, no randomness but the plan's, no waiting, no lock.
pub trait Policy: fmt::Debug + Send + Any {
    /// Looks at the view and decides.
    fn rebuild(&mut self, now: Instant, view: &[SubchannelView], plan: &mut Plan) -> LbState;

    /// Whether it wants to see the endpoints of all [priorities](crate::Attributes::priority) at once. The channel then does not
    /// choose a group for it and for the policies that calls ask for by name.
    fn spans_priorities(&self) -> bool {
        false
    }

    /// Takes over what the policy has learnt in whose place it comes, if that is of its kind (`(from as &dyn Any).downcast_ref()` says).
    /// Called once, before its first look at a view. The other serves on until this one can.
    fn inherit(&mut self, from: &dyn Policy) {
        let _ = from;
    }
}

/// Edits the view before the policies see it: hides endpoints, changes weights and shares.
pub trait Stage: fmt::Debug + Send + 'static {
    /// Why an endpoint it hides is hidden, as one or two words for people (`drained`).
    fn name(&self) -> &'static str;

    /// Edits the view.
    fn apply(&mut self, now: Instant, view: &mut Vec<SubchannelView>, plan: &mut Plan);
}

/// Makes policies of one kind from their configuration.
pub trait PolicyBuilder: fmt::Debug + Send + Sync + 'static {
    /// The name in service configs, such as `round_robin`.
    fn name(&self) -> &str;

    /// A policy with this configuration. Unknown fields are ignored, wrong types and values out of range are errors (gRFC A24). A
    /// policy that contains others builds them from `registry`.
    fn build(&self, config: &Value, registry: &PolicyRegistry) -> Result<Box<dyn Policy>, ConfigError>;
}

/// A configuration that cannot be used: which field, what it holds, what it may hold.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field} is {value}, allowed is {allowed}")]
#[non_exhaustive]
pub struct ConfigError {
    /// The field, with its path from the top (`round_robin.choiceCount`).
    pub field: String,
    /// What was found there, or as much of it as anybody reads.
    pub value: String,
    /// What is allowed there.
    pub allowed: String,
}

/// How many characters of a wrong value an error shows. A config may come from a stranger, and errors are logged.
const SHOWN: usize = 200;

impl ConfigError {
    /// An error from its three parts. A value of more than 200 characters is cut.
    pub fn new(field: impl Into<String>, value: impl fmt::Display, allowed: impl Into<String>) -> Self {
        let mut value = value.to_string();
        if let Some((end, _)) = value.char_indices().nth(SHOWN) {
            value.truncate(end);
            value.push('…');
        }
        Self { field: field.into(), value, allowed: allowed.into() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_shows_the_beginning_of_what_a_stranger_wrote() {
        let shown = |value: &str| ConfigError::new("drops[0].category", value, "a text").value;
        assert_eq!(shown(&"é".repeat(SHOWN)), "é".repeat(SHOWN));
        assert_eq!(shown(&"é".repeat(1_000_000)), format!("{}…", "é".repeat(SHOWN)));
    }
}
