//! What an operator or a program may want to know as it happens.

mod subject;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use serde::Serialize;

use crate::breaker::{BreakerChange, BreakerReason, BreakerState};
use crate::connectivity::ConnectivityState;
use crate::endpoint::EndpointKey;
use crate::service_config::ConfigSource;
use crate::stages::EjectionMeasure;

pub use subject::Severity;

/// Something changed in a channel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum LbEvent {
    /// The resolver lists a new endpoint.
    EndpointAdded(EndpointKey),
    /// The resolver no longer lists it; its calls finish.
    EndpointRemoved(EndpointKey),
    /// Its weight or other attributes changed; its connection stays.
    EndpointUpdated(EndpointKey),
    /// A subchannel changed state.
    SubchannelState {
        /// Which endpoint.
        endpoint: EndpointKey,
        /// Before.
        from: ConnectivityState,
        /// After.
        to: ConnectivityState,
        /// Why, if it is bad news.
        reason: Option<Arc<str>>,
    },
    /// A connection came up.
    Connected {
        /// To which endpoint.
        endpoint: EndpointKey,
        /// Which of its addresses answered.
        address: Arc<str>,
    },
    /// An attempt to connect failed on all its addresses.
    ConnectFailed {
        /// To which endpoint.
        endpoint: EndpointKey,
        /// Each address and what went wrong.
        reason: Arc<str>,
    },
    /// A connection takes no more calls.
    Disconnected {
        /// Of which endpoint.
        endpoint: EndpointKey,
        /// What happened to it; `None` if the channel closed it, because the endpoint went, or nobody wants it.
        reason: Option<Arc<str>>,
    },
    /// An endpoint's calls went wrong while they went well elsewhere: it gets none for a while. See
    /// [`OutlierStage`](crate::stages::OutlierStage).
    Ejected {
        /// Which endpoint.
        endpoint: EndpointKey,
        /// By which measure.
        measure: EjectionMeasure,
        /// Why.
        reason: Arc<str>,
    },
    /// An ejected endpoint is back.
    EjectionEnded {
        /// Which endpoint.
        endpoint: EndpointKey,
    },
    /// An operator drained an endpoint or took it back.
    Drained {
        /// Which endpoint.
        endpoint: EndpointKey,
        /// Whether it is drained now.
        drained: bool,
    },
    /// A replica serves in place of its primary; see [`ReplicaStage`](crate::stages::ReplicaStage).
    Promoted {
        /// The replica.
        endpoint: EndpointKey,
        /// Its primary, as the replica calls it.
        primary: Arc<str>,
        /// What is wrong with the primary.
        reason: Arc<str>,
    },
    /// A replica has handed back to its primary.
    Demoted {
        /// The replica.
        endpoint: EndpointKey,
        /// Its primary, as the replica calls it.
        primary: Arc<str>,
    },
    /// The calls that were still in progress on a connection were ended, because its endpoint was removed or drained and their time was
    /// over.
    CallsEnded {
        /// Which endpoint.
        endpoint: EndpointKey,
        /// How many calls.
        calls: u32,
        /// Why, as the calls are told.
        reason: Arc<str>,
    },
    /// So few endpoints of the group in use are eligible that all of them are used, or no longer; see
    /// [`PanicRule`](crate::stages::PanicRule).
    Panic {
        /// The priority of the group.
        priority: u32,
        /// How many of its endpoints are eligible.
        eligible: u32,
        /// Of how many.
        of: u32,
        /// Whether it panics now.
        panicking: bool,
    },
    /// Calls go to another group of endpoints; see [`PriorityStage`](crate::stages::PriorityStage).
    Failover {
        /// What the group before is called.
        from: Arc<str>,
        /// What the group now is called.
        to: Arc<str>,
        /// The priority of the group now.
        priority: u32,
        /// Why.
        reason: Arc<str>,
    },
    /// An operator disabled an endpoint or enabled it.
    Disabled {
        /// Which endpoint.
        endpoint: EndpointKey,
        /// Whether it is disabled now.
        disabled: bool,
    },
    /// An endpoint serves at another share of calls, by hand, by its health check or by the registry.
    Degraded {
        /// Which endpoint.
        endpoint: EndpointKey,
        /// Its share now, in per cent of what its peers get; 100 if it is degraded no more.
        percent: u32,
    },
    /// An endpoint that is new, or has come back, begins at a small share of calls.
    RecoveryStarted {
        /// Which endpoint.
        endpoint: EndpointKey,
        /// Its share, in per cent of what its peers get.
        percent: u32,
    },
    /// Too many of its calls failed: a recovering endpoint begins anew.
    RecoveryFellBack {
        /// Which endpoint.
        endpoint: EndpointKey,
        /// Its share, in per cent of what its peers get.
        percent: u32,
        /// Why.
        reason: Arc<str>,
    },
    /// A recovering endpoint has its full share.
    RecoveryFinished {
        /// Which endpoint.
        endpoint: EndpointKey,
        /// Whether somebody forced it.
        forced: bool,
    },
    /// The channel changed state.
    ChannelState {
        /// Before.
        from: ConnectivityState,
        /// After.
        to: ConnectivityState,
    },
    /// An endpoint became overloaded, or no longer is; as [`detect_overload`](crate::advice::detect_overload) has it.
    Overloaded {
        /// Which endpoint.
        endpoint: EndpointKey,
        /// Whether it is overloaded now.
        overloaded: bool,
        /// Its load in per cent of its capacity.
        percent: u32,
    },
    /// There should be more or fewer endpoints; from a [`ScalingSignal`](crate::advice::ScalingSignal).
    ScalingAdvised {
        /// How many there are that can take calls.
        current: u32,
        /// How many there should be.
        desired: u32,
        /// Why.
        reason: Arc<str>,
    },
    /// Another policy took over.
    PolicyChanged {
        /// Its name.
        policy: Arc<str>,
    },
    /// The resolver could not answer; the last good set stands.
    ResolverFailed(Arc<str>),
    /// The resolver answers again.
    ResolverRecovered,
    /// A service config was refused; the last good one stands.
    ConfigRefused(Arc<str>),
    /// Another service config counts now.
    ConfigChanged(ConfigSource),
    /// The program's configuration changed, and what can change while a channel runs counts from now on.
    SettingsChanged {
        /// What changed, one to a line.
        changes: Arc<str>,
        /// How many of them count for new channels alone.
        waiting: u32,
    },
    /// A new configuration of the program was refused; the last good one stands.
    SettingsRefused(Arc<str>),
    /// A session left its endpoint for good. When very many move at once only some of them are told; statistics count all.
    SessionMoved {
        /// A hash of its id, the same for the same session as long as its table exists. The id itself is personal data, and is not told.
        session: u64,
        /// The endpoint it was at, by the name its table knows it by.
        from: Arc<str>,
        /// The endpoint it is at now.
        to: Arc<str>,
    },
    /// An endpoint's load is another than was told last, by 5 per cent of its capacity or more; or somebody set it. A channel looks once a
    /// second, while somebody listens, and tells of at most 64 endpoints then.
    LoadUpdated {
        /// Which endpoint.
        endpoint: EndpointKey,
        /// In per cent of its capacity.
        percent: u32,
    },
    /// A health check, the registry, or a program by hand says of an endpoint what was not said before. That it cannot be connected is a
    /// change of its [state](Self::SubchannelState) instead.
    HealthChanged {
        /// Which endpoint.
        endpoint: EndpointKey,
        /// Whether it may get calls.
        healthy: bool,
        /// What was said, if it is bad news.
        reason: Option<Arc<str>>,
    },
    /// A [circuit breaker](crate::breaker) changed.
    BreakerChanged {
        /// Of which endpoint.
        endpoint: EndpointKey,
        /// For which group of methods; `*` is all.
        group: Arc<str>,
        /// Before.
        from: BreakerState,
        /// After.
        to: BreakerState,
        /// Why.
        reason: BreakerReason,
    },
    /// A [selector](crate::selector), or calls, found no endpoint. A channel tells of all its calls of a second together.
    SelectionFailed {
        /// Why, in full, of the first of them: how many endpoints each condition removed.
        reason: Arc<str>,
        /// How many calls.
        calls: u64,
        /// How many of them for which kind of reason, such as `nothing_fits`; a selector does not say.
        reasons: BTreeMap<&'static str, u64>,
    },
    /// A subscriber was too slow and lost this many events; told to it alone.
    Lagged(u64),
}

