//! The routes, and what stands behind each.
//!
//! Handlers are small: they find a service, ask its channel, and answer with data. The door is [`access`](crate::access).

mod algorithms;
mod body;
mod changed;
mod configuration;
mod explain;
mod find;
mod health;
mod instances;
mod levers;
mod openapi;
mod operations;
mod overview;
mod performance;
mod recovery;
mod schema;
mod sessions;
mod stats;
mod window;

use axum::Router;
use axum::middleware::from_fn_with_state;
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post};
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
        .nest("/api/v1/admin/loadbalancer", operations())
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
        .route("/instances/{service}/{instance}/drain", post(levers::drain))
        .route("/instances/{service}/{instance}/enable", post(levers::enable))
        .route("/instances/{service}/{instance}/disable", post(levers::disable))
        .route("/algorithms", get(algorithms::all))
        .route("/algorithms/{service}", get(algorithms::one).put(algorithms::put))
        .route("/config", get(configuration::get).put(configuration::put))
        .route("/config/explain", get(configuration::explain))
        .route("/health", get(health::all))
        .route("/performance", get(performance::get))
        .route("/sessions", get(sessions::list).delete(sessions::clear_all))
        .route("/sessions/{session}", delete(sessions::clear))
        .route("/recovery", get(recovery::all))
        .route("/recovery/{service}/{instance}/force", post(recovery::force))
        .route("/explain/{service}", post(explain::explain))
        .route("/openapi.json", get(openapi::serve))
}

fn operations() -> Router<Shared> {
    Router::new()
        .route("/debug", get(operations::debug))
        .route("/reset", post(operations::reset))
        .route("/reload", post(configuration::reload))
}

/// Data as JSON.
fn answer(data: &impl Serialize) -> Response {
    match serde_json::to_vec(data) {
        Ok(body) => ([(CONTENT_TYPE, "application/json")], body).into_response(),
        // Maps with keys that are no text, of which we have none.
        Err(error) => Problem::new(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}
