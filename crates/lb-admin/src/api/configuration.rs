//! `config` and `reload`: the program's configuration.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use http::{HeaderMap, StatusCode};
use serde_json::{Value, json};

use super::answer;
use super::body::Json;
use super::changed::Changed;
use crate::app::{App, Shared};
use crate::config::{ConfigRefusal, ConfigSource};
use crate::etag::Tag;
use crate::problem::Problem;

/// The configuration in use. Its `ETag` can be given back with a change.
#[utoipa::path(get, path = "/api/v1/loadbalancer/config", tag = "config",
    responses((status = 200, body = Object, headers(("etag" = String)))))]
pub(super) async fn get(State(app): State<Shared>) -> Result<Response, Problem> {
    let source = source(&app)?;
    let config = blocking(move || source.get()).await?;
    let mut response = answer(&config);
    response.headers_mut().extend(Tag::of(&config).header());
    Ok(response)
}

/// Every key with the value that counts, who said it, and whom that overrules. Secrets are hidden.
#[utoipa::path(get, path = "/api/v1/loadbalancer/config/explain", tag = "config",
    responses((status = 200, body = super::schema::ConfigExplained)))]
pub(super) async fn explain(State(app): State<Shared>) -> Result<Response, Problem> {
    let source = source(&app)?;
    let explained = blocking(move || source.explain()).await?;
    explained
        .map(|rows| answer(&rows))
        .ok_or_else(|| Problem::not_found("this configuration does not say where its values came from"))
}

/// Takes over another configuration, all of it or nothing.
#[utoipa::path(put, path = "/api/v1/loadbalancer/config", tag = "config", request_body = Object,
    params(("if-match" = Option<String>, Header, description = "The `ETag` of what is to be changed.")),
    responses((status = 200, body = super::schema::ConfigChanged)))]
pub(super) async fn put(State(app): State<Shared>, headers: HeaderMap, Json(new): Json<Value>) -> Result<Changed, Problem> {
    let source = source(&app)?;
    change(&app, move || {
        let before = Tag::of(&source.get());
        before.check(&headers)?;
        applied(&*source, before, source.put(&new))
    })
    .await
}

/// Reads the configuration again from where it came from, and takes over what has changed, all of it or nothing.
#[utoipa::path(post, path = "/api/v1/admin/loadbalancer/reload", tag = "admin",
    responses((status = 200, body = super::schema::ConfigChanged)))]
pub(super) async fn reload(State(app): State<Shared>) -> Result<Changed, Problem> {
    let source = source(&app)?;
    change(&app, move || {
        let before = Tag::of(&source.get());
        applied(&*source, before, source.reload())
    })
    .await
}

/// One change at a time, from its look at what it changes to its end.
async fn change(app: &App, change: impl FnOnce() -> Result<Changed, Problem> + Send + 'static) -> Result<Changed, Problem> {
    let _alone = app.asked.lock().await;
    blocking(change).await?
}

fn applied(source: &dyn ConfigSource, before: Tag, changes: Result<Value, ConfigRefusal>) -> Result<Changed, Problem> {
    let changes = changes.map_err(|refusal| match refusal {
        ConfigRefusal::Wrong(_) => Problem::new(StatusCode::UNPROCESSABLE_ENTITY, refusal.to_string()),
        ConfigRefusal::Impossible(_) => Problem::new(StatusCode::CONFLICT, refusal.to_string()),
    })?;
    let config = source.get();
    let tag = Tag::of(&config);
    let (from, to) = (before.to_string(), format!("{tag}: {changes}"));
    let now = json!({ "changes": changes, "config": config });
    Ok(Changed { tag: Some(tag), ..Changed::done(now, from, to) })
}

fn source(app: &App) -> Result<Arc<dyn ConfigSource>, Problem> {
    app.config.clone().ok_or_else(|| Problem::not_found("this server was given no configuration"))
}

/// Where files may be read.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Problem> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|_| Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "the configuration's source has panicked"))
}
