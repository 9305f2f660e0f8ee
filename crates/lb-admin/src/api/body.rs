//! What comes in: bodies and queries, refused with a reason if they are not what is asked for.

use axum::body::Bytes;
use axum::extract::{FromRequest, FromRequestParts, Query, Request};
use http::header::CONTENT_TYPE;
use http::request::Parts;
use http::{HeaderMap, StatusCode};
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::problem::Problem;

/// A body of JSON: an object.
#[derive(Debug)]
pub(super) struct Json<T>(pub(super) T);

/// A query.
#[derive(Debug)]
pub(super) struct Args<T>(pub(super) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Json<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        if !is_json(request.headers()) {
            return Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "the body must be `application/json`, and say so"));
        }
        // It was read whole before.
        let body = Bytes::from_request(request, state).await;
        let body = body.map_err(|error| Problem::new(StatusCode::BAD_REQUEST, error.to_string()))?;
        let data: Value =
            serde_json::from_slice(&body).map_err(|error| Problem::new(StatusCode::BAD_REQUEST, format!("not JSON: {error}")))?;
        // A list of values in the right order would pass for one.
        if !data.is_object() {
            return Err(Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "the body must be an object"));
        }
        T::deserialize(data).map(Self).map_err(|error| Problem::new(StatusCode::UNPROCESSABLE_ENTITY, error.to_string()))
    }
}

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Args<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Problem> {
        match Query::try_from_uri(&parts.uri) {
            Ok(Query(args)) => Ok(Self(args)),
            Err(error) => Err(Problem::new(StatusCode::BAD_REQUEST, error.body_text())),
        }
    }
}

/// By its essence: parameters, and an encoding by name, say nothing new.
fn is_json(headers: &HeaderMap) -> bool {
    let kind = headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let essence = kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    essence == "application/json"
}
