//! The description of this API, made from its handlers.

use axum::extract::State;
use axum::response::Response;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme};
use utoipa::openapi::{Content, OpenApi as Document, Ref, RefOr, ResponseBuilder};
use utoipa::{Modify, OpenApi};

use super::{
    algorithms, answer, configuration, explain, health, instances, levers, operations, overview, performance, recovery, schema,
    sessions, stats,
};
use crate::app::Shared;
use crate::dashboard;
use crate::problem::PROBLEM;

#[derive(OpenApi)]
#[openapi(
    info(title = "evenkeel admin", description = "Looking at channels and steering them."),
    paths(
        overview::alive, overview::metrics, serve, stats::all, stats::one, instances::all, instances::of_service, instances::one,
        levers::drain, levers::enable, levers::disable, algorithms::all, algorithms::one, algorithms::put, configuration::get,
        configuration::explain, configuration::put, health::all, dashboard::stream::open, performance::get, sessions::list, sessions::clear_all, sessions::clear, recovery::all, recovery::force,
        explain::explain, operations::debug, operations::reset, configuration::reload,
    ),
    components(schemas(schema::Problem)),
    modifiers(&Common)
)]
struct Api;

/// What all operations have in common: how they fail, and the token.
struct Common;

impl Modify for Common {
    fn modify(&self, document: &mut Document) {
        let components = document.components.get_or_insert_default();
        let bearer = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).description(Some("If the server was given tokens.")).build();
        components.add_security_scheme("token", SecurityScheme::Http(bearer));
        // Which of the two holds is the server's choice.
        document.security = Some(vec![SecurityRequirement::default(), SecurityRequirement::new::<_, _, String>("token", [])]);
        let content = Content::new(Some(Ref::from_schema_name("Problem")));
        let failed = ResponseBuilder::new().description("What is wrong.").content(PROBLEM, content).build();
        for item in document.paths.paths.values_mut() {
            let operations = [&mut item.get, &mut item.put, &mut item.post, &mut item.delete];
            for operation in operations.into_iter().flatten() {
                operation.responses.responses.insert("default".to_owned(), RefOr::T(failed.clone()));
            }
        }
    }
}

/// The document.
pub(crate) fn document() -> Document {
    Api::openapi()
}

/// This document.
#[utoipa::path(get, path = "/api/v1/loadbalancer/openapi.json", tag = "health", responses((status = 200, body = Object)))]
pub(super) async fn serve(State(_): State<Shared>) -> Response {
    answer(&document())
}
