//! What one call wishes, given through an interceptor or the request's extensions.

use std::sync::Arc;

use lb_core::{EndpointKey, PickHints};
use tonic::service::Interceptor;
use tonic::{Request, Status};

/// Wishes of one call, or of every call of one client.
///
/// As an [`Interceptor`] it holds for every call of the client it is given to; inserted into a request's extensions it holds for
/// that call. Where both speak the request wins; exclusions add up.
///
/// ```
/// # use lb_tonic::PickOptions;
/// let mut request = tonic::Request::new(());
/// request.extensions_mut().insert(PickOptions::new().policy("least_request").wait_for_ready(true));
/// ```
#[derive(Debug, Clone, Default, PartialEq)]
pub struct PickOptions {
    pub(crate) hints: PickHints,
}

impl PickOptions {
    /// No wishes.
    pub fn new() -> Self {
        Self::default()
    }

    /// Picks with this policy instead of the channel's. The channel must have it: its own, one added with
    /// [`further_policy`](crate::LbChannelBuilder::further_policy), or a built-in one, which is added on first use.
    #[must_use]
    pub fn policy(mut self, name: impl Into<Arc<str>>) -> Self {
        self.hints.policy = Some(name.into());
        self
    }

    /// What hashing policies hash: calls with equal keys go to the same endpoint.
    #[must_use]
    pub fn hash_key(mut self, key: impl AsRef<[u8]>) -> Self {
        self.hints.hash_key = Some(key.as_ref().into());
        self
    }

    /// Is of this session: goes to the endpoint the session is at, if the channel keeps
    /// [sessions](crate::LbChannelBuilder::sessions).
    #[must_use]
    pub fn session(mut self, session: impl Into<Arc<str>>) -> Self {
        self.hints.session = Some(session.into());
        self
    }

    /// Waits while no endpoint is reachable instead of failing with UNAVAILABLE; until the deadline, if the call has one.
    #[must_use]
    pub fn wait_for_ready(mut self, wait: bool) -> Self {
        self.hints.wait_for_ready = Some(wait);
        self
    }

    /// Goes to this endpoint and no other; the call fails (or waits) while it cannot take calls.
    #[must_use]
    pub fn pin(mut self, endpoint: impl Into<EndpointKey>) -> Self {
        self.hints.pin = Some(endpoint.into());
        self
    }

    /// Never goes to this endpoint. May be given several times.
    #[must_use]
    pub fn exclude(mut self, endpoint: impl Into<EndpointKey>) -> Self {
        self.hints.exclude.push(endpoint.into());
        self
    }
}

impl Interceptor for PickOptions {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        let merged = match request.extensions_mut().remove::<Self>() {
            Some(own) => Self { hints: own.hints.or(&self.hints) },
            None => self.clone(),
        };
        request.extensions_mut().insert(merged);
        Ok(request)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_request_wins_over_the_interceptor_and_exclusions_add_up() {
        let mut interceptor = PickOptions::new().policy("random").wait_for_ready(true).exclude("a:1");
        let mut request = Request::new(());
        request.extensions_mut().insert(PickOptions::new().policy("round_robin").exclude("b:1"));
        let request = interceptor.call(request).unwrap();
        let merged = request.extensions().get::<PickOptions>().unwrap();
        let expected = PickOptions::new().policy("round_robin").wait_for_ready(true).exclude("b:1").exclude("a:1");
        assert_eq!(*merged, expected);
    }
}
