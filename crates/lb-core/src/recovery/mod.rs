//! Recovery: an endpoint that comes back takes its calls step by step.
//!
//! A server that has just started is slow: empty caches, cold code, no connections to its own databases. One that was ejected may
//! not be well yet. Given its full part of the calls at once, such a server answers some of them late or not at all, and is soon out
//! again. So an endpoint that is *new*, or *comes back* after it failed or was hidden, begins at a small [share](crate::SubchannelView::share) of what its
//! peers get, and the share grows by one of two ramps:
//!
//! - [`linear`](RampConfig::linear), after Envoy's slow start: with the time `t` of a window `w` the share is
//!   `max(least, (t / w)^(1 / aggression))`. It looks at nothing but the clock.
//! - [`steps`](RampConfig::steps): from 10 % by 10 % every 30 s, as long as at least 80 % of the calls since the last step succeeded;
//!   otherwise it falls back to where it began. It falls back before its time if ten or more calls have shown it.
//!
//! ```
//! use lb_core::recovery::RampConfig;
//! use serde_json::json;
//!
//! let typed = RampConfig::steps().with_threshold(0.9)?;
//! let from_json = RampConfig::from_json(&json!({"steps": {"threshold": 0.9}}))?;
//! assert_eq!(typed, from_json);
//! # Ok::<(), lb_core::ConfigError>(())
//! ```
//!
//! **What begins a ramp.** Becoming READY for the first time, if the endpoint was added to a set that was there before; and becoming
//! READY again after TRANSIENT_FAILURE (a failed connection, a health check that said no, an ejection) or after a stage hid it
//! (drained, disabled, unhealthy in the registry). A connection that is merely lost and replaced, as a server's maximum connection
//! age has it, begins none; nor does a change of [priority](crate::Attributes::priority) group, because the second group is needed
//! whole at once. The endpoints of the first answer of the resolver start full, unless they fail first: where all ramp nobody does.
//! Envoy has the same corner.
//!
//! **Bound.** The share changes at most 40 times per window, or once per step, and each change is one rebuild, linear in the
//! endpoints. While nobody ramps a pick pays one branch. If no endpoint of full share can take a call, one with less does.
//!
//! **When not.** Where a deployment replaces most of the servers at once: the few old ones would have to carry the rest until the
//! ramps are over, so that shares then count relative to the greatest. With a call in several seconds nothing is measured, and
//! steps are only time.
//!
//! Sources: Envoy, "Slow start mode" (architecture overview, load balancing); the steps are evenkeel's own.

mod climb;
mod config;
mod degraded;
mod levers;
mod stage;

pub use config::{Linear, RampConfig, Steps};
pub use degraded::DegradedConfig;
pub(crate) use levers::Levers;
pub(crate) use stage::RecoveryStage;

use std::time::Instant;

use crate::endpoint::EndpointKey;

/// An endpoint that is on its way to its full share.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Recovering {
    /// Which endpoint.
    pub endpoint: EndpointKey,
    /// What it gets now, of what its peers get: above 0, below 1.
    pub share: f64,
    /// When its ramp began, or began anew.
    pub since: Instant,
    /// When its share is looked at next.
    pub next_step: Instant,
}
