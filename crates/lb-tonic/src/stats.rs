//! What a channel can be counted by: for people, for programs, and for whatever exports metrics.
//!
//! Reading costs what it shows, and calls pay nothing for it: the counters are kept for policies anyway. Everything is of one generation;
//! counters that calls change meanwhile are each exact and may be a moment apart.
//!
//! For numbers over a window, such as calls a second in the last minute, the channel's own task writes down every 10 s by how much the
//! counters have grown ([`lb_core::History`]); it does so only while the channel is not IDLE.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use lb_core::breaker::BreakerState;
use lb_core::queue::QueueStats;
use lb_core::sessions::SessionStats;
use lb_core::stages::EjectionCounts;
use lb_core::{CheckCounts, ConnectivityState, Health, PickArgs, PickHints, Snapshot};
use serde::Serialize;
use tokio::time::Instant;

use crate::drops::DropStats;
use crate::endpoints::{EndpointInfo, part_out};
use crate::request_limit::RequestLimit;
use crate::resolver_status::ResolverStatus;
use crate::selection::SelectionStats;
use crate::sessions::{ChannelSessions, SessionStore, SessionTokens, TokenStats};
use crate::shared::Handle;
use crate::snapshot::ChannelSnapshot;

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
    /// How often endpoints were picked, how often in vain, and how long that takes.
    pub selection: SelectionStats,
    /// What else became of calls on this side.
    pub client: ClientStats,
    /// What was dropped on this side.
    pub drops: DropStats,
    /// What health checks have found at all endpoints that are listed now; `None` if nothing has been checked.
    pub health_checks: Option<HealthCheckerStats>,
    /// Whom [outlier detection](crate::LbChannelBuilder::outlier_detection) has found so far.
    pub ejections: EjectionCounts,
    /// What its scaling signal says; `None` without one, and for the first second.
    pub scaling: Option<ScalingStatus>,
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
    /// How many are [healthy](Health::Healthy); excluded ones included, as in all kinds of health.
    pub healthy: usize,
    /// How many are [unhealthy](Health::Unhealthy).
    pub unhealthy: usize,
    /// Of how many nothing is known.
    pub unknown: usize,
    /// How many have a connection.
    pub connections: usize,
    /// How many are ejected.
    pub ejected: usize,
    /// Circuit breakers by state; an endpoint has one per group of methods that was called.
    pub breakers: BreakerTotals,
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

/// Circuit breakers by what they do with calls.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct BreakerTotals {
    /// Let all through.
    pub closed: usize,
    /// Let none through.
    pub open: usize,
    /// Let a few through.
    pub half_open: usize,
    /// Let none through, because somebody said so.
    pub forced_open: usize,
    /// Let all through, because somebody said so.
    pub forced_closed: usize,
}

/// What became of calls before they had an endpoint, or between two.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct ClientStats {
    /// Calls that [rate and concurrency limits](crate::LbChannel::limits) turned away.
    pub shed: u64,
    /// Calls that the limit of [requests at once](crate::LbChannelBuilder::max_requests) turned away, over all channels that share it.
    pub dropped: u64,
    /// The queue of calls that wait for a place; `None` if there is none.
    pub queue: Option<QueueStats>,
    /// Tokens left for retries; `None` if they are not throttled. Retries stop at half of the most there may be.
    pub retry_tokens: Option<f64>,
}

/// What the [scaling signal](crate::LbChannelBuilder::scaling) says now.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct ScalingStatus {
    /// Endpoints that can take calls.
    pub current: u32,
    /// How many there should be: what was advised last, until there are as many; else as many as there are.
    pub desired: u32,
    /// Their mean load as a share of their capacity; `None` if of none it is known.
    pub load: Option<f64>,
}