impl LbEvent {
    /// Its kind in one word, as in its data form: what events are counted by.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::EndpointAdded(_) => "endpoint_added",
            Self::EndpointRemoved(_) => "endpoint_removed",
            Self::EndpointUpdated(_) => "endpoint_updated",
            Self::SubchannelState { .. } => "subchannel_state",
            Self::Connected { .. } => "connected",
            Self::ConnectFailed { .. } => "connect_failed",
            Self::Disconnected { .. } => "disconnected",
            Self::Ejected { .. } => "ejected",
            Self::EjectionEnded { .. } => "ejection_ended",
            Self::Drained { .. } => "drained",
            Self::Disabled { .. } => "disabled",
            Self::Degraded { .. } => "degraded",
            Self::RecoveryStarted { .. } => "recovery_started",
            Self::RecoveryFellBack { .. } => "recovery_fell_back",
            Self::RecoveryFinished { .. } => "recovery_finished",
            Self::Promoted { .. } => "promoted",
            Self::Demoted { .. } => "demoted",
            Self::Panic { .. } => "panic",
            Self::CallsEnded { .. } => "calls_ended",
            Self::Failover { .. } => "failover",
            Self::ChannelState { .. } => "channel_state",
            Self::Overloaded { .. } => "overloaded",
            Self::ScalingAdvised { .. } => "scaling_advised",
            Self::PolicyChanged { .. } => "policy_changed",
            Self::ResolverFailed(_) => "resolver_failed",
            Self::ResolverRecovered => "resolver_recovered",
            Self::ConfigRefused(_) => "config_refused",
            Self::ConfigChanged(_) => "config_changed",
            Self::SettingsChanged { .. } => "settings_changed",
            Self::SettingsRefused(_) => "settings_refused",
            Self::SessionMoved { .. } => "session_moved",
            Self::LoadUpdated { .. } => "load_updated",
            Self::HealthChanged { .. } => "health_changed",
            Self::BreakerChanged { .. } => "breaker_changed",
            Self::SelectionFailed { .. } => "selection_failed",
            Self::Lagged(_) => "lagged",
        }
    }
}

