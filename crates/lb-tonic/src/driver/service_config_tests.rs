use std::time::Duration;

use lb_core::ServiceConfigUpdate::{Absent, Json};
use lb_core::breaker::BreakerConfig;
use serde_json::json;

use super::*;

struct Given {
    configs: ServiceConfigs,
    now: Instant,
}

impl Given {
    fn with(default: Option<Value>, policy: Option<&str>) -> Self {
        let registry = PolicyRegistry::default();
        let settings = ConfigSettings {
            policy: policy.map(|name| PolicyConfig::try_new(name, json!({}), &registry).unwrap()),
            default: default.map(|default| Arc::new(ServiceConfig::from_json(&default, &registry).unwrap())),
            registry,
            follow_resolver: true,
            health_by_config: false,
            limits: LimitsConfig::default(),
            gates: Gates::default(),
        };
        Self { configs: ServiceConfigs::new(settings, BackoffConfig::default(), 1), now: Instant::now() }
    }

    fn new() -> Self {
        Self::with(None, Some("round_robin"))
    }

    fn resolved(&mut self, update: impl Into<ServiceConfigUpdate>) -> Vec<String> {
        told(self.configs.resolved(self.now, &update.into()))
    }

    fn set(&mut self, config: Option<Value>) -> Vec<String> {
        let registry = PolicyRegistry::default();
        let config = config.map(|config| Arc::new(ServiceConfig::from_json(&config, &registry).unwrap()));
        told(self.configs.set(config))
    }
}

/// What is done, but for taking back what was not there.
fn told(consequences: Consequences) -> Vec<String> {
    let command = |command: Command| match command {
        Command::SetPolicy(policy) => Some(format!("set {}", policy.name)),
        Command::AddPolicy(policy) => {
            let follows = policy.follows.map_or_else(String::new, |name| format!(" after {name}"));
            Some(format!("add {}{follows}", policy.name))
        }
        Command::RemovePolicy(name) => Some(format!("remove {name}")),
        Command::Withhold(reason) => reason.map(|_| "withhold".to_owned()),
        other => Some(format!("{other:?}")),
    };
    let events = consequences.events.into_iter().map(|event| match event {
        LbEvent::ConfigChanged(source) => format!("{source:?}"),
        LbEvent::ConfigRefused(_) => "refused".to_owned(),
        other => other.to_string(),
    });
    let health = consequences.health_service.into_iter().map(|service| format!("health {service:?}"));
    let limits = consequences.limits.unwrap_or_default();
    let rates = limits.rates.map(|rates| format!("rates {}", rates.channel.is_some()));
    let concurrency = limits.concurrency.map(|limit| format!("concurrency {}", limit.is_some()));
    let breaker = limits.breaker.map(|breaker| format!("breaker {:?}", breaker.and_then(|breaker| breaker.consecutive_failures)));
    let requests = limits.max_requests.map(|max| format!("requests {max:?}"));
    let per_endpoint = limits.max_requests_per_endpoint.map(|max| format!("per endpoint {max:?}"));
    let limits = [rates, concurrency, breaker, requests, per_endpoint].into_iter().flatten();
    let commands = consequences.commands.into_iter().filter_map(command);
    events.chain(commands).chain(health).chain(limits).collect()
}

fn policy(name: &str) -> Value {
    json!({"loadBalancingConfig": [{name: {}}]})
}

fn method_policy(name: &str) -> Value {
    json!({"methodConfig": [{"name": [{}], "loadBalancingConfig": [{name: {}}]}]})
}

fn bad() -> Value {
    json!({"methodConfig": [{"timeout": "soon"}]})
}

#[test]
fn the_same_again_is_nothing_and_none_at_all_is_the_default() {
    let mut given = Given::new();
    assert_eq!(given.resolved(Absent), [""; 0]);
    assert_eq!(given.resolved(policy("random")), ["Resolver", "set random"]);
    assert_eq!(given.resolved(policy("random")), [""; 0]);
    let mut more = policy("random");
    more["methodConfig"] = json!([{"name": [{}], "timeout": "1s"}]);
    assert_eq!(given.resolved(more), ["Resolver"], "the policy is the same and keeps its state");
    assert_eq!(given.resolved(Absent), ["Default", "set round_robin"]);
    assert_eq!(given.resolved(Absent), [""; 0]);

    let mut given = Given::with(Some(policy("least_request")), None);
    assert_eq!(given.resolved(policy("random")), ["Resolver", "set random"]);
    assert_eq!(given.resolved(Absent), ["Default", "set least_request"]);
}

