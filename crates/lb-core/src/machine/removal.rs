//! Endpoints that go: drained by hand, or listed no more.

use std::time::Duration;

use crate::endpoint::EndpointKey;
use crate::event::LbEvent;

use super::Machine;
use super::event::Effect;
use super::subchannel::Subchannel;

impl Machine {
    pub(super) fn drain(&mut self, endpoint: EndpointKey, drained: bool) {
        if !self.balancer.drain.set(endpoint.clone(), drained) {
            return;
        }
        self.dirty |= self.table.contains(&endpoint);
        if let Some(subchannel) = self.table.of_mut(&endpoint).filter(|_| !drained) {
            self.wanted.push(Effect::Spare(subchannel.slot));
        }
        self.events.push(LbEvent::Drained { endpoint, drained });
    }

    pub(super) fn drain_within(&mut self, endpoint: EndpointKey, within: Duration) {
        self.drain(endpoint.clone(), true);
        let Some(subchannel) = self.table.of_mut(&endpoint) else { return };
        let (slot, connected) = (subchannel.slot, subchannel.is_connected());
        subchannel.wanted = false;
        let Some(attempt) = subchannel.abandon() else { return };
        self.dirty = true;
        if !connected {
            self.wanted.push(Effect::Close { slot, attempt });
            return;
        }
        let reason = format!("drained, and given {within:?} for calls in progress").into();
        self.wanted.push(Effect::Retire { slot, attempt, within, reason });
        self.events.push(LbEvent::Disconnected { endpoint, reason: None });
    }

    /// Closes what a subchannel has, whose endpoint is gone; calls in progress have this much time, or as much as they need.
    pub(super) fn let_go(&mut self, subchannel: &Subchannel, within: Option<Duration>, effects: &mut Vec<Effect>) {
        let (slot, endpoint) = (subchannel.slot, subchannel.endpoint.key());
        let close = |attempt| match within.filter(|_| subchannel.is_connected()) {
            None => Effect::Close { slot, attempt },
            Some(within) => {
                let reason = format!("no longer listed, and given {within:?} for calls in progress").into();
                Effect::Retire { slot, attempt, within, reason }
            }
        };
        effects.extend(subchannel.attempt().map(close));
        if subchannel.is_connected() {
            self.events.push(LbEvent::Disconnected { endpoint: endpoint.clone(), reason: None });
        }
        self.events.push(LbEvent::EndpointRemoved(endpoint.clone()));
    }
}