impl fmt::Display for LbEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::EndpointAdded(endpoint) => write!(f, "endpoint {endpoint} added"),
            Self::EndpointRemoved(endpoint) => write!(f, "endpoint {endpoint} removed"),
            Self::EndpointUpdated(endpoint) => write!(f, "endpoint {endpoint} updated"),
            Self::SubchannelState { endpoint, from, to, reason } => {
                write!(f, "endpoint {endpoint} {from} -> {to}")?;
                reason.as_ref().map_or(Ok(()), |reason| write!(f, ": {reason}"))
            }
            Self::Connected { endpoint, address } => write!(f, "endpoint {endpoint} connected at {address}"),
            Self::ConnectFailed { endpoint, reason } => write!(f, "endpoint {endpoint} cannot be connected: {reason}"),
            Self::Disconnected { endpoint, reason: Some(reason) } => write!(f, "endpoint {endpoint} disconnected: {reason}"),
            Self::Disconnected { endpoint, reason: None } => write!(f, "endpoint {endpoint} disconnected by this client"),
            Self::Ejected { endpoint, reason, .. } => write!(f, "endpoint {endpoint} {reason}"),
            Self::EjectionEnded { endpoint } => write!(f, "endpoint {endpoint} back from ejection"),
            Self::Drained { endpoint, drained: true } => write!(f, "endpoint {endpoint} drained"),
            Self::Drained { endpoint, drained: false } => write!(f, "endpoint {endpoint} back from drain"),
            Self::Promoted { endpoint, primary, reason } => write!(f, "endpoint {endpoint} serves in place of {primary}: {reason}"),
            Self::Demoted { endpoint, primary } => write!(f, "endpoint {endpoint} stands by for {primary} again"),
            Self::CallsEnded { endpoint, calls, reason } => write!(f, "{calls} calls to endpoint {endpoint} ended: {reason}"),
            Self::Panic { priority, eligible, of, panicking: true } => {
                write!(f, "only {eligible} of {of} endpoints of priority {priority} are eligible: all are used")
            }
            Self::Panic { priority, .. } => write!(f, "enough endpoints of priority {priority} are eligible again"),
            Self::Failover { from, to, reason, .. } => write!(f, "calls go to {to} instead of {from}: {reason}"),
            Self::Disabled { endpoint, disabled: true } => write!(f, "endpoint {endpoint} disabled"),
            Self::Disabled { endpoint, disabled: false } => write!(f, "endpoint {endpoint} enabled"),
            Self::Degraded { endpoint, percent: 100 } => write!(f, "endpoint {endpoint} no longer degraded"),
            Self::Degraded { endpoint, percent } => write!(f, "endpoint {endpoint} degraded to {percent} %"),
            Self::RecoveryStarted { endpoint, percent } => write!(f, "endpoint {endpoint} recovers from {percent} %"),
            Self::RecoveryFellBack { endpoint, percent, reason } => {
                write!(f, "endpoint {endpoint} fell back to {percent} %: {reason}")
            }
            Self::RecoveryFinished { endpoint, forced: false } => write!(f, "endpoint {endpoint} has recovered"),
            Self::RecoveryFinished { endpoint, forced: true } => write!(f, "endpoint {endpoint} has recovered by force"),
            Self::ChannelState { from, to } => write!(f, "channel {from} -> {to}"),
            Self::Overloaded { endpoint, overloaded: true, percent } => write!(f, "endpoint {endpoint} overloaded at {percent} %"),
            Self::Overloaded { endpoint, percent, .. } => write!(f, "endpoint {endpoint} no longer overloaded at {percent} %"),
            Self::ScalingAdvised { current, desired, reason } => {
                write!(f, "{desired} endpoints advised, there are {current}: {reason}")
            }
            Self::PolicyChanged { policy } => write!(f, "policy {policy} took over"),
            Self::ResolverFailed(error) => write!(f, "resolver failed, last good set stands: {error}"),
            Self::ResolverRecovered => f.write_str("resolver answers again"),
            Self::ConfigRefused(error) => write!(f, "service config refused: {error}"),
            Self::ConfigChanged(source) => write!(f, "service config changed: {source} counts now"),
            Self::SettingsChanged { changes, waiting: 0 } => write!(f, "configuration changed: {changes}"),
            Self::SettingsChanged { changes, waiting } => {
                write!(f, "configuration changed, {waiting} of it for new channels alone: {changes}")
            }
            Self::SettingsRefused(problems) => write!(f, "configuration refused, the last good one stands: {problems}"),
            Self::SessionMoved { session, from, to } => write!(f, "session {session:016x} moved from {from} to {to}"),
            Self::LoadUpdated { endpoint, percent } => write!(f, "endpoint {endpoint} at a load of {percent} %"),
            Self::HealthChanged { endpoint, healthy, reason } => {
                write!(f, "endpoint {endpoint} {}", if *healthy { "healthy" } else { "unhealthy" })?;
                reason.as_ref().map_or(Ok(()), |reason| write!(f, ": {reason}"))
            }
            Self::BreakerChanged { endpoint, group, from, to, reason } => {
                let group = if **group == *"*" { String::new() } else { format!(" for {group}") };
                write!(f, "breaker of {endpoint}{group} {from} -> {to}: {reason}")
            }
            Self::SelectionFailed { reason, calls: 1, .. } => write!(f, "selection failed: {reason}"),
            Self::SelectionFailed { reason, calls, .. } => write!(f, "selection failed for {calls} calls, the first: {reason}"),
            Self::Lagged(lost) => write!(f, "{lost} events lost by a slow subscriber"),
        }
    }
}

impl From<BreakerChange> for LbEvent {
    fn from(change: BreakerChange) -> Self {
        let BreakerChange { endpoint, group, from, to, reason } = change;
        Self::BreakerChanged { endpoint, group, from, to, reason }
    }
}
