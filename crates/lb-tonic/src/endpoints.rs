//! The endpoints of a channel, as a program or a person may want to see them.

use std::sync::Arc;
use std::time::Duration;

use lb_core::breaker::{BreakerInfo, BreakerState};
use lb_core::stages::EjectionMeasure;
use lb_core::{Attributes, CheckCounts, ConnectivityState, EndpointKey, EndpointStats, Health, Quantiles, Row};
use serde::Serialize;
use tokio::time::Instant;

use crate::breakers::ChannelBreakers;
use crate::stats::{optional_seconds, seconds};

/// One endpoint of a channel at one moment. As data, names are in camel case and times are seconds with decimals.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct EndpointInfo {
    /// Its identity.
    pub key: EndpointKey,
    /// What the resolver knows of it.
    pub attributes: Attributes,
    /// The state of its subchannel; READY only while its health check, if any, says so.
    pub state: ConnectivityState,
    /// Why it is in TRANSIENT_FAILURE.
    pub error: Option<String>,
    /// What is known of its health, from its connection, its health check, the registry and its calls.
    pub health: Health,
    /// What health checks have found there; `None` before the first has ended, and without any.
    pub health_check: Option<CheckCounts>,
    /// Whether it has a connection, whatever its state.
    pub connected: bool,
    /// Why it gets no calls although it might be READY, such as `drained`.
    pub excluded: Option<&'static str>,
    /// Why and until when it is ejected, if [outlier detection](crate::LbChannelBuilder::outlier_detection) has ejected it.
    pub ejected: Option<EjectionInfo>,
    /// Its share relative to the others, after stages.
    pub weight: u32,
    /// What it gets of the calls that its peers get: 1, or less while it [recovers](crate::LbChannelBuilder::recovery) or is
    /// [degraded](crate::LbChannel::degrade).
    pub share: f64,
    /// Why its share is less than 1, such as `recovering`.
    pub limited: Option<&'static str>,
    /// Calls in progress, streams until their trailers.
    pub in_flight: u32,
    /// Attempts that ended with status OK since the resolver first listed it.
    pub succeeded: u64,
    /// Attempts that ended with another status or none.
    pub failed: u64,
    /// Attempts the caller gave up before they ended.
    pub cancelled: u64,
    /// Attempts begun: those three, and those in progress.
    pub total: u64,
    /// Its part of the attempts begun at all endpoints that are listed now, 0 to 1; `None` before the first.
    pub part: Option<f64>,
    /// The policy's own measure for a call without wishes; more is better, and for policies without one it is the share of calls from 0 to 1.
    /// `None` if such a call would not go there. [`LbChannel::explain`](crate::LbChannel::explain) says why. Only in
    /// [`LbChannel::stats`](crate::LbChannel::stats).
    pub score: Option<f64>,
    /// The share of the latest answers that were failures, 0 to 1, over about a second; `None` before the first answer.
    pub error_rate: Option<f64>,
    /// How long calls take lately, an average over about 10 s; `None` before the first success.
    #[serde(serialize_with = "optional_seconds")]
    pub latency: Option<Duration>,
    /// How long successful calls took in the last one to two minutes; `None` if there were none.
    pub latency_quantiles: Option<Quantiles>,
    /// How busy it is, from 0: the greater of what its calls take of its capacity and what its server reports; `None` if neither is
    /// known.
    pub load: Option<f64>,
    /// What its server last said of its load; `None` if it never did, and while no policy wants to know.
    pub load_report: Option<LoadReportInfo>,
    /// The worst state of its circuit breakers; `None` without any.
    pub breaker: Option<BreakerState>,
    /// Its circuit breakers, one per group of methods that was called; none without [circuit
    /// breakers](crate::LbChannelBuilder::circuit_breaker).
    pub breakers: Vec<BreakerInfo>,
}

/// An endpoint is ejected.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct EjectionInfo {
    /// By which measure.
    pub measure: EjectionMeasure,
    /// Why, for people.
    pub reason: Arc<str>,
    /// For how long it has been.
    #[serde(serialize_with = "seconds")]
    pub since: Duration,
    /// For how long it will be at least: it comes back with the end of the interval in which that passes. `None` is for ever.
    #[serde(serialize_with = "optional_seconds")]
    pub remaining: Option<Duration>,
}

/// What a server last said of its load. What a report leaves out is of an earlier one.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct LoadReportInfo {
    /// How long ago.
    #[serde(serialize_with = "seconds")]
    pub age: Duration,
    /// How busy it is, from 0; above 1 while overloaded.
    pub utilization: Option<f64>,
    /// Calls in flight there, from all its clients.
    pub in_flight: Option<u32>,
    /// How long calls take there.
    #[serde(serialize_with = "optional_seconds")]
    pub latency: Option<Duration>,
}

impl LoadReportInfo {
    fn of(stats: &EndpointStats, now: Instant) -> Option<Self> {
        let age = stats.report_age(now.into_std())?;
        let (utilization, in_flight) = (stats.utilization(), stats.reported_in_flight());
        Some(Self { age, utilization, in_flight, latency: stats.reported_latency() })
    }
}

impl EndpointInfo {
    pub(crate) fn new(row: &Row, now: Instant, breakers: Option<&Arc<ChannelBreakers>>) -> Self {
        let (view, stats) = (&row.view, &row.view.stats);
        let breakers = breakers.map_or_else(Vec::new, |breakers| breakers.info(view.endpoint.key(), now));
        let (in_flight, succeeded, failed, cancelled) = (stats.in_flight(), stats.succeeded(), stats.failed(), stats.cancelled());
        Self {
            key: view.endpoint.key().clone(),
            attributes: view.endpoint.attributes.clone(),
            state: view.state,
            error: view.error.as_deref().map(str::to_owned),
            health: row.health(),
            health_check: stats.health_checks(now.into_std()),
            connected: view.connected,
            excluded: row.excluded,
            ejected: view.ejected.as_ref().map(|ejection| EjectionInfo {
                measure: ejection.measure,
                reason: Arc::clone(&ejection.reason),
                since: now.into_std().saturating_duration_since(ejection.at),
                remaining: ejection.until.map(|until| until.saturating_duration_since(now.into_std())),
            }),
            weight: view.weight,
            share: view.share,
            limited: view.limited,
            in_flight,
            succeeded,
            failed,
            cancelled,
            total: u64::from(in_flight) + succeeded + failed + cancelled,
            part: None,
            score: None,
            error_rate: stats.success_rate().map(|rate| 1.0 - rate),
            latency: stats.latency(),
            latency_quantiles: stats.latency_quantiles(now.into_std()),
            load: row.load(),
            load_report: LoadReportInfo::of(stats, now),
            breaker: breakers.iter().map(|breaker| breaker.state).max_by_key(|state| severity(*state)),
            breakers,
        }
    }
}

/// Orders the states of breakers by how few calls they let through.
fn severity(state: BreakerState) -> u8 {
    match state {
        BreakerState::ForcedClosed => 0,
        BreakerState::Closed => 1,
        BreakerState::HalfOpen => 2,
        BreakerState::Open => 3,
        BreakerState::ForcedOpen => 4,
    }
}

/// Says of each endpoint which part of all attempts it got.
pub(crate) fn part_out(endpoints: &mut [EndpointInfo]) {
    let all: u64 = endpoints.iter().map(|endpoint| endpoint.total).sum();
    if all > 0 {
        endpoints.iter_mut().for_each(|endpoint| endpoint.part = Some(endpoint.total as f64 / all as f64));
    }
}
