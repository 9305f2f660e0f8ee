//! The dashboard at `/`, and its stream of events.

use axum::Router;

use crate::app::Shared;

/// The dashboard's routes: `/` and what it loads, `/api/v1/loadbalancer/stream`.
pub(crate) fn routes() -> Router<Shared> {
    Router::new()
}
