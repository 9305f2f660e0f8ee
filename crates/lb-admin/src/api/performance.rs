//! `performance`: what became of the attempts of the last minutes.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::response::Response;
use http::StatusCode;
use lb_core::Performance as OfChannel;
use serde::{Deserialize, Serialize};

use super::body::Args;
use super::{answer, find, window};
use crate::app::Shared;
use crate::problem::Problem;

/// The window of who asks for none: long enough for quiet services, and short enough to be about now.
const USUAL: Duration = Duration::from_secs(5 * 60);

/// So far back a channel remembers.
const LONGEST: Duration = Duration::from_secs(60 * 60);

/// What to look at.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Of {
    /// How far back, up to `1h`; without it what is configured as `metrics.performanceWindow`, or `5m`.
    #[param(example = "1h", pattern = "^[1-9][0-9]{0,1}(s|m)$")]
    window: Option<String>,
    /// This service only.
    service: Option<String>,
}

/// What became of attempts, by service.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub(super) struct Performance {
    /// Counts, rates and latencies; `window` says how far back they really reach.
    #[schema(value_type = std::collections::BTreeMap<String, super::schema::Measured>)]
    services: BTreeMap<Arc<str>, OfChannel>,
}

/// How many attempts there were in a window of time, how they ended, and how long they took.
#[utoipa::path(get, path = "/api/v1/loadbalancer/performance", tag = "stats", params(Of), responses((status = 200, body = Performance)))]
pub(super) async fn get(State(app): State<Shared>, Args(of): Args<Of>) -> Result<Response, Problem> {
    let window = of.window.as_deref().map_or_else(|| Ok(app.window().unwrap_or(USUAL)), window::parse)?;
    if window > LONGEST {
        return Err(Problem::new(StatusCode::BAD_REQUEST, "the window is too long, allowed is up to 1h"));
    }
    let services = find::chosen(&app, of.service.as_deref())?;
    let services = services.into_iter().map(|(name, channel)| (name, channel.performance(window))).collect();
    Ok(answer(&Performance { services }))
}
