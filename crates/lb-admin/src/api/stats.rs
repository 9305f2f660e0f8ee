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

/// `GET stats`.
pub(super) async fn all(State(app): State<Shared>) -> Response {
    let services = find::services(&app).into_iter().map(|(name, channel)| (name, channel.stats())).collect();
    answer(&AllStats { services })
}

/// `GET stats/{service}`.
pub(super) async fn one(State(app): State<Shared>, Path(service): Path<String>) -> Result<Response, Problem> {
    Ok(answer(&find::service(&app, &service)?.stats()))
}
