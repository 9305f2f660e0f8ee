//! `sessions`: who is where, and forgetting it. Ids of sessions are personal data, more often than not.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::{Path, State};
use axum::response::Response;
use http::StatusCode;
use lb_core::sessions::SessionInfo;
use lb_tonic::{LbChannel, SessionCursor, SessionStore};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::body::Args;
use super::changed::Changed;
use super::{answer, find};
use crate::app::Shared;
use crate::problem::Problem;

/// So many sessions are shown at once unless others are asked for, and at most.
const PAGE: usize = 100;
const LARGEST_PAGE: usize = 1000;

/// Which sessions to show.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Page {
    /// Of this service only.
    service: Option<String>,
    /// From where the last page ended: its `next`. Only with `service`.
    #[param(pattern = "^[0-9]+$")]
    cursor: Option<u64>,
    /// At most so many of each service, 1 to 1000.
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<usize>,
}

/// Which sessions to forget.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Of {
    /// Of this service only.
    service: Option<String>,
}

/// One session.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
struct Session {
    /// Its id, or the hash of a long one.
    #[schema(value_type = String)]
    session: Arc<str>,
    /// The endpoint it is at.
    #[schema(value_type = String)]
    endpoint: Arc<str>,
    /// The endpoint that takes its calls when its own cannot.
    #[schema(value_type = Option<String>)]
    guest: Option<Arc<str>>,
    /// Seconds since its first call.
    age: f64,
    /// Seconds since its last call.
    idle: f64,
    /// Its calls in progress.
    in_flight: u32,
}

/// The sessions of one service.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct ServiceSessions {
    /// How many there are.
    count: usize,
    /// How many each endpoint has.
    #[schema(value_type = std::collections::BTreeMap<String, usize>)]
    by_endpoint: BTreeMap<Arc<str>, usize>,
    /// Some of them, in no particular order.
    sessions: Vec<Session>,
    /// Where to go on, if there are more.
    #[schema(value_type = Option<u64>)]
    next: Option<SessionCursor>,
}

/// The sessions of all services that keep them in a table.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub(super) struct Sessions {
    /// By service.
    #[schema(value_type = std::collections::BTreeMap<String, ServiceSessions>)]
    services: BTreeMap<Arc<str>, ServiceSessions>,
}

/// The sessions that are kept in tables.
#[utoipa::path(get, path = "/api/v1/loadbalancer/sessions", tag = "sessions", params(Page), responses((status = 200, body = Sessions)))]
pub(super) async fn list(State(app): State<Shared>, Args(page): Args<Page>) -> Result<Response, Problem> {
    let limit = page.limit.unwrap_or(PAGE);
    if !(1..=LARGEST_PAGE).contains(&limit) {
        return Err(Problem::new(StatusCode::BAD_REQUEST, format!("limit is {limit}, allowed are 1 to {LARGEST_PAGE}")));
    }
    if page.cursor.is_some() && page.service.is_none() {
        return Err(Problem::new(StatusCode::BAD_REQUEST, "a cursor is of one service: name it"));
    }
    // A cursor is a number, and any number is one.
    let from: Option<SessionCursor> = page.cursor.and_then(|cursor| serde_json::from_value(cursor.into()).ok());
    let mut services = BTreeMap::new();
    for (name, channel) in find::chosen(&app, page.service.as_deref())? {
        services.extend(channel.sessions().map(|store| (name, ServiceSessions::of(store, from, limit))));
    }
    Ok(answer(&Sessions { services }))
}

/// Forgets all sessions; their next calls are placed anew.
#[utoipa::path(delete, path = "/api/v1/loadbalancer/sessions", tag = "sessions", params(Of),
    responses((status = 200, body = super::schema::Cleared)))]
pub(super) async fn clear_all(State(app): State<Shared>, Args(of): Args<Of>) -> Result<Changed, Problem> {
    let mut cleared = 0;
    for (_, channel) in find::chosen(&app, of.service.as_deref())? {
        cleared += channel.sessions().map_or(0, SessionStore::clear_all);
    }
    Ok(Changed::done(json!({ "cleared": cleared }), format!("{cleared} sessions"), "none"))
}

/// Forgets one session, in every service that has it.
#[utoipa::path(delete, path = "/api/v1/loadbalancer/sessions/{session}", tag = "sessions",
    params(("session" = String, Path, description = "Its id, percent-encoded."), Of),
    responses((status = 200, body = super::schema::Cleared)))]
pub(super) async fn clear(State(app): State<Shared>, Path(session): Path<String>, Args(of): Args<Of>) -> Result<Changed, Problem> {
    let chosen = find::chosen(&app, of.service.as_deref())?;
    let has = |(_, channel): &&(Arc<str>, LbChannel)| channel.sessions().is_some_and(|store| store.clear(&session));
    match chosen.iter().filter(has).count() {
        0 => Err(Problem::not_found("there is no such session")),
        cleared => Ok(Changed::done(json!({ "cleared": cleared }), "one session", "none")),
    }
}

impl ServiceSessions {
    fn of(store: &SessionStore, from: Option<SessionCursor>, limit: usize) -> Self {
        let page = store.page(from, limit);
        Self {
            count: store.len(),
            by_endpoint: store.by_endpoint(),
            sessions: page.sessions.into_iter().map(Session::of).collect(),
            next: page.next,
        }
    }
}

impl Session {
    fn of(info: SessionInfo) -> Self {
        Self {
            session: info.session,
            endpoint: info.endpoint,
            guest: info.guest,
            age: info.age.as_secs_f64(),
            idle: info.idle.as_secs_f64(),
            in_flight: info.in_flight,
        }
    }
}
