//! Which service config counts, and what changes when another one does.
//!
//! There can be three: the program's, set while the channel runs; the resolver's; and the default one the channel was built with. The first
//! of them that is there counts, whole. One that cannot be used never replaces one that can: the endpoints that came with it still count,
//! an event says so, and the resolver is asked again with growing delays. If there is nothing else to go by, calls fail with the reason
//! (gRFC A21).
//!
//! Whatever stays the same stays untouched: a policy keeps its state, a health check its stream.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use lb_core::drops::{DropOverloads, Dropper};
use lb_core::machine::{Command, NamedPolicy};
use lb_core::service_config::{ConfigSource, PolicyConfig, ServiceConfig};
use lb_core::{Backoff, BackoffConfig, Entropy, LbEvent, PolicyRegistry, ServiceConfigUpdate};
use serde_json::Value;

use crate::limits::{Gates, LimitChanges, LimitsConfig};
use crate::rules::Rules;

/// What a channel is built with.
#[derive(Debug)]
pub(crate) struct ConfigSettings {
    pub(crate) registry: PolicyRegistry,
    /// The channel's own policy, for configs that name none; `None` if it was given as a value, of which there is only one.
    pub(crate) policy: Option<PolicyConfig>,
    pub(crate) default: Option<Arc<ServiceConfig>>,
    /// Whether the resolver's configs count.
    pub(crate) follow_resolver: bool,
    /// Whether health is checked only while a config names a service.
    pub(crate) health_by_config: bool,
    /// The channel's own limits and breakers, for what configs do not say.
    pub(crate) limits: LimitsConfig,
    /// What endpoints have gates for.
    pub(crate) gates: Gates,
}

/// See the module's essay.
#[derive(Debug)]
pub(crate) struct ServiceConfigs {
    settings: ConfigSettings,
    resolver: Offer,
    program: Option<Arc<ServiceConfig>>,
    used: Option<Arc<ServiceConfig>>,
    /// What drops calls; `None` if nothing ever did.
    drops: Option<Arc<Dropper>>,
    retry: Retry,
    /// Whether what calls see is to be published.
    unpublished: bool,
}

/// What the resolver has offered.
#[derive(Debug, Default)]
struct Offer {
    /// Whether it has said anything yet, a broken config included.
    answered: bool,
    /// Whether it has said something that could be used; none at all can.
    accepted: bool,
    /// The last one accepted, as it came and as it was read.
    config: Option<(Value, Arc<ServiceConfig>)>,
    /// Why the last one was refused.
    refused: Option<Arc<str>>,
}

/// When the resolver is asked again for a config that can be used.
#[derive(Debug)]
struct Retry {
    backoff: Backoff,
    entropy: Entropy,
    at: Option<Instant>,
}

/// What follows from news.
#[derive(Debug, Default)]
pub(crate) struct Consequences {
    pub(crate) commands: Vec<Command>,
    pub(crate) events: Vec<LbEvent>,
    /// The service whose health is to be watched from now on, if that has changed.
    pub(crate) health_service: Option<Option<Arc<str>>>,
    /// The limits and breakers that are others from now on.
    pub(crate) limits: Option<LimitChanges>,
}

impl ServiceConfigs {
    pub(crate) fn new(settings: ConfigSettings, backoff: BackoffConfig, seed: u64) -> Self {
        let retry = Retry { backoff: Backoff::new(backoff), entropy: Entropy::from_seed(seed), at: None };
        let used = settings.default.clone();
        let drops = settings.limits.under(used.as_deref()).drops;
        let drops = (!drops.is_empty()).then(|| Arc::new(Dropper::new(drops)));
        Self { settings, resolver: Offer::default(), program: None, used, drops, retry, unpublished: false }
    }

    /// The policy the config in use asks for.
    pub(crate) fn policy(&self) -> Option<&PolicyConfig> {
        self.used.as_ref()?.policy.as_ref()
    }

    /// The policies of the methods, to begin with.
    pub(crate) fn first_policies(&self) -> Vec<NamedPolicy> {
        policies(&self.used).filter_map(|(name, policy)| self.build(&name, policy)).collect()
    }

