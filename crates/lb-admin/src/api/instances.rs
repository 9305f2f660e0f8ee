//! `instances`: the endpoints of each service.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::{Path, State};
use axum::response::Response;
use lb_tonic::EndpointInfo;
use serde::Serialize;

use super::{answer, find};
use crate::app::Shared;
use crate::problem::Problem;

/// Every service's endpoints.
#[derive(Debug, Serialize)]
struct AllInstances {
    services: BTreeMap<Arc<str>, Vec<EndpointInfo>>,
}

/// One service's endpoints.
#[derive(Debug, Serialize)]
struct Instances {
    service: String,
    endpoints: Vec<EndpointInfo>,
}

/// The endpoints of every service.
#[utoipa::path(get, path = "/api/v1/loadbalancer/instances", tag = "instances",
    responses((status = 200, body = super::schema::AllInstances)))]
pub(super) async fn all(State(app): State<Shared>) -> Response {
    let services = find::services(&app).into_iter().map(|(name, channel)| (name, channel.endpoints())).collect();
    answer(&AllInstances { services })
}

/// The endpoints of a service.
#[utoipa::path(get, path = "/api/v1/loadbalancer/instances/{service}", tag = "instances", params(("service" = String, Path)),
    responses((status = 200, body = super::schema::Instances)))]
pub(super) async fn of_service(State(app): State<Shared>, Path(service): Path<String>) -> Result<Response, Problem> {
    let endpoints = find::service(&app, &service)?.endpoints();
    Ok(answer(&Instances { service, endpoints }))
}

/// One endpoint.
#[utoipa::path(get, path = "/api/v1/loadbalancer/instances/{service}/{instance}", tag = "instances",
    params(("service" = String, Path), ("instance" = String, Path, description = "Its key or its id, percent-encoded.")),
    responses((status = 200, body = super::schema::Endpoint)))]
pub(super) async fn one(State(app): State<Shared>, Path((service, instance)): Path<(String, String)>) -> Result<Response, Problem> {
    Ok(answer(&find::instance(&find::service(&app, &service)?, &instance)?))
}