#[test]
fn a_config_without_a_policy_brings_the_channels_own_back_if_it_can_be_made_again() {
    let mut given = Given::new();
    given.resolved(policy("random"));
    assert_eq!(given.resolved(json!({})), ["Resolver", "set round_robin"]);
    let mut given = Given::with(None, None);
    given.resolved(policy("random"));
    assert_eq!(given.resolved(json!({})), ["Resolver"]);
}

#[test]
fn bad_first_withholds_and_good_lets_go() {
    let mut given = Given::new();
    assert_eq!(given.resolved(bad()), ["refused", "withhold"]);
    assert!(given.configs.rules().settled && given.configs.refused().is_some());
    assert_eq!(given.resolved(bad()), [""; 0], "it is no news");
    assert_eq!(given.resolved(policy("random")), ["Resolver", "set random"]);
    assert!(given.configs.refused().is_none());
    assert_eq!(given.resolved(bad()), ["refused"], "the good one stands");
    assert_eq!(given.configs.used.as_ref().and_then(|used| used.policy.as_ref()).map(PolicyConfig::name), Some("random"));
    assert_eq!(given.resolved(policy("random")), [""; 0]);
}

#[test]
fn bad_first_with_something_to_go_by_withholds_nothing() {
    let mut given = Given::with(Some(policy("least_request")), None);
    assert_eq!(given.resolved(bad()), ["refused"]);
    let mut given = Given::new();
    given.resolved(Absent);
    assert_eq!(given.resolved("no JSON"), ["refused"], "explicitly none was accepted");
    let mut given = Given::new();
    assert_eq!(given.resolved(ServiceConfigUpdate::Broken("gone".into())), ["refused", "withhold"]);
    assert_eq!(given.set(Some(policy("random"))), ["Program", "set random"]);
    assert_eq!(given.set(None), ["Default", "withhold", "set round_robin"]);
}

#[test]
fn the_resolver_is_asked_again_with_growing_delays_until_it_brings_a_good_one() {
    let mut given = Given::new();
    let mut last = Duration::ZERO;
    for _ in 0..5 {
        given.resolved(bad());
        let wait = given.configs.retry_at().unwrap() - given.now;
        assert!(wait > last, "{wait:?} after {last:?}");
        (last, given.now) = (wait, given.now + wait);
        given.configs.retried();
        assert_eq!(given.configs.retry_at(), None);
    }
    given.resolved(bad());
    given.resolved(Absent);
    assert_eq!(given.configs.retry_at(), None);
    given.resolved(bad());
    assert_eq!(given.configs.retry_at().unwrap() - given.now, Duration::from_secs(1));
}

#[test]
fn the_programs_config_counts_before_the_resolvers_until_it_is_taken_back() {
    let mut given = Given::new();
    assert_eq!(given.set(Some(policy("random"))), ["Program", "set random"]);
    assert!(given.configs.rules().settled);
    assert_eq!(given.resolved(policy("least_request")), [""; 0]);
    assert_eq!(given.resolved(bad()), ["refused"]);
    assert_eq!(given.set(None), ["Resolver", "set least_request"]);
}

#[test]
fn configs_of_the_resolver_can_be_of_no_concern() {
    let mut given = Given::with(Some(policy("random")), None);
    given.configs.settings.follow_resolver = false;
    assert!(given.configs.rules().settled);
    for update in [Json(policy("least_request")), Json(bad()), Absent] {
        assert_eq!(given.resolved(update), [""; 0]);
    }
    assert_eq!(given.configs.retry_at(), None);
    assert_eq!(given.set(Some(policy("least_request"))), ["Program", "set least_request"]);
}

