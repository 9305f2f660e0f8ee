//! The routes, and what stands behind each.
//!
//! Handlers are small: they find a service, ask its channel, and answer with data. The door is [`access`](crate::access).

mod find;
mod instances;
mod overview;
mod stats;

use axum::Router;
use axum::middleware::from_fn_with_state;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use http::StatusCode;
use http::header::CONTENT_TYPE;
use serde::Serialize;

use crate::app::Shared;
use crate::problem::Problem;
use crate::{access, dashboard};

/// Everything under one roof.
pub(crate) fn router(app: &Shared) -> Router {
    Router::new()
        .route("/health", get(overview::alive))
        .route("/metrics", get(overview::metrics))
        .nest("/api/v1/loadbalancer", balancer())
        .merge(dashboard::routes())
        .layer(from_fn_with_state(app.clone(), access::guard))
        .with_state(app.clone())
}

fn balancer() -> Router<Shared> {
    Router::new()
        .route("/stats", get(stats::all))
        .route("/stats/{service}", get(stats::one))
        .route("/instances", get(instances::all))
        .route("/instances/{service}", get(instances::of_service))
        .route("/instances/{service}/{instance}", get(instances::one))
}

/// Data as JSON.
fn answer(data: &impl Serialize) -> Response {
    match serde_json::to_vec(data) {
        Ok(body) => ([(CONTENT_TYPE, "application/json")], body).into_response(),
        // Maps with keys that are no text, of which we have none.
        Err(error) => Problem::new(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}
