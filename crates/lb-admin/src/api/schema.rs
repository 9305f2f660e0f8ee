//! What stands in the OpenAPI document for data whose types are elsewhere or nowhere.
#![allow(dead_code, reason = "read by the document only")]

use std::collections::BTreeMap;

/// What taking an endpoint out, or bringing it back, came to.
#[derive(utoipa::ToSchema)]
pub(super) struct Lever {
    /// The service.
    service: String,
    /// What was asked.
    action: String,
    /// Whether it has taken effect; else it will.
    done: bool,
    /// The endpoint now, if it is still there.
    endpoint: Option<Endpoint>,
}

/// An endpoint: `EndpointInfo` of the library, of which these fields are a part.
#[derive(utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct Endpoint {
    /// Its identity: its address, or its addresses joined by commas.
    key: String,
    /// What the resolver knows of it.
    #[schema(value_type = Object)]
    attributes: (),
    /// Its state.
    #[schema(pattern = "^(IDLE|CONNECTING|READY|TRANSIENT_FAILURE|SHUTDOWN)$")]
    state: String,
    /// Why it is in TRANSIENT_FAILURE.
    error: Option<String>,
    /// Why it gets no calls although it might be READY.
    excluded: Option<String>,
    /// Its share relative to the others.
    weight: u32,
    /// What it gets of the calls its peers get.
    share: f64,
    /// Calls in progress.
    in_flight: u32,
    /// Attempts that ended well.
    succeeded: u64,
    /// Attempts that did not.
    failed: u64,
}

/// The endpoints of all services.
#[derive(utoipa::ToSchema)]
pub(super) struct AllInstances {
    /// By service.
    services: BTreeMap<String, Vec<Endpoint>>,
}

/// The endpoints of one service.
#[derive(utoipa::ToSchema)]
pub(super) struct Instances {
    /// The service.
    service: String,
    /// Its endpoints, in the resolver's order.
    endpoints: Vec<Endpoint>,
}

/// A channel: `ChannelStats` of the library, of which these fields are a part.
#[derive(utoipa::ToSchema)]
pub(super) struct Stats {
    /// What it was built for.
    target: String,
    /// Its policy.
    policy: String,
    /// Its state.
    state: String,
    /// Counts up with every change.
    generation: u64,
    /// Whether the resolver answers.
    #[schema(value_type = Object)]
    resolver: (),
    /// The endpoints summed up.
    #[schema(value_type = Object)]
    totals: (),
    /// Calls that wait for an endpoint now.
    waiting: u64,
    /// Every endpoint.
    endpoints: Vec<Endpoint>,
}

/// All channels.
#[derive(utoipa::ToSchema)]
pub(super) struct AllStats {
    /// By service.
    services: BTreeMap<String, Stats>,
}

/// What became of the attempts of a window.
#[derive(utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct Measured {
    /// How far back it reaches, in seconds: what was asked for, rounded up, as far as the channel remembers.
    window: f64,
    /// Attempts that ended well.
    succeeded: u64,
    /// Attempts that did not.
    failed: u64,
    /// Attempts the caller gave up.
    cancelled: u64,
    /// Attempts a second.
    rate: f64,
    /// The share of failures among the answers, 0 to 1.
    error_rate: Option<f64>,
    /// Quantiles of how long the successful ones took, in seconds.
    #[schema(value_type = Option<Object>)]
    latency: (),
}

/// How many sessions were forgotten.
#[derive(utoipa::ToSchema)]
pub(super) struct Cleared {
    /// How many.
    cleared: u64,
}

/// Which services were reset.
#[derive(utoipa::ToSchema)]
pub(super) struct Reset {
    /// Their names.
    reset: Vec<String>,
}

/// What a new configuration came to.
#[derive(utoipa::ToSchema)]
pub(super) struct ConfigChanged {
    /// What has changed.
    #[schema(value_type = Value)]
    changes: (),
    /// The configuration now.
    #[schema(value_type = Value)]
    config: (),
}

/// Whether the server lives.
#[derive(utoipa::ToSchema)]
pub(super) struct Alive {
    /// `ok`.
    status: String,
}

/// The wishes of a call, all optional.
#[derive(utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct Wishes {
    /// Picks with this policy instead of the service's.
    policy: Option<String>,
    /// What hashing policies hash.
    hash_key: Option<String>,
    /// Is of this session.
    session: Option<String>,
    /// Only endpoints with all of these capabilities.
    require: Option<Vec<String>>,
    /// Endpoints of this region first.
    region: Option<String>,
    /// Only endpoints whose load is at most this, 0 to 1; `true` for 0.8.
    #[schema(value_type = Value)]
    load_threshold: (),
    /// These first.
    prefer: Option<Vec<String>>,
    /// Never these.
    exclude: Option<Vec<String>>,
    /// This one and no other.
    pin: Option<String>,
    /// How much matters that it is served, 0 to 255.
    priority: Option<u8>,
    /// What it takes of an endpoint's capacity.
    cost: Option<u32>,
    /// The kind of work.
    kind: Option<String>,
}

/// What is wrong with a request (RFC 9457).
#[derive(utoipa::ToSchema)]
pub(super) struct Problem {
    /// The status code.
    status: u16,
    /// The status code in words.
    title: String,
    /// What is wrong.
    detail: String,
}

/// Where the values of the configuration came from.
#[derive(utoipa::ToSchema)]
#[expect(dead_code, reason = "describes what another crate writes")]
pub(super) struct ConfigExplained {
    /// One for each key.
    rows: Vec<ConfigRow>,
}

/// One key of the configuration.
#[derive(utoipa::ToSchema)]
#[expect(dead_code, reason = "describes what another crate writes")]
pub(super) struct ConfigRow {
    /// Its path, with its service.
    path: String,
    /// Its value as people write it.
    value: Option<String>,
    /// Who said it; nobody for a default.
    source: Option<String>,
    /// Who said something else that counts less, the first first.
    over: Vec<String>,
}
