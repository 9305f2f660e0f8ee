//! What an event is about, and how much it matters.

use serde::Serialize;

use super::LbEvent;
use crate::connectivity::ConnectivityState;
use crate::endpoint::EndpointKey;

/// How much an event matters to those who run the program.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// The usual comings and goings of endpoints.
    Debug,
    /// What an operator or a config did, and the end of something broken.
    Info,
    /// What takes endpoints from the calls, or shows something broken.
    Warning,
}

impl LbEvent {
    /// Every [kind](Self::kind) there is: what a list of kinds may hold.
    pub const KINDS: &[&str] = &[
        "endpoint_added",
        "endpoint_removed",
        "endpoint_updated",
        "subchannel_state",
        "connected",
        "connect_failed",
        "disconnected",
        "ejected",
        "ejection_ended",
        "drained",
        "disabled",
        "degraded",
        "recovery_started",
        "recovery_fell_back",
        "recovery_finished",
        "promoted",
        "demoted",
        "panic",
        "calls_ended",
        "failover",
        "channel_state",
        "overloaded",
        "scaling_advised",
        "policy_changed",
        "resolver_failed",
        "resolver_recovered",
        "config_refused",
        "config_changed",
        "settings_changed",
        "settings_refused",
        "session_moved",
        "load_updated",
        "health_changed",
        "breaker_changed",
        "selection_failed",
        "lagged",
    ];

    /// The endpoint it is about, if it is about one.
    pub fn endpoint(&self) -> Option<&EndpointKey> {
        match self {
            Self::EndpointAdded(endpoint) | Self::EndpointRemoved(endpoint) | Self::EndpointUpdated(endpoint) => Some(endpoint),
            Self::SubchannelState { endpoint, .. }
            | Self::Connected { endpoint, .. }
            | Self::ConnectFailed { endpoint, .. }
            | Self::Disconnected { endpoint, .. }
            | Self::Ejected { endpoint, .. }
            | Self::EjectionEnded { endpoint, .. }
            | Self::Drained { endpoint, .. }
            | Self::Disabled { endpoint, .. }
            | Self::Degraded { endpoint, .. }
            | Self::Promoted { endpoint, .. }
            | Self::Demoted { endpoint, .. }
            | Self::CallsEnded { endpoint, .. }
            | Self::RecoveryStarted { endpoint, .. }
            | Self::RecoveryFellBack { endpoint, .. }
            | Self::RecoveryFinished { endpoint, .. }
            | Self::Overloaded { endpoint, .. }
            | Self::LoadUpdated { endpoint, .. }
            | Self::HealthChanged { endpoint, .. }
            | Self::BreakerChanged { endpoint, .. } => Some(endpoint),
            _ => None,
        }
    }

    /// How much it matters.
    pub fn severity(&self) -> Severity {
        match self {
            Self::SubchannelState { to: ConnectivityState::TransientFailure, .. }
            | Self::ChannelState { to: ConnectivityState::TransientFailure, .. }
            | Self::ResolverFailed(_)
            | Self::ConfigRefused(_)
            | Self::SettingsRefused(_)
            | Self::CallsEnded { .. }
            | Self::RecoveryFellBack { .. }
            | Self::BreakerChanged { .. }
            | Self::Ejected { .. }
            | Self::Failover { .. }
            | Self::Promoted { .. }
            | Self::Panic { panicking: true, .. }
            | Self::Overloaded { overloaded: true, .. }
            | Self::SelectionFailed { .. }
            | Self::HealthChanged { healthy: false, .. } => Severity::Warning,
            // The end of what was a warning.
            Self::SubchannelState { from: ConnectivityState::TransientFailure, .. } => Severity::Info,
            Self::EndpointAdded(_)
            | Self::EndpointRemoved(_)
            | Self::EndpointUpdated(_)
            | Self::SubchannelState { .. }
            | Self::Connected { .. }
            // The subchannel's change of state, an event of its own, has the reason too.
            | Self::ConnectFailed { .. }
            | Self::Disconnected { reason: None, .. }
            | Self::SessionMoved { .. }
            | Self::LoadUpdated { .. } => Severity::Debug,
            _ => Severity::Info,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Read from the source, since nobody can list the variants of an enum.
    #[test]
    fn the_list_of_kinds_is_whole() {
        let source = include_str!("../event.rs");
        let kinds: Vec<_> =
            source.lines().filter_map(|line| line.trim().strip_suffix("\",")?.split_once(" => \"")).map(|kind| kind.1).collect();
        assert_eq!(kinds, LbEvent::KINDS);
        assert!(LbEvent::KINDS.contains(&LbEvent::Lagged(1).kind()));
    }
}