#[test]
fn policies_of_methods_come_and_go_and_those_that_stay_are_left_alone() {
    let mut given = Given::with(Some(method_policy("random")), None);
    let first: Vec<_> = given.configs.first_policies().into_iter().map(|policy| policy.name.to_string()).collect();
    assert_eq!(first, ["random {}"]);
    assert_eq!(given.resolved(method_policy("random")), [""; 0]);
    let mut other = method_policy("random");
    other["methodConfig"][0]["timeout"] = json!("1s");
    assert_eq!(given.resolved(other), ["Resolver"]);
    assert_eq!(given.resolved(method_policy("maglev")), ["Resolver", "add maglev {}", "remove random {}"]);
    let mut changed = method_policy("maglev");
    changed["methodConfig"][0]["loadBalancingConfig"][0]["maglev"] = json!({"n": 1});
    assert_eq!(given.resolved(changed), ["Resolver", "add maglev {\"n\":1} after maglev {}", "remove maglev {}"]);
    assert_eq!(given.resolved(json!({})), ["Resolver", "remove maglev {\"n\":1}"]);
}

#[test]
fn the_health_service_is_told_when_it_changes() {
    let mut given = Given::new();
    let health = |service: &str| json!({"healthCheckConfig": {"serviceName": service}});
    assert_eq!(given.resolved(health("a")), ["Resolver", "health Some(\"a\")"]);
    let mut more = health("a");
    more["methodConfig"] = json!([{"name": [{}]}]);
    assert_eq!(given.resolved(more), ["Resolver"]);
    assert_eq!(given.resolved(health("")), ["Resolver", "health Some(\"\")"]);
    assert_eq!(given.resolved(json!({})), ["Resolver", "health None"]);
}

#[test]
fn limits_change_with_the_config_that_counts_and_go_with_it() {
    let limited = |per_second: u32| json!({"evenkeel": {"rateLimits": {"channel": {"perSecond": per_second}}}});
    let mut given = Given::new();
    assert_eq!(given.resolved(limited(5)), ["Resolver", "rates true"]);
    assert_eq!(given.resolved(limited(5)), [""; 0], "the same again");
    let mut more = limited(5);
    more["methodConfig"] = json!([{"name": [{}], "timeout": "1s"}]);
    assert_eq!(given.resolved(more), ["Resolver"], "what stays the same is left alone");
    assert_eq!(given.resolved(json!({"evenkeel": {"rateLimits": {"channel": {"perSecond": 0}}}})), ["refused"]);
    assert_eq!(given.set(Some(limited(9))), ["Program", "rates true"]);
    assert_eq!(given.set(None), ["Resolver", "rates true"]);
    assert_eq!(given.resolved(Absent), ["Default", "rates false"]);
    // Endpoints without gates cannot be limited; with them they can.
    let endpoints = json!({"evenkeel": {"concurrencyLimit": {}}});
    assert_eq!(given.resolved(endpoints.clone()), ["refused"]);
    given.configs.settings.gates.limits = true;
    assert_eq!(given.resolved(endpoints), ["Resolver", "concurrency true"]);
    assert_eq!(given.resolved(json!({})), ["Resolver", "concurrency false"]);
}

#[test]
fn breakers_and_fixed_limits_change_with_the_config_and_need_their_gates() {
    let breaker = |failures: u32| json!({"evenkeel": {"circuitBreaker": {"consecutiveFailures": failures}}});
    let per_endpoint = json!({"evenkeel": {"maxRequestsPerEndpoint": 7}});
    let mut given = Given::new();
    given.resolved(Absent);
    assert_eq!([given.resolved(breaker(3)), given.resolved(per_endpoint.clone())], [["refused"], ["refused"]]);
    // A limit over all endpoints needs none.
    assert_eq!(given.resolved(json!({"evenkeel": {"maxRequests": 9}})), ["Resolver", "requests Some(9)"]);
    assert_eq!(given.resolved(json!({})), ["Resolver", "requests None"]);
    let gates = &mut given.configs.settings.gates;
    (gates.breakers, gates.per_endpoint) = (true, true);
    given.configs.settings.limits.breaker = Some(BreakerConfig::default());
    assert_eq!(given.resolved(breaker(3)), ["Resolver", "breaker Some(3)"]);
    assert_eq!(given.resolved(per_endpoint), ["Resolver", "breaker Some(5)", "per endpoint Some(7)"], "the channel's own again");
    assert_eq!(given.resolved(Absent), ["Default", "per endpoint None"]);
}
