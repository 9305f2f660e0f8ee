//! What the machine publishes: everything a call needs to pick, as one immutable value.

use std::sync::Arc;

use crate::attributes::RegistryHealth;
use crate::connectivity::ConnectivityState;
use crate::gate::Post;
use crate::health::Health;
use crate::load::LoadReports;
use crate::pick::{Always, Picker};
use crate::policy::SubchannelView;
use crate::recovery::Recovering;
use crate::share::Shares;
use crate::stages::{EjectionCounts, FailoverState, PanicState, Promotion};
use crate::wishes::{Derived, load_of};

/// One generation of a channel.
#[derive(Debug)]
#[non_exhaustive]
pub struct Snapshot {
    /// Counts up by one with every publication.
    pub generation: u64,
    /// The state of the channel.
    pub state: ConnectivityState,
    /// Pickers by policy name; the first is the channel's own.
    pub pickers: Box<[NamedPicker]>,
    /// Every subchannel in the resolver's order, those no policy may use included.
    pub rows: Box<[Row]>,
    /// The endpoints on their way to the full share, in no particular order.
    pub recovering: Box<[Recovering]>,
    /// Which load reports the policies want.
    pub load_reports: LoadReports,
    /// Which group of endpoints is in use; `None` without endpoints, or if the policy uses all groups at once.
    pub failover: Option<FailoverState>,
    /// The replicas that serve in place of their primaries.
    pub promotions: Box<[Promotion]>,
    /// The group of endpoints that panics, if one does.
    pub panic: Option<PanicState>,
    /// Whom [outlier detection](crate::stages::OutlierStage) has found so far.
    pub ejections: EjectionCounts,
    /// Endpoints with gates by slot index; empty if there are none.
    pub(crate) posts: Box<[Option<Post>]>,
    /// The endpoints of lesser share; `None` if there are none.
    pub(crate) shares: Option<Arc<Shares>>,
    /// Pickers over fewer endpoints, and what else calls with wishes have needed so far.
    pub(crate) derived: Derived,
}

/// A policy's picker and the name calls ask for it by.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct NamedPicker {
    /// The policy's name.
    pub name: Arc<str>,
    /// Its picker for this generation.
    pub picker: Arc<dyn Picker>,
}

/// One subchannel in a snapshot.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Row {
    /// The subchannel as the policies see it, or would see it.
    pub view: SubchannelView,
    /// The stage that hides it from the policies, if one does.
    pub excluded: Option<&'static str>,
}

impl Row {
    /// Whether it is READY and no stage hides it.
    pub fn takes_calls(&self) -> bool {
        self.excluded.is_none() && self.view.state == ConnectivityState::Ready
    }

    /// What is known of its health. A drained or disabled endpoint is as healthy as it was.
    pub fn health(&self) -> Health {
        let unhealthy = self.view.endpoint.attributes.health == RegistryHealth::Unhealthy;
        match self.view.state {
            _ if unhealthy || self.view.ejected.is_some() => Health::Unhealthy,
            ConnectivityState::Ready => Health::Healthy,
            ConnectivityState::TransientFailure => Health::Unhealthy,
            ConnectivityState::Idle | ConnectivityState::Connecting | ConnectivityState::Shutdown => Health::Unknown,
        }
    }

    /// How busy the endpoint is now, from 0: the greater of what its calls take of its [capacity](crate::Attributes::capacity) and the
    /// utilisation its server reports; `None` if neither is known.
    pub fn load(&self) -> Option<f64> {
        load_of(&self.view.stats, self.view.endpoint.attributes.capacity)
    }
}

impl Snapshot {
    /// Generation 0: IDLE, nothing known. What a channel shows until its machine has published for the first time.
    pub fn initial() -> Self {
        let picker = NamedPicker { name: "".into(), picker: Always::queue() };
        Self {
            generation: 0,
            state: ConnectivityState::Idle,
            pickers: [picker].into(),
            rows: Box::default(),
            posts: Box::default(),
            recovering: Box::default(),
            shares: None,
            load_reports: LoadReports::default(),
            failover: None,
            promotions: Box::default(),
            panic: None,
            ejections: EjectionCounts::default(),
            derived: Derived::default(),
        }
    }

    /// The picker of the channel's own policy, or of the one asked for.
    pub fn picker(&self, policy: Option<&str>) -> Option<&Arc<dyn Picker>> {
        self.named(policy).map(|(_, picker)| picker)
    }

    /// The same with its position.
    #[inline]
    pub(crate) fn named(&self, policy: Option<&str>) -> Option<(usize, &Arc<dyn Picker>)> {
        match policy {
            None => self.pickers.first().map(|named| (0, named)),
            Some(name) => self.pickers.iter().enumerate().find(|(_, candidate)| *candidate.name == *name),
        }
        .map(|(at, named)| (at, &named.picker))
    }

    /// Whether the resolver has answered, if only to say that it cannot.
    pub fn is_resolved(&self) -> bool {
        !self.rows.is_empty() || matches!(self.state, ConnectivityState::Ready | ConnectivityState::TransientFailure)
    }

    /// The name of the channel's own policy.
    pub fn policy(&self) -> &str {
        self.pickers.first().map_or("", |named| &named.name)
    }
}
