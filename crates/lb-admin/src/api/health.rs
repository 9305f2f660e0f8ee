//! `health`: whether each service can take calls, and how well.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use lb_core::ConnectivityState;
use lb_tonic::LbChannel;
use serde::Serialize;

use super::{answer, find};
use crate::app::Shared;

/// How well, the worst last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum Status {
    /// It takes calls, all of it.
    Healthy,
    /// Nobody has called it yet, or not for long: nothing is known.
    Idle,
    /// It takes calls, and something is wrong.
    Degraded,
    /// It takes no calls.
    Unhealthy,
}

/// The health of one service.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct ServiceHealth {
    /// In a word.
    status: Status,
    /// The state of its channel.
    #[schema(value_type = String)]
    state: ConnectivityState,
    /// Its endpoints.
    endpoints: usize,
    /// Those that take calls.
    taking_calls: usize,
    /// For how many seconds its resolver has not been able to answer, if so.
    stale_seconds: Option<f64>,
    /// Whether so few endpoints are well that all are used.
    panicking: bool,
    /// The group of endpoints in use, if it is not the best.
    failed_over_to: Option<String>,
    /// What is wrong, in words.
    reasons: Vec<String>,
}

/// The health of all services.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub(super) struct Health {
    /// The worst of all; without services, healthy.
    status: Status,
    /// Each.
    #[schema(value_type = std::collections::BTreeMap<String, ServiceHealth>)]
    services: BTreeMap<Arc<str>, ServiceHealth>,
}

/// Whether each service can take calls, and how well. Always 200: what is looked for stands in `status`.
#[utoipa::path(get, path = "/api/v1/loadbalancer/health", tag = "health", responses((status = 200, body = Health)))]
pub(super) async fn all(State(app): State<Shared>) -> Response {
    let services: BTreeMap<_, _> =
        find::services(&app).into_iter().map(|(name, channel)| (name, ServiceHealth::of(&channel))).collect();
    let status = services.values().map(|service| service.status).max().unwrap_or(Status::Healthy);
    answer(&Health { status, services })
}

impl ServiceHealth {
    fn of(channel: &LbChannel) -> Self {
        let stats = channel.stats();
        let totals = &stats.totals;
        let stale = stats.resolver.stale_for;
        let failover = channel.failover().filter(|now| now.groups.iter().any(|group| group.priority < now.priority));
        let panicking = channel.panic().is_some();
        let mut reasons = Vec::new();
        if totals.taking_calls < totals.endpoints {
            reasons.push(format!("{} of {} endpoints take calls", totals.taking_calls, totals.endpoints));
        }
        if let Some(stale) = stale {
            let error = stats.resolver.error.as_deref().unwrap_or("no answer");
            reasons.push(format!("the resolver has failed for {} s: {error}", stale.as_secs()));
        }
        reasons.extend(panicking.then(|| "so few endpoints are well that all are used".to_owned()));
        reasons.extend(failover.as_ref().map(|now| format!("calls go to {}: {}", now.name, now.reason)));
        let status = match stats.state {
            ConnectivityState::Ready if reasons.is_empty() => Status::Healthy,
            ConnectivityState::Ready => Status::Degraded,
            ConnectivityState::Idle => Status::Idle,
            _ => Status::Unhealthy,
        };
        Self {
            status,
            state: stats.state,
            endpoints: totals.endpoints,
            taking_calls: totals.taking_calls,
            stale_seconds: stale.map(|stale| stale.as_secs_f64()),
            panicking,
            failed_over_to: failover.map(|now| now.name.to_string()),
            reasons,
        }
    }
}
