//! Choosing an endpoint without calling it.

use lb_core::{Address, Attributes, Endpoint, EndpointKey, Outcome};

use crate::call::Guard;

/// An endpoint that was picked for something the channel does not do itself: to place a session or a task, or to call by other means.
///
/// It counts as a call in flight until it is reported or dropped, so that what is picked next sees it. What is reported counts in the
/// endpoint's statistics as a call that took as long as the handle lived; a dropped handle counts as cancelled.
///
/// ```no_run
/// # async fn run(channel: lb_tonic::LbChannel) -> Result<(), Box<dyn std::error::Error>> {
/// use lb_core::Outcome;
/// use lb_tonic::PickOptions;
///
/// let picked = channel.pick(PickOptions::new().require("gpu").cost(4)).await?;
/// let done = run_task_on(picked.address()).await;
/// picked.report(if done.is_ok() { Outcome::Success } else { Outcome::Failure });
/// # Ok(())
/// # }
/// # async fn run_task_on(_: &lb_core::Address) -> Result<(), ()> { Ok(()) }
/// ```
#[derive(Debug)]
#[must_use = "a handle that is dropped counts as cancelled"]
pub struct PickHandle(Guard);

impl PickHandle {
    pub(crate) fn new(guard: Guard) -> Self {
        Self(guard)
    }

    /// The endpoint, as the resolver listed it when it was picked.
    pub fn endpoint(&self) -> &Endpoint {
        &self.0.connected.endpoint
    }

    /// Its key.
    pub fn key(&self) -> &EndpointKey {
        self.endpoint().key()
    }

    /// Its addresses, most preferred first.
    pub fn addresses(&self) -> &[Address] {
        self.endpoint().addresses()
    }

    /// Which of its addresses is connected.
    pub fn address(&self) -> &Address {
        &self.0.connected.address
    }

    /// What the resolver knows of it.
    pub fn attributes(&self) -> &Attributes {
        &self.endpoint().attributes
    }

    /// Ends it this way.
    pub fn report(mut self, outcome: Outcome) {
        self.0.outcome = outcome;
    }
}
