//! `algorithms`: which policy each service has, which it could have, and giving it another.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, StatusCode};
use lb_tonic::LbChannel;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::body::Json;
use super::changed::{Changed, until};
use super::{answer, find};
use crate::app::{App, Asked, Shared};
use crate::etag::Tag;
use crate::problem::Problem;

/// The policy of a service.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub(super) struct Algorithm {
    /// The service.
    service: String,
    /// The policy that picks now.
    policy: String,
    /// Its configuration, if it was set here.
    config: Option<Value>,
    /// The policy that takes over as soon as it can.
    pending: Option<String>,
    /// The policies it could have.
    policies: Vec<String>,
}

/// The policies of all services.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub(super) struct Algorithms {
    /// The policies that any of them could have.
    policies: BTreeSet<String>,
    /// By service.
    #[schema(value_type = std::collections::BTreeMap<String, Algorithm>)]
    services: BTreeMap<Arc<str>, Algorithm>,
}

/// Another policy for a service.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NewAlgorithm {
    /// Its name, as in a service config.
    #[schema(example = "least_request")]
    #[serde(alias = "algorithm")]
    policy: String,
    /// Its configuration, as in a service config.
    #[serde(default)]
    #[schema(value_type = Option<Object>)]
    config: Option<Map<String, Value>>,
}

/// The policy of every service.
#[utoipa::path(get, path = "/api/v1/loadbalancer/algorithms", tag = "algorithms", responses((status = 200, body = Algorithms)))]
pub(super) async fn all(State(app): State<Shared>) -> Response {
    let asked = app.asked.lock().await;
    let services = find::services(&app).into_iter();
    let services = services.map(|(name, channel)| (Arc::clone(&name), Algorithm::of(&name, &channel, asked.get(&*name))));
    let services: BTreeMap<_, _> = services.collect();
    let policies = services.values().flat_map(|service| service.policies.iter().cloned()).collect();
    answer(&Algorithms { policies, services })
}

/// The policy of a service. Its `ETag` can be given back with a change.
#[utoipa::path(get, path = "/api/v1/loadbalancer/algorithms/{service}", tag = "algorithms", params(("service" = String, Path)),
    responses((status = 200, body = Algorithm, headers(("etag" = String)))))]
pub(super) async fn one(State(app): State<Shared>, Path(service): Path<String>) -> Result<Response, Problem> {
    let channel = find::service(&app, &service)?;
    let found = Algorithm::of(&service, &channel, app.asked.lock().await.get(&*service));
    let mut response = answer(&found).into_response();
    response.headers_mut().extend(Tag::of(&found).header());
    Ok(response)
}

/// Gives a service another policy. The old one picks until the new one can.
#[utoipa::path(put, path = "/api/v1/loadbalancer/algorithms/{service}", tag = "algorithms", params(("service" = String, Path),
    ("if-match" = Option<String>, Header, description = "The `ETag` of what is to be changed.")), request_body = NewAlgorithm,
    responses((status = 200, body = Algorithm), (status = 202, body = Algorithm)))]
pub(super) async fn put(
    State(app): State<Shared>,
    Path(service): Path<String>,
    headers: HeaderMap,
    Json(new): Json<NewAlgorithm>,
) -> Result<Changed, Problem> {
    let channel = find::service(&app, &service)?;
    // Held until the change shows, so that the next one compares with what this one has made.
    let mut asked = app.asked.lock().await;
    let before = Algorithm::of(&service, &channel, asked.get(&*service));
    Tag::of(&before).check(&headers)?;
    let config = Value::Object(new.config.unwrap_or_default());
    let set = |channel: &LbChannel| channel.set_policy(&new.policy, &config);
    // There is no telling when it takes over from its namesake.
    let shows = |channel: &LbChannel| before.policy == new.policy || channel.policy() == new.policy;
    let done = until(&channel, set, shows).await;
    let done = done.map_err(|refused| Problem::new(StatusCode::UNPROCESSABLE_ENTITY, refused.to_string()))?;
    asked.retain(|name, _| app.services.get(name).is_some());
    asked.insert(service.as_str().into(), Asked { before: before.policy.clone(), policy: new.policy.clone(), config });
    let now = Algorithm::of(&service, &channel, asked.get(&*service));
    let tag = Some(Tag::of(&now));
    let changed = Changed::done(serde_json::to_value(&now).unwrap_or_default(), before.described(), now.described());
    Ok(Changed { done, tag, ..changed })
}

impl Algorithm {
    fn of(service: &str, channel: &LbChannel, asked: Option<&Asked>) -> Self {
        let policy = channel.policy();
        let config = asked.filter(|asked| asked.policy == policy).map(|asked| asked.config.clone());
        // Anything else than what it was means that somebody else has changed it since.
        let pending = asked.filter(|asked| asked.policy != policy && asked.before == policy).map(|asked| asked.policy.clone());
        Self { service: service.to_owned(), policy, config, pending, policies: channel.known_policies() }
    }

    /// For the audit line.
    fn described(&self) -> String {
        let config = self.config.as_ref().map(|config| format!(" {config}")).unwrap_or_default();
        let pending = self.pending.as_ref().map(|pending| format!(", {pending} soon")).unwrap_or_default();
        format!("{}{config}{pending}", self.policy)
    }
}

/// What was asked for, as far as services are concerned that still exist.
pub(super) async fn forget(app: &App, service: &str) {
    app.asked.lock().await.remove(service);
}