    /// Which service's health is watched to begin with.
    pub(crate) fn health_service(&self) -> Option<Arc<str>> {
        self.used.as_ref()?.health_service.clone()
    }

    /// The limits and breakers to begin with.
    pub(crate) fn limits(&self) -> LimitsConfig {
        self.settings.limits.under(self.used.as_deref())
    }

    /// What endpoints get gates for.
    pub(crate) fn gates(&self) -> Gates {
        self.settings.gates
    }

    /// What calls see.
    pub(crate) fn rules(&self) -> Rules {
        let settled = self.program.is_some() || !self.settings.follow_resolver || self.resolver.answered;
        Rules::new(self.used.clone(), settled).with_drops(self.drops.clone())
    }

    /// Whether the rules are others than those that were published last.
    pub(crate) fn take_unpublished(&mut self) -> bool {
        std::mem::take(&mut self.unpublished)
    }

    /// When the resolver is to be asked again for a config that can be used.
    pub(crate) fn retry_at(&self) -> Option<Instant> {
        self.retry.at
    }

    /// The resolver is being asked.
    pub(crate) fn retried(&mut self) {
        self.retry.at = None;
    }

    /// The resolver was let go; the next one begins anew, with the config that counts now.
    pub(crate) fn resolver_stopped(&mut self) {
        self.retry.at = None;
        self.resolver.refused = None;
    }

    /// Why the resolver's last config was refused, if it was.
    pub(crate) fn refused(&self) -> Option<&Arc<str>> {
        self.resolver.refused.as_ref()
    }

    /// The resolver's answer brought this.
    pub(crate) fn resolved(&mut self, now: Instant, update: &ServiceConfigUpdate) -> Consequences {
        if !self.settings.follow_resolver {
            return Consequences::default();
        }
        let mut consequences = Consequences::default();
        self.unpublished |= !std::mem::replace(&mut self.resolver.answered, true);
        match self.read(update) {
            Ok(config) => self.accepted(config, &mut consequences),
            Err(reason) => self.refuse(now, reason, &mut consequences),
        }
        self.choose(&mut consequences);
        consequences
    }

    /// The program sets a config, or takes it back.
    pub(crate) fn set(&mut self, config: Option<Arc<ServiceConfig>>) -> Consequences {
        let mut consequences = Consequences::default();
        self.unpublished = true;
        self.program = config;
        self.withhold(&mut consequences);
        self.choose(&mut consequences);
        consequences
    }

    fn read(&self, update: &ServiceConfigUpdate) -> Result<Option<(Value, Arc<ServiceConfig>)>, Arc<str>> {
        let json = match update {
            ServiceConfigUpdate::Json(json) => json,
            ServiceConfigUpdate::Broken(reason) => return Err(Arc::clone(reason)),
            _ => return Ok(None),
        };
        if let Some(known) = self.resolver.config.as_ref().filter(|(known, _)| known == json) {
            return Ok(Some(known.clone()));
        }
        let config = ServiceConfig::from_json(json, &self.settings.registry);
        let config = config.and_then(|config| self.settings.gates.check(&config).map(|()| config));
        let config = config.map_err(|error| Arc::from(error.to_string()))?;
        Ok(Some((json.clone(), Arc::new(config))))
    }

    fn accepted(&mut self, config: Option<(Value, Arc<ServiceConfig>)>, consequences: &mut Consequences) {
        self.retry.at = None;
        self.retry.backoff.reset();
        self.resolver.accepted = true;
        self.resolver.config = config;
        if self.resolver.refused.take().is_some() {
            self.withhold(consequences);
        }
    }

    fn refuse(&mut self, now: Instant, reason: Arc<str>, consequences: &mut Consequences) {
        self.retry.at = Some(self.retry.backoff.begin(now, self.retry.entropy.draw()).retry_at);
        // The same again is no news.
        if self.resolver.refused.as_ref() != Some(&reason) {
            consequences.events.push(LbEvent::ConfigRefused(Arc::clone(&reason)));
            self.resolver.refused = Some(reason);
            self.withhold(consequences);
        }
    }

