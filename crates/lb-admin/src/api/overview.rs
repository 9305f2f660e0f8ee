//! What monitoring asks first: whether the server lives, and its metrics.

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use http::header::CONTENT_TYPE;
use serde_json::json;

use super::answer;
use crate::app::Shared;
use crate::problem::Problem;

/// That this server answers. Says nothing of the services, since everybody may ask.
#[utoipa::path(get, path = "/health", tag = "health", security(()), responses((status = 200, body = super::schema::Alive)))]
pub(super) async fn alive() -> Response {
    answer(&json!({ "status": "ok" }))
}

/// Metrics in Prometheus' text form.
#[utoipa::path(get, path = "/metrics", tag = "health", responses((status = 200, body = String, content_type = "text/plain")))]
pub(super) async fn metrics(State(app): State<Shared>) -> Result<Response, Problem> {
    let Some(metrics) = &app.metrics else {
        return Err(Problem::not_found("this server was given no metrics"));
    };
    let text = metrics().map_err(|error| Problem::new(StatusCode::SERVICE_UNAVAILABLE, error))?;
    Ok(([(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text).into_response())
}
