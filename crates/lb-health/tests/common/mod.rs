//! What the tests of the checks share.
#![allow(dead_code, reason = "not every test uses every helper")]
#![allow(clippy::unwrap_used, reason = "a failing helper fails the test")]

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use lb_core::{Address, Endpoint, HealthCheck, HealthStream, HealthSubject, ServingStatus, Trigger};

/// Longer than anything here takes, in simulated time where time is paused.
pub(crate) const PATIENCE: Duration = Duration::from_secs(600);

/// A watch under test.
pub(crate) struct Watch {
    stream: HealthStream,
    pub(crate) check_now: Trigger,
}

impl Watch {
    pub(crate) fn start<T>(check: &impl HealthCheck<T>, transport: T, endpoint: Endpoint) -> Self {
        let (check_now, listening) = Trigger::pair();
        let address = endpoint.addresses()[0].clone();
        Self { stream: check.watch(HealthSubject::new(transport, Arc::new(endpoint), address, listening)), check_now }
    }

    /// The next status, or the end.
    pub(crate) async fn next(&mut self) -> Option<ServingStatus> {
        tokio::time::timeout(PATIENCE, self.stream.next()).await.expect("no status came")
    }

    pub(crate) async fn serving(&mut self) {
        assert_eq!(self.next().await, Some(ServingStatus::Serving));
    }

    /// The reason of the next status, which must be a bad one.
    pub(crate) async fn not_serving(&mut self) -> String {
        match self.next().await {
            Some(ServingStatus::NotServing(reason)) => reason.to_string(),
            other => panic!("expected NOT_SERVING, got {other:?}"),
        }
    }

    /// Nothing is said for this long.
    pub(crate) async fn quiet(&mut self, time: Duration) {
        if let Ok(said) = tokio::time::timeout(time, self.stream.next()).await {
            panic!("expected silence, got {said:?}");
        }
    }
}

pub(crate) fn endpoint(text: &str) -> Endpoint {
    Endpoint::new(text.parse::<Address>().unwrap())
}

pub(crate) fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}
