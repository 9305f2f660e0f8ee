//! `recovery`: endpoints on their way to their full share.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use axum::extract::{Path, State};
use axum::response::Response;
use http::StatusCode;
use lb_core::EndpointKey;
use lb_tonic::LbChannel;
use serde::Serialize;
use serde_json::json;

use super::changed::{Changed, until};
use super::{answer, find};
use crate::app::Shared;
use crate::audit::Trail;
use crate::problem::Problem;

/// One endpoint that is new or has come back.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct Recovering {
    /// Its key.
    #[schema(value_type = String)]
    endpoint: EndpointKey,
    /// What it gets of what its peers get, above 0 and below 1.
    share: f64,
    /// Seconds since it began, or began anew.
    since: f64,
    /// Seconds until its share is looked at next.
    next_step: f64,
}

/// Everybody who recovers.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub(super) struct Recovery {
    /// By service.
    #[schema(value_type = std::collections::BTreeMap<String, Vec<Recovering>>)]
    services: BTreeMap<Arc<str>, Vec<Recovering>>,
}

/// Endpoints that do not have their full share yet.
#[utoipa::path(get, path = "/api/v1/loadbalancer/recovery", tag = "recovery", responses((status = 200, body = Recovery)))]
pub(super) async fn all(State(app): State<Shared>) -> Response {
    let services = find::services(&app).into_iter().map(|(name, channel)| (name, recovering(&channel))).collect();
    answer(&Recovery { services })
}

/// Gives an endpoint that recovers its full share now.
#[utoipa::path(post, path = "/api/v1/loadbalancer/recovery/{service}/{instance}/force", tag = "recovery",
    params(("service" = String, Path), ("instance" = String, Path, description = "Its key or its id, percent-encoded.")),
    responses((status = 200, body = super::schema::Lever), (status = 202, body = super::schema::Lever)))]
pub(super) async fn force(
    State(app): State<Shared>,
    Path((service, instance)): Path<(String, String)>,
) -> Result<Changed, Problem> {
    let channel = find::service(&app, &service)?;
    let key = find::instance(&channel, &instance)?.key;
    let Some(before) = share(&channel, &key) else {
        return Err(Problem::new(StatusCode::CONFLICT, "it does not recover: it has its full share, or gets no calls"));
    };
    let force = |channel: &LbChannel| {
        channel.force_recovery(key.clone());
        Ok(())
    };
    let done = until(&channel, force, |channel| share(channel, &key).is_none()).await?;
    let after = share(&channel, &key).unwrap_or(1.0);
    let trail = Trail { from: before.to_string(), to: after.to_string() };
    let endpoint = channel.endpoints().into_iter().find(|endpoint| endpoint.key == key);
    let now = json!({ "service": service, "action": "force", "done": done, "endpoint": endpoint });
    Ok(Changed { done, now, tag: None, trail })
}

fn share(channel: &LbChannel, key: &EndpointKey) -> Option<f64> {
    channel.recovery().into_iter().find(|recovering| recovering.endpoint == *key).map(|recovering| recovering.share)
}

pub(super) fn recovering(channel: &LbChannel) -> Vec<Recovering> {
    let now = tokio::time::Instant::now().into_std();
    let seconds = |later: Instant, earlier: Instant| later.saturating_duration_since(earlier).as_secs_f64();
    let recovering = channel.recovery().into_iter().map(|of| Recovering {
        share: of.share,
        since: seconds(now, of.since),
        next_step: seconds(of.next_step, now),
        endpoint: of.endpoint,
    });
    recovering.collect()
}
