//! What servers say of their load, read where a policy wants it.
//!
//! Reports come three ways, all into the same two places: the endpoint's [`EndpointStats`] and the [`Feedback`](lb_core::Feedback) of
//! every picker in use.
//!
//! | way | when | cost where nobody asks |
//! |---|---|---|
//! | with a call, in its trailers | a policy wants reports per call | one branch per call |
//! | [`out_of_band`] | a policy wants a period | nothing |
//! | [`probe`] | a picker names an endpoint it would like to know more of | one branch per pick |
//!
//! The last two are one stream per connection each. They live as long as their connection: whoever owns the connection owns them,
//! and dropping it ends them. Both stop asking a server that has no such service, for the life of the connection.
//!
//! Source: gRFC A51.

mod out_of_band;
mod pace;
mod probe;

use std::sync::Arc;

use http::HeaderMap;
use lb_core::{BackoffConfig, Endpoint, EndpointStats, LoadReport, Reported, Slot};
use tokio::runtime::Handle;
use tokio::time::Instant;

use crate::shared::Shared;

pub(crate) use out_of_band::OutOfBand;
pub(crate) use probe::{Probes, ProbesHandle};

/// The largest message of a server that is read, in bytes: more than any report that is kept in full.
const MAX_MESSAGE: usize = 64 * 1024;

/// What every reader of reports needs of its channel.
#[derive(Debug, Clone)]
pub(crate) struct Readers {
    shared: Arc<Shared>,
    /// How streams that end are opened again; the channel's own pace of connecting.
    backoff: BackoffConfig,
    /// Where streams that calls start run.
    runtime: Handle,
    seed: u64,
}

/// Whose reports are read.
#[derive(Debug, Clone)]
pub(crate) struct Subject {
    pub(crate) slot: Slot,
    pub(crate) endpoint: Arc<Endpoint>,
    pub(crate) stats: Arc<EndpointStats>,
}

impl Readers {
    pub(crate) fn new(shared: Arc<Shared>, backoff: BackoffConfig, runtime: Handle, seed: u64) -> Self {
        Self { shared, backoff, runtime, seed }
    }

    /// Tells everybody who learns from reports.
    fn tell(&self, subject: &Subject, load: &LoadReport, probed: bool) {
        let now = Instant::now().into_std();
        subject.stats.report(now, load);
        let reported = match probed {
            true => Reported::probe(subject.slot, now, load),
            false => Reported::out_of_band(subject.slot, now, load),
        };
        for named in &self.shared.snapshot.load().core.pickers {
            if let Some(feedback) = named.picker.feedback() {
                feedback.reported(&reported);
            }
        }
    }

    fn pace(&self, subject: &Subject) -> pace::Pace {
        // Endpoints of one channel must not retry in step.
        pace::Pace::new(self.backoff, self.seed ^ ((subject.slot.index() as u64) << 32))
    }
}

/// The report in a call's trailers, or in the headers of a response without messages. One that cannot be read is none; the call is
/// not affected.
pub(crate) fn of_call(trailers: &HeaderMap, endpoint: &Endpoint) -> Option<Box<LoadReport>> {
    let report = lb_orca::trailer::read(trailers);
    if report.is_none() && trailers.contains_key(&lb_orca::trailer::NAME) {
        tracing::debug!(endpoint = %endpoint.key(), "a load report in trailers cannot be read");
    }
    report.map(Box::new)
}
