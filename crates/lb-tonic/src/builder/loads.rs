//! What a channel tells of load.

use lb_core::ConfigError;
use lb_core::advice::{Limits, ScalingConfig, ScalingSignal};

use super::LbChannelBuilder;
use crate::driver::Loads;

impl LbChannelBuilder {
    /// From which load on an endpoint is told to be overloaded, and below which it is no more; default 0.8 and 0.7 of its capacity. Only
    /// endpoints with a [capacity](lb_core::Attributes::capacity), or whose servers report how busy they are, have a load.
    pub fn overload_limits(mut self, limits: Limits) -> Self {
        self.overload = limits;
        self
    }

    /// Looks at the load once a second and advises how many endpoints there should be
    /// ([`LbEvent::ScalingAdvised`](lb_core::LbEvent::ScalingAdvised), [`ChannelStats::scaling`](crate::ChannelStats::scaling)). Off by
    /// default. Each client sees its own load and what servers report: where they report nothing, sum up what all clients see.
    pub fn scaling(mut self, config: ScalingConfig) -> Self {
        self.scaling = Some(config);
        self
    }

    pub(super) fn loads(&self) -> Result<Loads, ConfigError> {
        Ok(Loads::new(self.overload, self.scaling.map(ScalingSignal::new).transpose()?))
    }
}
