//! The endpoints of a channel, as a program or a person may want to see them.

use lb_core::{Attributes, ConnectivityState, EndpointKey, Row};

/// One endpoint of a channel at one moment.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct EndpointInfo {
    /// Its identity.
    pub key: EndpointKey,
    /// What the resolver knows of it.
    pub attributes: Attributes,
    /// The state of its subchannel; READY only while its health check, if any, says so.
    pub state: ConnectivityState,
    /// Why it is in TRANSIENT_FAILURE.
    pub error: Option<String>,
    /// Why it gets no calls although it might be READY, such as `drained`.
    pub excluded: Option<&'static str>,
    /// Its share relative to the others, after stages.
    pub weight: u32,
    /// Calls in progress, streams until their trailers.
    pub in_flight: u32,
    /// Attempts that ended with status OK since the resolver first listed it.
    pub succeeded: u64,
    /// Attempts that ended with another status or none.
    pub failed: u64,
}

impl EndpointInfo {
    pub(crate) fn new(row: &Row) -> Self {
        let view = &row.view;
        Self {
            key: view.endpoint.key().clone(),
            attributes: view.endpoint.attributes.clone(),
            state: view.state,
            error: view.error.as_deref().map(str::to_owned),
            excluded: row.excluded,
            weight: view.weight,
            in_flight: view.stats.in_flight(),
            succeeded: view.stats.succeeded(),
            failed: view.stats.failed(),
        }
    }
}
