//! What the service config says of one call.
//!
//! A call looks its method up once, in the snapshot it is picked from first, and keeps what it finds to its end: another config on the way
//! does not change it. Only a call that waits for the resolver's first answer, which may bring a config, looks again.

use std::sync::Arc;
use std::time::Duration;

use lb_core::PickHints;
use lb_core::service_config::MethodConfig;
use tokio::time::Instant;

use crate::rules::Rules;

/// The method config of a call, if there is one.
#[derive(Debug, Clone, Default)]
pub(crate) struct Configured {
    method: Option<Arc<MethodConfig>>,
    /// Whether it is the last word.
    settled: bool,
    /// Whether the policy of the call's own wishes is the method's.
    lent: bool,
    /// Whether the method's policy is no more.
    given_up: bool,
    /// When a call is out of time whose method was looked up too late for its own deadline to know.
    until: Option<Instant>,
}

impl Configured {
    /// Looks the method up, unless that was done with a config that still counts. `hints` are the call's own wishes.
    #[inline]
    pub(super) fn look_up(&mut self, rules: &Rules, path: &str, hints: &mut Option<Box<PickHints>>) {
        if self.settled {
            return;
        }
        self.settled = rules.settled;
        if let Some(methods) = &rules.methods {
            self.keep(methods.find(path), hints);
        } else if self.method.is_some() {
            self.keep(None, hints);
        }
    }

    /// Its method is of no concern: nothing will be looked up.
    pub(crate) fn none() -> Self {
        Self { settled: true, ..Self::default() }
    }

    fn keep(&mut self, method: Option<&Arc<MethodConfig>>, hints: &mut Option<Box<PickHints>>) {
        self.method = method.cloned();
        let Some(hints) = hints else { return };
        if std::mem::take(&mut self.lent) {
            hints.policy = None;
        }
        if hints.policy.is_none() {
            hints.policy = method.and_then(|method| method.policy_name()).cloned();
            self.lent = hints.policy.is_some();
        }
    }

    #[inline]
    pub(crate) fn method(&self) -> Option<&Arc<MethodConfig>> {
        self.method.as_ref()
    }

    /// What is wished by a call that has no wishes of its own.
    #[inline]
    pub(super) fn hints(&self) -> Option<&PickHints> {
        self.method.as_ref()?.hints().filter(|_| !self.given_up)
    }

    /// Goes on with the channel's policy, if this one is the method's: another config has removed it while the call was waiting.
    pub(super) fn give_up_policy(&mut self, name: &Arc<str>, hints: &mut Option<Box<PickHints>>) -> bool {
        let is_ours = self.method.as_ref().and_then(|method| method.policy_name()) == Some(name);
        match hints {
            Some(hints) if is_ours && std::mem::take(&mut self.lent) => hints.policy = None,
            None if is_ours && !self.given_up => self.given_up = true,
            _ => return false,
        }
        true
    }

    /// Whether a call that began to look for an endpoint at `started` is out of time by the config it has found since.
    pub(super) fn is_too_late(&mut self, started: Instant) -> bool {
        // A time that cannot be added to the present is no deadline.
        self.until = self.timeout().and_then(|timeout| started.checked_add(timeout));
        self.until.is_some_and(|until| until <= Instant::now())
    }

    /// See [`is_too_late`](Self::is_too_late).
    pub(super) fn until(&self) -> Option<Instant> {
        self.until
    }

    #[inline]
    pub(super) fn is_settled(&self) -> bool {
        self.settled
    }

    #[inline]
    pub(super) fn timeout(&self) -> Option<Duration> {
        self.method()?.timeout
    }

    #[inline]
    pub(super) fn wait_for_ready(&self) -> Option<bool> {
        self.method()?.wait_for_ready
    }

    /// The smaller of the channel's limit and the method's.
    #[inline]
    pub(super) fn max_request(&self, channel: Option<usize>) -> Option<usize> {
        smaller(channel, self.method.as_ref().and_then(|method| method.max_request_message))
    }

