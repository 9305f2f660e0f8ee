//! Taking endpoints out, giving them less, and bringing them back.

use lb_core::machine::Command;
use lb_core::recovery::Recovering;
use lb_core::{EndpointKey, LbEvent};

use crate::channel::LbChannel;
use crate::inbox::Order;

impl LbChannel {
    /// Gives an endpoint no new calls and no connection: calls in progress finish, then its connection is closed and none is made. Its
    /// sessions go elsewhere. Remembered while it is not listed.
    pub fn disable(&self, endpoint: impl Into<EndpointKey>) {
        self.command(Command::Disable(endpoint.into(), true));
    }

    /// Takes an endpoint back that was disabled or drained; by the [ramp](crate::LbChannelBuilder::recovery), if there is one.
    pub fn enable(&self, endpoint: impl Into<EndpointKey>) {
        let endpoint = endpoint.into();
        self.command(Command::Disable(endpoint.clone(), false));
        self.command(Command::Drain(endpoint, false));
    }

    /// Gives an endpoint this share of the calls that its peers get, under every policy: from 0.001; less is that, and 1 or more is the
    /// full share again. Remembered while it is not listed. Calls that are pinned to it and sessions that are there stay.
    pub fn degrade(&self, endpoint: impl Into<EndpointKey>, share: f64) {
        self.command(Command::Degrade(endpoint.into(), share));
    }

    /// Gives an endpoint that [recovers](crate::LbChannelBuilder::recovery) its full share now. Does nothing to any other.
    pub fn force_recovery(&self, endpoint: impl Into<EndpointKey>) {
        self.command(Command::ForceRecovery(endpoint.into()));
    }

    /// Uses the endpoints of this [priority](lb_core::Attributes::priority) before all others, as long as they serve; when they do not
    /// the others are used in their order. Remembered while none of them is listed. [`fail_back`](Self::fail_back) ends it.
    pub fn fail_over_to(&self, priority: u32) {
        self.command(Command::ForceGroup(Some(priority)));
    }

    /// Returns to the best group that serves, and from replicas to primaries that do, without waiting for them to prove themselves; ends
    /// [`fail_over_to`](Self::fail_over_to).
    pub fn fail_back(&self) {
        self.command(Command::ForceGroup(None));
    }

    /// Tells observers and subscribers an event of the program's own, after what was asked of the channel before: a new configuration, a
    /// load that was judged. A channel that has ended tells nobody.
    pub fn announce(&self, event: LbEvent) {
        self.handle().shared().inbox.order(Order::Announce(event));
    }

    /// The endpoints that are new or have come back and do not have their full share yet, in no particular order.
    pub fn recovery(&self) -> Vec<Recovering> {
        self.load().core.recovering.to_vec()
    }

    /// The names of the policies it knows, and so can be [given](Self::set_policy).
    pub fn known_policies(&self) -> Vec<String> {
        self.handle().registry().names().map(str::to_owned).collect()
    }
}
