//! How a channel keeps sessions together.

use std::sync::Arc;
use std::time::Duration;

use lb_core::machine::NamedPolicy;
use lb_core::sessions::{SessionFate, SessionLimits, SessionRules};
use lb_core::{ConfigError, Endpoint, PolicyRegistry};

use crate::policy_choice::PolicyChoice;

use super::seek::{ChannelSessions, Way};
use super::store::SessionStore;
use super::token::SessionTokens;

/// A handshake over a far network takes half a second; with a first packet that is lost and sent again, a second more.
const PATIENCE: Duration = Duration::from_secs(2);

/// How a channel keeps the calls of a session together.
///
/// ```
/// # use std::time::Duration;
/// # use lb_core::sessions::SessionLimits;
/// # use lb_tonic::{LbChannel, SessionConfig};
/// # fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let limits = SessionLimits::try_new(Duration::from_secs(300), Duration::from_secs(1800), 100_000)?;
/// let channel = LbChannel::builder("dns:///rooms.internal:50051").sessions(SessionConfig::table(limits)).build()?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
#[must_use = "it takes effect where it is given to a builder"]
pub struct SessionConfig {
    way: WayConfig,
    rules: SessionRules,
    patience: Duration,
    naming: Naming,
}

#[derive(Debug)]
enum WayConfig {
    Store(SessionStore),
    Hash(PolicyChoice),
    Token(SessionTokens),
}

/// How endpoints are named in tables and tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Naming {
    Key,
    Id,
}

/// What a channel is built from.
pub(crate) struct Prepared {
    pub(crate) sessions: ChannelSessions,
    /// The policy that hashes sessions.
    pub(crate) policy: Option<NamedPolicy>,
}

impl SessionConfig {
    /// A table of the channel's own: exact, and a session moves only when its endpoint goes.
    pub fn table(limits: SessionLimits) -> Self {
        Self::shared(SessionStore::new(limits))
    }

    /// A table that several channels may share, or that the program keeps for longer than the channel.
    pub fn shared(store: SessionStore) -> Self {
        Self::new(WayConfig::Store(store))
    }

    /// No table: this policy, which should be one that hashes, picks for the calls that have a session, with the session as hash key. A
    /// call that brings a hash key or a policy of its own keeps it. If the channel's own policy has that name, it picks, with its own
    /// configuration.
    pub fn hash(policy: impl Into<PolicyChoice>) -> Self {
        Self::new(WayConfig::Hash(policy.into()))
    }

    /// No table: the caller carries a signed token that names the endpoint.
    pub fn token(tokens: SessionTokens) -> Self {
        Self::new(WayConfig::Token(tokens))
    }

    fn new(way: WayConfig) -> Self {
        Self { way, rules: SessionRules::default(), patience: PATIENCE, naming: Naming::Key }
    }

    /// What becomes of a session whose endpoint cannot take its call. Lent calls of a token go wherever the policy sends each, because
    /// nothing remembers a guest. No use to hashing.
    pub fn rules(mut self, rules: SessionRules) -> Self {
        self.rules = rules;
        self
    }

    /// How long the calls of a session wait for an endpoint that is connecting before it counts as failing; default 2 s. Zero does not
    /// wait at all. No use to hashing.
    pub fn patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// For channels to several services whose endpoints carry [ids](lb_core::Attributes::id), and that share a store or the keys of
    /// tokens: the calls of a session go to the endpoint of the same id in each service, such as the one on the same machine. A
    /// service that has no such endpoint, or has lost it, lends the session to another of its own, and does not move it for all.
    pub fn across_services(mut self) -> Self {
        self.naming = Naming::Id;
        self.rules.gone = SessionFate::Lend;
        self
    }

    pub(crate) fn prepare(self, registry: &PolicyRegistry) -> Result<Prepared, ConfigError> {
        let (way, policy) = match self.way {
            WayConfig::Store(store) => (Way::Table(store), None),
            WayConfig::Hash(policy) => {
                let policy = policy.build(registry)?;
                (Way::Hash(Arc::clone(&policy.name)), Some(policy))
            }
            WayConfig::Token(tokens) => (Way::Token(tokens), None),
        };
        Ok(Prepared { sessions: ChannelSessions::new(way, self.rules, self.patience, self.naming), policy })
    }
}

impl Default for SessionConfig {
    /// A table with default limits.
    fn default() -> Self {
        Self::table(SessionLimits::default())
    }
}

impl Naming {
    /// The name of an endpoint; no copy of the text.
    pub(crate) fn of(self, endpoint: &Endpoint) -> Arc<str> {
        match &endpoint.attributes.id {
            Some(id) if self == Self::Id => Arc::clone(id),
            _ => endpoint.key().clone().into(),
        }
    }
}
