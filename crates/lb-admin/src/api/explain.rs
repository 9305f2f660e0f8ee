//! `explain`: where a call with given wishes would go, and why not elsewhere.

use axum::extract::{Path, State};
use axum::response::Response;
use http::StatusCode;
use lb_core::{Explained, PickHints};
use lb_tonic::PickOptions;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::body::Json;
use super::{answer, find};
use crate::app::Shared;
use crate::problem::Problem;

/// What a call can wish for, as [`PickHints`] are written.
const WISHES: &[&str] = &[
    "policy",
    "hashKey",
    "session",
    "require",
    "locality",
    "region",
    "loadThreshold",
    "prefer",
    "exclude",
    "avoid",
    "pin",
    "priority",
    "cost",
    "kind",
    "limitKey",
    "waitForReady",
];

/// A pick, explained.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct Explanation {
    /// The service.
    service: String,
    /// The policy that would pick.
    policy: String,
    /// The endpoint that ranks first among those that may get the call; a policy may pick another of them.
    best: Option<String>,
    /// Every endpoint, in the resolver's order.
    #[schema(value_type = Vec<Object>)]
    endpoints: Vec<Explained>,
}

/// What a policy thinks of every endpoint for a call with these wishes. Changes nothing, and needs no right to.
#[utoipa::path(post, path = "/api/v1/loadbalancer/explain/{service}", tag = "explain", params(("service" = String, Path)),
    request_body = super::schema::Wishes, responses((status = 200, body = Explanation)))]
pub(super) async fn explain(
    State(app): State<Shared>,
    Path(service): Path<String>,
    Json(wishes): Json<Map<String, Value>>,
) -> Result<Response, Problem> {
    let channel = find::service(&app, &service)?;
    let hints = read(wishes)?;
    let policy = hints.policy.as_deref().map_or_else(|| channel.policy(), str::to_owned);
    let options = PickOptions::from(hints);
    let endpoints = channel.explain(&options).map_err(|error| wrong(error.to_string()))?;
    let eligible = endpoints.iter().filter(|row| row.excluded.is_none());
    let best = eligible.max_by(|one, other| one.total.total_cmp(&other.total)).map(|row| row.endpoint.clone());
    Ok(answer(&Explanation { service, policy, best, endpoints }))
}

/// Who misspells a wish should not believe the answer.
fn read(wishes: Map<String, Value>) -> Result<PickHints, Problem> {
    if let Some(unknown) = wishes.keys().find(|key| !WISHES.contains(&key.as_str())) {
        return Err(wrong(format!("there is no wish {unknown:?}; there are: {}", WISHES.join(", "))));
    }
    PickHints::deserialize(Value::Object(wishes)).map_err(|error| wrong(error.to_string()))
}

fn wrong(detail: String) -> Problem {
    Problem::new(StatusCode::UNPROCESSABLE_ENTITY, detail)
}
