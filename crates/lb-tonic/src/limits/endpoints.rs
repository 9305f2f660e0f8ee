//! The gates of endpoints, and a way to look at them.

use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Instant;

use lb_core::Endpoint;
use lb_core::gate::{Gate, GateSignal, Gatekeeper};
use lb_core::limits::{EndpointLimit, EndpointLimitInfo, EndpointLimits, GradientConfig, RateLimit};

/// Makes the gates of a channel's endpoints, and remembers those that are in use.
#[derive(Debug)]
pub(super) struct Keeper {
    pub(super) limits: EndpointLimits,
    /// In the order they were made. Never touched by a call.
    gates: Mutex<Vec<Weak<EndpointLimit>>>,
}

impl Keeper {
    pub(super) fn new(rate: Option<RateLimit>, concurrency: Option<GradientConfig>) -> Self {
        Self { limits: EndpointLimits::new(rate, concurrency), gates: Mutex::default() }
    }

    pub(super) fn infos(&self, now: Instant) -> Vec<EndpointLimitInfo> {
        let gates = self.gates.lock().unwrap_or_else(PoisonError::into_inner);
        gates.iter().filter_map(Weak::upgrade).map(|gate| gate.info(now)).collect()
    }
}

impl Gatekeeper for Keeper {
    fn gate(&self, endpoint: &Endpoint, signal: &GateSignal) -> Option<Arc<dyn Gate>> {
        let gate = self.limits.gate(endpoint, signal);
        let mut gates = self.gates.lock().unwrap_or_else(PoisonError::into_inner);
        gates.retain(|gate| gate.strong_count() > 0);
        gates.push(Arc::downgrade(&gate));
        Some(gate)
    }
}
