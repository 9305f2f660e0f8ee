//! From the names in a path to what they name.

use std::sync::Arc;

use lb_tonic::{EndpointInfo, LbChannel};

use crate::app::App;
use crate::problem::Problem;

/// Names in answers are cut here: nobody needs a hostile one back in full.
const SHOWN: usize = 80;

/// The channel of a service.
pub(super) fn service(app: &App, name: &str) -> Result<LbChannel, Problem> {
    app.services.get(name).ok_or_else(|| Problem::not_found(format!("there is no service `{}`", shown(name))))
}

/// An endpoint of a channel, by its key (its address, or its addresses joined by commas) or by its id. The key wins.
pub(super) fn instance(channel: &LbChannel, name: &str) -> Result<EndpointInfo, Problem> {
    let endpoints = channel.endpoints();
    let by_key = endpoints.iter().position(|endpoint| endpoint.key.as_str() == name);
    let by_id = || endpoints.iter().position(|endpoint| endpoint.attributes.id.as_deref() == Some(name));
    let found = by_key.or_else(by_id).and_then(|at| endpoints.into_iter().nth(at));
    found.ok_or_else(|| Problem::not_found(format!("there is no instance `{}`", shown(name))))
}

/// Every service with its channel.
pub(super) fn services(app: &App) -> Vec<(Arc<str>, LbChannel)> {
    app.services.all()
}

/// One service, or every one if none is named.
pub(super) fn chosen(app: &App, service: Option<&str>) -> Result<Vec<(Arc<str>, LbChannel)>, Problem> {
    match service {
        Some(name) => Ok(vec![(name.into(), self::service(app, name)?)]),
        None => Ok(services(app)),
    }
}

fn shown(name: &str) -> String {
    name.chars().take(SHOWN).flat_map(char::escape_debug).collect()
}
