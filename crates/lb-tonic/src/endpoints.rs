//! The endpoints of a channel, as a program or a person may want to see them.

use std::sync::Arc;
use std::time::Duration;

use lb_core::breaker::BreakerInfo;
use lb_core::{Attributes, ConnectivityState, EndpointKey, Quantiles, Row};
use serde::Serialize;
use tokio::time::Instant;

use crate::breakers::ChannelBreakers;
use crate::stats::optional_seconds;

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
    /// Why it gets no calls although it might be READY, such as `drained`.
    pub excluded: Option<&'static str>,
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
    /// Its circuit breakers, one per group of methods that was called; none without [circuit
    /// breakers](crate::LbChannelBuilder::circuit_breaker).
    pub breakers: Vec<BreakerInfo>,
}

impl EndpointInfo {
    pub(crate) fn new(row: &Row, now: Instant, breakers: Option<&Arc<ChannelBreakers>>) -> Self {
        let view = &row.view;
        Self {
            key: view.endpoint.key().clone(),
            attributes: view.endpoint.attributes.clone(),
            state: view.state,
            error: view.error.as_deref().map(str::to_owned),
            excluded: row.excluded,
            weight: view.weight,
            share: view.share,
            limited: view.limited,
            in_flight: view.stats.in_flight(),
            succeeded: view.stats.succeeded(),
            failed: view.stats.failed(),
            cancelled: view.stats.cancelled(),
            error_rate: view.stats.success_rate().map(|rate| 1.0 - rate),
            latency: view.stats.latency(),
            latency_quantiles: view.stats.latency_quantiles(now.into_std()),
            load: row.load(),
            breakers: breakers.map_or_else(Vec::new, |breakers| breakers.info(view.endpoint.key(), now)),
        }
    }
}
