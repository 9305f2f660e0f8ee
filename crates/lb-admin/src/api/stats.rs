//! `stats`: everything countable.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::{Path, State};
use axum::response::Response;
use lb_tonic::ChannelStats;
use serde::Serialize;

use super::{answer, find};
use crate::app::Shared;
use crate::problem::Problem;

/// Every service's statistics.
#[derive(Debug, Serialize)]
struct AllStats {
    services: BTreeMap<Arc<str>, ChannelStats>,
}

/// Everything countable, of every service.
#[utoipa::path(get, path = "/api/v1/loadbalancer/stats", tag = "stats", responses((status = 200, body = super::schema::AllStats)))]
pub(super) async fn all(State(app): State<Shared>) -> Response {
    let services = find::services(&app).into_iter().map(|(name, channel)| (name, channel.stats())).collect();
    answer(&AllStats { services })
}

/// Everything countable of a service.
#[utoipa::path(get, path = "/api/v1/loadbalancer/stats/{service}", tag = "stats", params(("service" = String, Path)),
    responses((status = 200, body = super::schema::Stats)))]
pub(super) async fn one(State(app): State<Shared>, Path(service): Path<String>) -> Result<Response, Problem> {
    Ok(answer(&find::service(&app, &service)?.stats()))
}
