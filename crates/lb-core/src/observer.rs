//! Who is told what happens in a channel, and what its policies measure.
//!
//! News are [events](LbEvent): few, and each of interest to somebody who reads. What a policy finds each time it looks at its endpoints is no
//! news but numbers, for metrics: a [`Measurement`]. Policies put both into their [`Plan`](crate::Plan) as data; nothing here knows a
//! meter.

use std::fmt;

use crate::event::LbEvent;

/// Is told every event, in order, on the channel's own task; must not block.
pub trait Observer: fmt::Debug + Send + Sync + 'static {
    /// Something changed.
    fn on_event(&self, event: &LbEvent);

    /// A policy has looked at its endpoints and measured something. Default: ignored.
    fn on_measurement(&self, measurement: &Measurement) {
        let _ = measurement;
    }

    /// From now on it hears of this channel. Comes once for each channel, before all else. Default: ignored.
    fn on_channel(&self, channel: &ChannelFacts<'_>) {
        let _ = channel;
    }
}

/// What a channel is like when an observer begins to hear of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct ChannelFacts<'a> {
    /// The name of its policy; events tell when that changes.
    pub policy: &'a str,
    /// How its connections are protected; `None` with a connector of the program's own, which only that knows.
    pub security: Option<SecurityLevel>,
}

impl<'a> ChannelFacts<'a> {
    /// A channel with this policy, whose connections are protected like this.
    pub fn new(policy: &'a str, security: Option<SecurityLevel>) -> Self {
        Self { policy, security }
    }
}

/// How connections are protected, in gRPC's levels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum SecurityLevel {
    /// Plain text.
    None,
    /// Whoever changes something is noticed.
    IntegrityOnly,
    /// Nobody else can read it, either: TLS.
    PrivacyAndIntegrity,
}

impl SecurityLevel {
    /// As gRPC's metrics write it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::IntegrityOnly => "integrity_only",
            Self::PrivacyAndIntegrity => "privacy_and_integrity",
        }
    }
}

/// What a policy measured when it looked at its endpoints.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Measurement {
    /// [`weighted_round_robin`](crate::policies::WeightedRoundRobin) made a schedule.
    Schedule(ScheduleWeights),
}

/// The weights of a schedule (gRFC A78).
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct ScheduleWeights {
    /// Whether fewer than two endpoints had a weight that could be used, so that weights by load are not.
    pub fallback: bool,
    /// Endpoints without a weight yet: they have reported none, or are in their blackout.
    pub not_yet_usable: u32,
    /// Endpoints whose last report is too old.
    pub stale: u32,
    /// The weight of each READY endpoint by its load, in calls a second for each unit of utilisation; 0 if it has none that can be used.
    pub weights: Box<[f64]>,
}

impl ScheduleWeights {
    /// A schedule of these.
    pub fn new(fallback: bool, not_yet_usable: u32, stale: u32, weights: Box<[f64]>) -> Self {
        Self { fallback, not_yet_usable, stale, weights }
    }
}
