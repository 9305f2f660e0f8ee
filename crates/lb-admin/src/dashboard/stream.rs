//! The stream: server-sent events that are computed when the reader takes them.

use std::convert::Infallible;
use std::sync::Arc;

use axum::Extension;
use axum::body::Body;
use axum::extract::{Query, State};
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use http::StatusCode;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use serde::Deserialize;
use tokio::time::{MissedTickBehavior, interval};

use super::feed::Feed;
use super::{STREAMS, TICK};
use crate::access::Caller;
use crate::app::Shared;
use crate::problem::Problem;
use crate::token::Role;

/// What a reader may ask for.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct Asked {
    /// The service whose endpoints are told; the first one otherwise.
    service: Option<String>,
}

/// What the dashboard shows, as server-sent events: a `snapshot`, then `change`s, at most twice a second, each with JSON of the same form.
///
/// It ends with the service and with the server, and is not computed while nobody reads.
#[utoipa::path(get, path = "/api/v1/loadbalancer/stream", tag = "stats", params(Asked),
    responses((status = 200, body = String, content_type = "text/event-stream")))]
pub(crate) async fn open(
    State(app): State<Shared>,
    Extension(caller): Extension<Caller>,
    Query(asked): Query<Asked>,
) -> Result<Response, Problem> {
    let service: Option<Arc<str>> = asked.service.map(Into::into);
    if service.as_ref().is_some_and(|name| app.services.get(name).is_none()) {
        return Err(Problem::not_found("there is no service of this name"));
    }
    let Ok(place) = Arc::clone(&app.dashboard.streams).try_acquire_owned() else {
        let detail = format!("all {STREAMS} streams are in use: a dashboard has to be closed first");
        return Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, detail));
    };
    let may_change = !app.read_only && caller.role == Role::Operator;
    let mut ticks = interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let state = (Feed::new(Arc::clone(&app), may_change, service), ticks, place);
    let events = stream::unfold(state, |(mut feed, mut ticks, place)| async move {
        loop {
            tokio::select! {
                _ = ticks.tick() => {}
                () = feed.stopped() => return None,
            }
            let told = feed.tick()?;
            if !told.is_empty() {
                return Some((Ok::<_, Infallible>(told), (feed, ticks, place)));
            }
        }
    });
    let headers = [(CONTENT_TYPE, "text/event-stream"), (CACHE_CONTROL, "no-store")];
    Ok((headers, Body::from_stream(events)).into_response())
}
