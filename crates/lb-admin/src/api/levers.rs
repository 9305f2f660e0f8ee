//! Taking endpoints out and bringing them back.

use axum::extract::{Path, State};
use lb_core::EndpointKey;
use lb_tonic::{EndpointInfo, LbChannel};
use serde::Deserialize;
use serde_json::json;

use super::body::Args;
use super::changed::{Changed, until};
use super::{find, window};
use crate::app::Shared;
use crate::audit::Trail;
use crate::problem::Problem;

/// What a drain can be told.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Drain {
    /// So much time calls in progress have, such as `30s`; without it, all they need.
    #[param(example = "30s", pattern = "^[0-9]{1,9}(ms|s|m|h)$")]
    within: Option<String>,
}

/// Gives an endpoint no new calls; those in progress finish.
#[utoipa::path(post, path = "/api/v1/loadbalancer/instances/{service}/{instance}/drain", tag = "instances",
    params(("service" = String, Path), ("instance" = String, Path, description = "Its key or its id, percent-encoded."), Drain),
    responses((status = 200, body = super::schema::Lever), (status = 202, body = super::schema::Lever)))]
pub(super) async fn drain(
    State(app): State<Shared>,
    Path((service, instance)): Path<(String, String)>,
    Args(args): Args<Drain>,
) -> Result<Changed, Problem> {
    let within = args.within.as_deref().map(window::parse).transpose()?;
    let pull = |channel: &LbChannel, key: EndpointKey| match within {
        Some(within) => channel.drain_within(key, within),
        None => channel.drain(key),
    };
    lever(&app, service, &instance, "drain", pull, |endpoint| endpoint.excluded.is_some()).await
}

/// Gives an endpoint no new calls and no connection.
#[utoipa::path(post, path = "/api/v1/loadbalancer/instances/{service}/{instance}/disable", tag = "instances",
    params(("service" = String, Path), ("instance" = String, Path, description = "Its key or its id, percent-encoded.")),
    responses((status = 200, body = super::schema::Lever), (status = 202, body = super::schema::Lever)))]
pub(super) async fn disable(
    State(app): State<Shared>,
    Path((service, instance)): Path<(String, String)>,
) -> Result<Changed, Problem> {
    lever(&app, service, &instance, "disable", LbChannel::disable, |endpoint| endpoint.excluded.is_some()).await
}

/// Takes an endpoint back that was drained or disabled.
#[utoipa::path(post, path = "/api/v1/loadbalancer/instances/{service}/{instance}/enable", tag = "instances",
    params(("service" = String, Path), ("instance" = String, Path, description = "Its key or its id, percent-encoded.")),
    responses((status = 200, body = super::schema::Lever), (status = 202, body = super::schema::Lever)))]
pub(super) async fn enable(
    State(app): State<Shared>,
    Path((service, instance)): Path<(String, String)>,
) -> Result<Changed, Problem> {
    let back = |endpoint: &EndpointInfo| !matches!(endpoint.excluded, Some("drained" | "disabled"));
    lever(&app, service, &instance, "enable", LbChannel::enable, back).await
}

async fn lever(
    app: &Shared,
    service: String,
    instance: &str,
    action: &'static str,
    pull: impl FnOnce(&LbChannel, EndpointKey),
    shows: impl Fn(&EndpointInfo) -> bool,
) -> Result<Changed, Problem> {
    let channel = find::service(app, &service)?;
    let before = find::instance(&channel, instance)?;
    let key = before.key.clone();
    let now = |channel: &LbChannel| channel.endpoints().into_iter().find(|endpoint| endpoint.key == key);
    // One that has gone meanwhile has no calls, and what was asked is remembered for when it comes back.
    let pull = |channel: &LbChannel| {
        pull(channel, key.clone());
        Ok(())
    };
    let done = until(&channel, pull, |channel| now(channel).is_none_or(|now| shows(&now))).await?;
    let after = now(&channel);
    let words =
        |endpoint: Option<&EndpointInfo>| endpoint.map_or("gone", |endpoint| endpoint.excluded.unwrap_or("in use")).to_owned();
    let trail = Trail { from: words(Some(&before)), to: words(after.as_ref()) };
    let now = json!({ "service": service, "action": action, "done": done, "endpoint": after });
    Ok(Changed { done, now, tag: None, trail })
}
