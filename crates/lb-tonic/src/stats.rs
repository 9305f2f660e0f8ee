//! What a channel can be counted by: for people, for programs, and for whatever exports metrics.
//!
//! Reading costs what it shows, and calls pay nothing for it: the counters are kept for policies anyway. Everything is of one generation;
//! counters that calls change meanwhile are each exact and may be a moment apart.

use std::sync::Arc;
use std::time::Duration;

use lb_core::sessions::SessionStats;
use lb_core::{ConnectivityState, Snapshot};
use serde::Serialize;
use tokio::time::Instant;

use crate::endpoints::EndpointInfo;
use crate::resolver_status::ResolverStatus;
use crate::sessions::{ChannelSessions, SessionStore, SessionTokens, TokenStats};
use crate::shared::Handle;

/// One channel at one moment. As data, names are in camel case and times are seconds with decimals.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct ChannelStats {
    /// What it was built for.
    pub target: Arc<str>,
    /// The name of its own policy.
    pub policy: String,
    /// Its state.
    pub state: ConnectivityState,
    /// Counts up with every change of what a call can see.
    pub generation: u64,
    /// Whether the resolver answers, and how old the doubt is if it does not.
    pub resolver: ResolverStatus,
    /// The endpoints summed up.
    pub totals: EndpointTotals,
    /// Calls that wait for an endpoint now.
    pub waiting: usize,
    /// Calls that ever had to wait for an endpoint.
    pub waited: u64,
    /// Its sessions; `None` if it keeps none in a table.
    pub sessions: Option<SessionTotals>,
    /// What became of session tokens; `None` if its sessions are not kept by tokens.
    pub session_tokens: Option<TokenStats>,
    /// Every endpoint, in the resolver's order.
    pub endpoints: Vec<EndpointInfo>,
}

/// The endpoints of a channel summed up.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct EndpointTotals {
    /// How many there are.
    pub endpoints: usize,
    /// How many may get calls: READY, and hidden by no stage.
    pub taking_calls: usize,
    /// How many a stage hides, whatever their state.
    pub excluded: usize,
    /// How many are READY; excluded ones included, as in all states.
    pub ready: usize,
    /// How many are CONNECTING.
    pub connecting: usize,
    /// How many are IDLE.
    pub idle: usize,
    /// How many are in TRANSIENT_FAILURE.
    pub transient_failure: usize,
    /// Calls in progress.
    pub in_flight: u64,
    /// Attempts that ended with status OK.
    pub succeeded: u64,
    /// Attempts that ended with another status or none.
    pub failed: u64,
    /// Attempts the caller gave up.
    pub cancelled: u64,
    /// The mean load of those endpoints whose load is known, from 0; `None` if of none.
    pub average_load: Option<f64>,
}

/// The sessions of a channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct SessionTotals {
    /// How many there are now.
    pub count: usize,
    /// What happened to them so far.
    #[serde(flatten)]
    pub stats: SessionStats,
}

impl ChannelStats {
    pub(crate) fn new(handle: &Handle, snapshot: &Snapshot, now: Instant) -> Self {
        let endpoints: Vec<EndpointInfo> = handle.endpoints(snapshot, now);
        let (waiting, waited) = handle.shared().seeks();
        let sessions = handle.sessions().and_then(ChannelSessions::store).map(SessionTotals::of);
        Self {
            target: Arc::clone(&handle.config().target),
            policy: snapshot.policy().to_owned(),
            state: snapshot.state,
            generation: snapshot.generation,
            resolver: handle.shared().resolution.status(now),
            totals: EndpointTotals::of(&endpoints),
            waiting,
            waited,
            sessions,
            session_tokens: handle.sessions().and_then(ChannelSessions::tokens).map(SessionTokens::stats),
            endpoints,
        }
    }
}

impl SessionTotals {
    fn of(store: &SessionStore) -> Self {
        Self { count: store.len(), stats: store.stats() }
    }
}

impl EndpointTotals {
    fn of(endpoints: &[EndpointInfo]) -> Self {
        let mut totals = Self { endpoints: endpoints.len(), ..Self::default() };
        for endpoint in endpoints {
            let ready = endpoint.state == ConnectivityState::Ready;
            totals.excluded += usize::from(endpoint.excluded.is_some());
            totals.taking_calls += usize::from(ready && endpoint.excluded.is_none());
            *totals.of_state(endpoint.state) += 1;
            totals.in_flight += u64::from(endpoint.in_flight);
            totals.succeeded += endpoint.succeeded;
            totals.failed += endpoint.failed;
            totals.cancelled += endpoint.cancelled;
        }
        let loads: Vec<f64> = endpoints.iter().filter_map(|endpoint| endpoint.load).filter(|load| load.is_finite()).collect();
        totals.average_load = (!loads.is_empty()).then(|| loads.iter().sum::<f64>() / loads.len() as f64);
        totals
    }

    fn of_state(&mut self, state: ConnectivityState) -> &mut usize {
        match state {
            ConnectivityState::Ready => &mut self.ready,
            ConnectivityState::Connecting => &mut self.connecting,
            ConnectivityState::TransientFailure => &mut self.transient_failure,
            ConnectivityState::Idle | ConnectivityState::Shutdown => &mut self.idle,
        }
    }
}

/// A time that may be unknown, as seconds with decimals.
pub(crate) fn optional_seconds<S: serde::Serializer>(duration: &Option<Duration>, serializer: S) -> Result<S::Ok, S::Error> {
    duration.map(|duration| duration.as_secs_f64()).serialize(serializer)
}