    /// Lets no call through while there is a config that cannot be used and none to go by.
    fn withhold(&self, consequences: &mut Consequences) {
        let nothing_else = !self.resolver.accepted && self.settings.default.is_none() && self.program.is_none();
        let reason = self.resolver.refused.as_ref().filter(|_| nothing_else);
        let reason = reason.map(|reason| format!("the service config was refused: {reason}").into());
        consequences.commands.push(Command::Withhold(reason));
    }

    /// Takes the config that counts now.
    fn choose(&mut self, consequences: &mut Consequences) {
        let resolver = self.resolver.config.as_ref().map(|(_, config)| config);
        let (source, next) = match (&self.program, resolver) {
            (Some(program), _) => (ConfigSource::Program, Some(program)),
            (None, Some(resolver)) => (ConfigSource::Resolver, Some(resolver)),
            (None, None) => (ConfigSource::Default, self.settings.default.as_ref()),
        };
        let (next, before) = (next.cloned(), self.used.take());
        if before != next {
            self.unpublished = true;
            consequences.events.push(LbEvent::ConfigChanged(source));
            self.switch_policy(before.as_deref(), next.as_deref(), consequences);
            let health = |config: &Option<Arc<ServiceConfig>>| config.as_ref().and_then(|config| config.health_service.clone());
            consequences.health_service = Some(health(&next)).filter(|service| *service != health(&before));
            self.exchange_policies(&before, &next, consequences);
            let [before, after] = [&before, &next].map(|config| self.settings.limits.under(config.as_deref()));
            if before.drops != after.drops {
                self.drop_by(after.drops.clone());
            }
            consequences.limits = LimitChanges::between(&before, after);
        }
        self.used = next;
    }

    /// Drops by another list from now on. What is counted goes on.
    fn drop_by(&mut self, drops: DropOverloads) {
        let dropper = self.drops.as_ref().map_or_else(|| Dropper::new(drops.clone()), |before| before.after(drops.clone()));
        self.drops = Some(Arc::new(dropper));
    }

    fn switch_policy(&self, before: Option<&ServiceConfig>, next: Option<&ServiceConfig>, consequences: &mut Consequences) {
        let of = |config: Option<&ServiceConfig>| config.and_then(|config| config.policy.clone());
        let (before, next) = (of(before), of(next));
        if before == next {
            return;
        }
        let policy = next.or_else(|| self.settings.policy.clone());
        let policy = policy.and_then(|policy| policy.build(&self.settings.registry).ok());
        consequences.commands.extend(policy.map(Command::SetPolicy));
    }

    /// Adds the policies that methods have now, and removes those they had: afterwards, so that what they learnt is taken over.
    fn exchange_policies(
        &self,
        before: &Option<Arc<ServiceConfig>>,
        next: &Option<Arc<ServiceConfig>>,
        consequences: &mut Consequences,
    ) {
        let mut predecessors = match (before, next) {
            (Some(before), Some(next)) => next.methods.predecessors(&before.methods),
            _ => BTreeMap::new(),
        };
        for (name, policy) in policies(next) {
            if policies(before).all(|(other, _)| other != name) {
                let policy = self.build(&name, policy).map(|policy| policy.following(predecessors.remove(&name)));
                consequences.commands.extend(policy.map(Command::AddPolicy));
            }
        }
        for (name, _) in policies(before) {
            if policies(next).all(|(other, _)| other != name) {
                consequences.commands.push(Command::RemovePolicy(name));
            }
        }
    }

    /// It was built before from the same configuration; only a builder that changes its mind has nothing to answer.
    fn build(&self, name: &Arc<str>, policy: &PolicyConfig) -> Option<NamedPolicy> {
        let built = policy.build(&self.settings.registry).ok()?;
        Some(NamedPolicy::new(Arc::clone(name), built.policy))
    }

    /// Whether health is checked when the config names this service, or none.
    pub(crate) fn checks_health(&self, service: Option<&Arc<str>>) -> bool {
        !self.settings.health_by_config || service.is_some()
    }
}

fn policies(config: &Option<Arc<ServiceConfig>>) -> impl Iterator<Item = (Arc<str>, &PolicyConfig)> {
    config.iter().flat_map(|config| config.methods.policies())
}

#[cfg(test)]
#[path = "service_config_tests.rs"]
mod tests;
