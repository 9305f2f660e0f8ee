//! For those who look into it: everything at once, and back to how it began.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use axum::extract::State;
use axum::response::Response;
use lb_core::breaker::BreakerForce;
use lb_tonic::LbChannel;
use serde::Deserialize;
use serde_json::{Value, json};

use super::body::Args;
use super::changed::Changed;
use super::{algorithms, answer, find, recovery};
use crate::app::Shared;
use crate::problem::Problem;

/// What to reset.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Of {
    /// This service only.
    service: Option<String>,
}

/// Everything that is known, in one document, for a report of an error. Its fields may change.
#[utoipa::path(get, path = "/api/v1/admin/loadbalancer/debug", tag = "admin", responses((status = 200, body = Object)))]
pub(super) async fn debug(State(app): State<Shared>) -> Response {
    let services: BTreeMap<Arc<str>, Value> =
        find::services(&app).into_iter().map(|(name, channel)| (name, of_channel(&channel))).collect();
    answer(&json!({
        "version": env!("CARGO_PKG_VERSION"),
        "uptimeSeconds": app.began.elapsed().as_secs_f64(),
        "readOnly": app.read_only,
        "tokens": app.tokens.iter().map(|token| token.name().to_string()).collect::<Vec<_>>(),
        "refusedTokens": app.refused_tokens(),
        "services": services,
    }))
}

fn of_channel(channel: &LbChannel) -> Value {
    let now = tokio::time::Instant::now().into_std();
    let ago = |since: Instant| now.saturating_duration_since(since).as_secs_f64();
    let failover = channel.failover().map(|now| {
        let groups: Vec<_> = now.groups.iter().map(|group| json!({
            "priority": group.priority, "name": group.name, "state": group.state, "endpoints": group.endpoints,
        })).collect();
        json!({ "priority": now.priority, "name": now.name, "reason": now.reason, "forSeconds": ago(now.since), "forced": now.forced,
            "groups": groups })
    });
    let panic = channel.panic().map(|panic| {
        json!({ "priority": panic.priority, "eligible": panic.eligible, "of": panic.of, "restored": panic.restored,
            "forSeconds": ago(panic.since) })
    });
    let promotions: Vec<_> = channel
        .promotions()
        .iter()
        .map(|promotion| {
            json!({ "replica": promotion.replica, "primary": promotion.primary, "reason": promotion.reason,
            "forSeconds": ago(promotion.since) })
        })
        .collect();
    json!({
        "stats": channel.stats(),
        "failover": failover,
        "panic": panic,
        "promotions": promotions,
        "recovery": recovery::recovering(channel),
        "limits": channel.limits(),
        "queue": channel.queue(),
        "policies": channel.known_policies(),
        "serviceConfig": channel.service_config().map(|config| format!("{config:?}")),
    })
}

/// Takes back what was done by hand: drained, disabled and degraded endpoints serve in full, circuit breakers are as configured, calls
/// go to the best group that serves. Ends waits between connection attempts, and checks health at once. Sessions, counters, policies and
/// configuration stay.
#[utoipa::path(post, path = "/api/v1/admin/loadbalancer/reset", tag = "admin", params(Of),
    responses((status = 200, body = super::schema::Reset)))]
pub(super) async fn reset(State(app): State<Shared>, Args(of): Args<Of>) -> Result<Changed, Problem> {
    let channels = find::chosen(&app, of.service.as_deref())?;
    for (name, channel) in &channels {
        reset_one(channel);
        algorithms::forget(&app, name).await;
    }
    let names: Vec<_> = channels.iter().map(|(name, _)| name.to_string()).collect();
    let to = names.join(", ");
    Ok(Changed::done(json!({ "reset": names }), "", to))
}

fn reset_one(channel: &LbChannel) {
    for endpoint in channel.endpoints() {
        channel.enable(endpoint.key.clone());
        channel.degrade(endpoint.key.clone(), 1.0);
        // A channel without breakers has none to reset.
        let _ = channel.force_breaker(endpoint.key, None, BreakerForce::Reset);
    }
    channel.fail_back();
    channel.reset_connect_backoff();
    channel.check_health_now();
}