    /// Likewise.
    #[inline]
    pub(super) fn max_response(&self, channel: Option<usize>) -> Option<usize> {
        smaller(channel, self.method.as_ref().and_then(|method| method.max_response_message))
    }
}

#[inline]
fn smaller(channel: Option<usize>, method: Option<u32>) -> Option<usize> {
    // Most calls have no limit of their method.
    let Some(method) = method else { return channel };
    let method = usize::try_from(method).unwrap_or(usize::MAX);
    Some(channel.map_or(method, |channel| channel.min(method)))
}

#[cfg(test)]
mod tests {
    use lb_core::PolicyRegistry;
    use lb_core::service_config::ServiceConfig;
    use serde_json::{Value, json};

    use super::*;

    fn rules(config: &Value, settled: bool) -> Rules {
        let config = ServiceConfig::from_json(config, &PolicyRegistry::default()).unwrap();
        Rules::new(Some(Arc::new(config)), settled)
    }

    fn with_policy(policy: &str, timeout: &str) -> Value {
        json!({"methodConfig": [{"name": [{}], "timeout": timeout, "loadBalancingConfig": [{policy: {}}]}]})
    }

    fn wished(configured: &Configured, hints: &Option<Box<PickHints>>) -> Option<String> {
        hints.as_deref().or_else(|| configured.hints())?.policy.as_deref().map(str::to_owned)
    }

    #[test]
    fn the_methods_policy_is_wished_unless_the_call_wishes_another() {
        let rules = rules(&with_policy("random", "1s"), true);
        for (mut hints, expected) in [
            (None, "random {}"),
            (Some(Box::new(PickHints::new().cost(3))), "random {}"),
            (Some(Box::new(PickHints::new().policy("own"))), "own"),
        ] {
            let mut configured = Configured::default();
            configured.look_up(&rules, "/a/b", &mut hints);
            assert_eq!(wished(&configured, &hints).as_deref(), Some(expected));
            let name = rules.methods.as_ref().and_then(|methods| methods.find("/a/b")?.policy_name().cloned()).unwrap();
            assert_eq!(configured.give_up_policy(&name, &mut hints), expected == "random {}");
            assert!(!configured.give_up_policy(&name, &mut hints), "once");
            assert_eq!(wished(&configured, &hints).as_deref(), (expected == "own").then_some("own"));
        }
    }

    #[test]
    fn what_is_settled_stays_and_what_is_not_follows_the_resolvers_first_config() {
        let mut hints = Some(Box::new(PickHints::new().cost(1)));
        let mut configured = Configured::default();
        configured.look_up(&rules(&with_policy("random", "1s"), false), "/a/b", &mut hints);
        assert_eq!((configured.timeout(), configured.is_settled()), (Some(Duration::from_secs(1)), false));
        configured.look_up(&rules(&with_policy("round_robin", "2s"), true), "/a/b", &mut hints);
        configured.look_up(&rules(&with_policy("random", "3s"), true), "/a/b", &mut hints);
        assert_eq!((configured.timeout(), configured.is_settled()), (Some(Duration::from_secs(2)), true));
        assert_eq!(wished(&configured, &hints).as_deref(), Some("round_robin {}"));

        let mut configured = Configured::default();
        configured.look_up(&rules(&with_policy("random", "1s"), false), "/a/b", &mut None);
        configured.look_up(&Rules::new(None, true), "/a/b", &mut None);
        assert_eq!((configured.timeout(), configured.hints()), (None, None));
    }

    #[test]
    fn the_smaller_limit_counts_and_zero_is_one() {
        assert_eq!((smaller(None, None), smaller(Some(5), None), smaller(None, Some(0))), (None, Some(5), Some(0)));
        assert_eq!((smaller(Some(5), Some(9)), smaller(Some(9), Some(5))), (Some(5), Some(5)));
    }
}