/// What health checks have found, over the endpoints that are listed now. As data, times are seconds with decimals.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct HealthCheckerStats {
    /// Endpoints that have been checked.
    pub checked: usize,
    /// Those whose last check passed.
    pub passing: usize,
    /// Those whose last check did not.
    pub failing: usize,
    /// Checks of them all, since each was first listed.
    pub checks: u64,
    /// Those that did not pass.
    pub failures: u64,
    /// How long ago the last one ended.
    #[serde(serialize_with = "seconds")]
    pub last: Duration,
    /// How long the last check of each took, on average.
    #[serde(serialize_with = "seconds")]
    pub latency: Duration,
    /// How long the slowest of these took.
    #[serde(serialize_with = "seconds")]
    pub slowest: Duration,
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
    pub(crate) fn new(handle: &Handle, snapshot: &ChannelSnapshot, now: Instant) -> Self {
        let (rules, snapshot) = (&snapshot.rules, &*snapshot.core);
        let mut endpoints: Vec<EndpointInfo> = handle.endpoints(snapshot, now);
        score(handle, snapshot, now, &mut endpoints);
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
            selection: handle.shared().selection.stats(&handle.shared().pick_failures),
            client: ClientStats::of(handle),
            drops: DropStats::of(handle, rules.drops.as_ref()),
            health_checks: HealthCheckerStats::of(endpoints.iter().filter_map(|endpoint| endpoint.health_check)),
            ejections: snapshot.ejections,
            scaling: *handle.shared().scaling.lock().unwrap_or_else(PoisonError::into_inner),
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
            *totals.of_health(endpoint.health) += 1;
            totals.connections += usize::from(endpoint.connected);
            totals.ejected += usize::from(endpoint.ejected.is_some());
            endpoint.breakers.iter().for_each(|breaker| *totals.breakers.of_state(breaker.state) += 1);
            totals.in_flight += u64::from(endpoint.in_flight);
            totals.succeeded += endpoint.succeeded;
            totals.failed += endpoint.failed;
            totals.cancelled += endpoint.cancelled;
        }
        let loads: Vec<f64> = endpoints.iter().filter_map(|endpoint| endpoint.load).filter(|load| load.is_finite()).collect();
        totals.average_load = (!loads.is_empty()).then(|| loads.iter().sum::<f64>() / loads.len() as f64);
        totals
    }

    fn of_health(&mut self, health: Health) -> &mut usize {
        match health {
            Health::Healthy => &mut self.healthy,
            Health::Unhealthy => &mut self.unhealthy,
            // The core may learn of more than this knows.
            _ => &mut self.unknown,
        }
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

impl BreakerTotals {
    fn of_state(&mut self, state: BreakerState) -> &mut usize {
        match state {
            BreakerState::Closed => &mut self.closed,
            BreakerState::Open => &mut self.open,
            BreakerState::HalfOpen => &mut self.half_open,
            BreakerState::ForcedOpen => &mut self.forced_open,
            BreakerState::ForcedClosed => &mut self.forced_closed,
        }
    }
}

impl ClientStats {
    fn of(handle: &Handle) -> Self {
        Self {
            shed: handle.shared().limits.shed(),
            dropped: handle.max_requests().map_or(0, RequestLimit::dropped),
            queue: handle.queue().map(|queue| queue.stats()),
            retry_tokens: handle.shared().throttle.tokens(),
        }
    }
}

impl HealthCheckerStats {
    fn of(endpoints: impl Iterator<Item = CheckCounts>) -> Option<Self> {
        let (mut stats, mut latencies) = (Self { last: Duration::MAX, ..Self::default() }, Duration::ZERO);
        for counts in endpoints {
            stats.checked += 1;
            *(if counts.passed { &mut stats.passing } else { &mut stats.failing }) += 1;
            stats.checks += counts.checks;
            stats.failures += counts.failures;
            stats.last = stats.last.min(counts.last);
            stats.slowest = stats.slowest.max(counts.latency);
            latencies = latencies.saturating_add(counts.latency);
        }
        let checked = u32::try_from(stats.checked).unwrap_or(u32::MAX);
        (checked > 0).then(|| Self { latency: latencies / checked, ..stats })
    }
}

/// Notes what the policy thinks of each endpoint, and which part of the attempts it got.
fn score(handle: &Handle, snapshot: &Snapshot, now: Instant, endpoints: &mut [EndpointInfo]) {
    part_out(endpoints);
    let (headers, hints, mut scratch) = (http::HeaderMap::new(), PickHints::default(), handle.scratch());
    let mut args = PickArgs::new(now.into_std(), "", &headers, &hints, &mut scratch);
    let mut scores = snapshot.picker(None).map(|picker| picker.explain(&mut args)).unwrap_or_default();
    scores.sort_unstable_by_key(|score| score.slot);
    for (row, endpoint) in snapshot.rows.iter().zip(endpoints) {
        let found = scores.binary_search_by_key(&row.view.slot, |score| score.slot);
        endpoint.score = found.ok().map(|found| scores[found].total);
    }
}

/// A time as seconds with decimals.
pub(crate) fn seconds<S: serde::Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    duration.as_secs_f64().serialize(serializer)
}

/// A time that may be unknown, as seconds with decimals.
pub(crate) fn optional_seconds<S: serde::Serializer>(duration: &Option<Duration>, serializer: S) -> Result<S::Ok, S::Error> {
    duration.map(|duration| duration.as_secs_f64()).serialize(serializer)
}
