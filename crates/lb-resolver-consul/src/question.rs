//! What a target asks.

use std::fmt::Write as _;
use std::time::Duration;

use lb_core::ResolveError;
use lb_core::ResolveErrorKind;
use lb_core::Target;
use percent_encoding::AsciiSet;
use percent_encoding::NON_ALPHANUMERIC;
use percent_encoding::utf8_percent_encode;

use crate::agent::Agent;
use crate::config::truth;
use crate::convert::Reading;
use crate::setup::Setup;

/// What may stand in a path or query as it is (RFC 3986 §2.3).
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// Keys whose value goes to Consul as it is.
const PASSED: [&str; 7] = ["dc", "filter", "near", "ns", "partition", "peer", "tag"];

const ALLOWED: &str = "dc, filter, near, ns, partition, passing, peer, query, scheme, service_config, stale, tag, wait";

/// Which of them say where a key is.
const PLACES: [&str; 3] = ["dc", "ns", "partition"];

/// A parsed target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Question {
    pub(crate) subject: Subject,
    /// Never empty.
    pub(crate) agents: Vec<Agent>,
    pub(crate) reading: Reading,
    /// Whether any server may answer, also one without a leader.
    pub(crate) stale: bool,
    /// How long a blocking query waits.
    pub(crate) wait: Duration,
    /// The key that holds the service config, if one does.
    config_key: Option<String>,
    /// `&key=value…`, encoded.
    parameters: String,
    /// Those of them that say where a key is.
    places: String,
}

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Subject {
    Service(String),
    /// A prepared query, by name or id.
    Prepared(String),
}

impl Question {
    pub(crate) fn parse(target: &Target, setup: &Setup) -> Result<Self, ResolveError> {
        let bad = |what: String| ResolveError::new(ResolveErrorKind::InvalidTarget, what);
        let config = setup.config();
        let mut question = Self {
            subject: subject(target)?,
            agents: setup.agents().to_vec(),
            reading: Reading { passing: false, prefix: config.meta_prefix.clone() },
            stale: false,
            wait: config.wait,
            config_key: config.service_config_key.clone(),
            parameters: String::new(),
            places: String::new(),
        };
        let mut scheme = None;
        for (key, value) in target.query() {
            let flag = || truth(value).ok_or_else(|| bad(format!("{key} is {value:?}, allowed is true or false")));
            match key.as_str() {
                "passing" | "healthy" => question.reading.passing = flag()?,
                "stale" => question.stale = flag()?,
                "query" => {}
                "service_config" => question.config_key = Some(value.clone()),
                "scheme" => scheme = Some(value.as_str()),
                "wait" => question.wait = wait(value).ok_or_else(|| bad(format!("wait is {value:?}, allowed is 1s to 10m")))?,
                "token" => {
                    return Err(
                        bad("a token in a target ends up in logs; give it to ConsulConfig or CONSUL_HTTP_TOKEN".to_owned()),
                    );
                }
                key if PASSED.contains(&key) => question.pass(key, value),
                other => return Err(bad(format!("the query key {other:?} is unknown; allowed are {ALLOWED}"))),
            }
        }
        if let Some(namespace) = config.namespace.as_ref().filter(|_| target.query_value("ns").is_none()) {
            question.pass("ns", namespace);
        }
        if let Some(datacenter) = config.datacenter.as_ref().filter(|_| target.query_value("dc").is_none()) {
            question.pass("dc", datacenter);
        }
        question.agents(target, scheme, setup)?;
        Ok(question)
    }

    fn pass(&mut self, key: &str, value: &str) {
        if !value.is_empty() {
            // Writing to a string cannot fail.
            let _ = write!(self.parameters, "&{key}={}", encoded(value));
            if PLACES.contains(&key) {
                let _ = write!(self.places, "&{key}={}", encoded(value));
            }
        }
    }

    fn agents(&mut self, target: &Target, scheme: Option<&str>, setup: &Setup) -> Result<(), ResolveError> {
        let bad = |what: String| ResolveError::new(ResolveErrorKind::InvalidTarget, what);
        let tls = match scheme {
            None => None,
            Some("http") => Some(false),
            Some("https") => Some(true),
            Some(other) => return Err(bad(format!("scheme is {other:?}, allowed is http or https"))),
        };
        if !target.authority().is_empty() {
            let tls = tls.unwrap_or_else(|| setup.config().https);
            let parse = |text: &str| Agent::parse(text.trim(), tls);
            let agents: Result<Vec<_>, _> = target.authority().split(',').map(parse).collect();
            self.agents = agents.map_err(|error| bad(error.to_string()))?;
        } else if let Some(tls) = tls {
            self.agents.iter_mut().for_each(|agent| agent.tls = tls);
        }
        if self.agents.iter().any(|agent| agent.tls) {
            setup.ensure_tls().map_err(|error| bad(error.to_string()))?;
        }
        Ok(())
    }

    /// Path and query of a request; with an index it blocks until there is a later one.
    pub(crate) fn path(&self, index: Option<u64>, stale: bool) -> String {
        let mut path = match &self.subject {
            Subject::Service(name) => format!("/v1/health/service/{}?", encoded(name)),
            Subject::Prepared(name) => format!("/v1/query/{}/execute?", encoded(name)),
        };
        if stale {
            path.push_str("stale=");
        }
        path.push_str(if stale { &self.parameters } else { self.parameters.strip_prefix('&').unwrap_or_default() });
        if let Some(index) = index {
            let and = if path.ends_with('?') { "" } else { "&" };
            let _ = write!(path, "{and}index={index}&wait={}ms", self.wait.as_millis());
        }
        path.strip_suffix('?').map(str::to_owned).unwrap_or(path)
    }

    /// The key that holds the service config; `None` if none does.
    pub(crate) fn config_key(&self) -> Option<&str> {
        self.config_key.as_deref().map(|key| key.trim_start_matches('/')).filter(|key| !key.is_empty())
    }

    /// Path and query of a request for a key's value; with an index it blocks until there is a later one.
    pub(crate) fn key_path(&self, key: &str, index: Option<u64>) -> String {
        let key: Vec<String> = key.split('/').map(encoded).collect();
        let mut path = format!("/v1/kv/{}?raw=true{}", key.join("/"), self.places);
        if let Some(index) = index {
            let _ = write!(path, "&index={index}&wait={}ms", self.wait.as_millis());
        }
        path
    }

    /// For people.
    pub(crate) fn name(&self) -> String {
        match &self.subject {
            Subject::Service(name) => format!("service {name:?}"),
            Subject::Prepared(name) => format!("prepared query {name:?}"),
        }
    }
}

fn subject(target: &Target) -> Result<Subject, ResolveError> {
    let name = target.path();
    let subject = match target.query_value("query") {
        None => Subject::Service(name.to_owned()),
        Some("") => Subject::Prepared(name.to_owned()),
        Some(query) => Subject::Prepared(query.to_owned()),
    };
    let (Subject::Service(named) | Subject::Prepared(named)) = &subject;
    if named.is_empty() || named.contains('/') {
        let what = format!("the service is {named:?}; allowed is consul://[agent[:port]]/service[?key=value&…]");
        return Err(ResolveError::new(ResolveErrorKind::InvalidTarget, what));
    }
    Ok(subject)
}

fn encoded(text: &str) -> String {
    utf8_percent_encode(text, ENCODED).to_string()
}

/// A number and `ms`, `s` or `m`.
fn wait(text: &str) -> Option<Duration> {
    let at = text.find(|c: char| !c.is_ascii_digit())?;
    let (number, unit) = text.split_at(at);
    let number: u64 = number.parse().ok()?;
    let wait = match unit {
        "ms" => Duration::from_millis(number),
        "s" => Duration::from_secs(number),
        "m" => Duration::from_secs(number.checked_mul(60)?),
        _ => return None,
    };
    (Duration::from_secs(1)..=Duration::from_secs(600)).contains(&wait).then_some(wait)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::config::ConsulConfig;

    fn parse(text: &str) -> Result<Question, String> {
        let target = Target::parse(text, &|scheme| scheme == "consul").map_err(|error| error.to_string())?;
        let setup = Setup::new(ConsulConfig::new().with_namespace("team").with_agents(["c1", "c2:9"]).unwrap()).unwrap();
        Question::parse(&target, &setup).map_err(|error| error.to_string())
    }

    #[test]
    fn the_configured_datacenter_is_of_targets_that_name_none() {
        let setup = Setup::new(ConsulConfig::new().with_datacenter("east")).unwrap();
        for (target, asked) in [("consul:///o", "o?dc=east"), ("consul:///o?dc=west", "o?dc=west"), ("consul:///o?dc=", "o")] {
            let target = Target::parse(target, &|scheme| scheme == "consul").unwrap();
            let question = Question::parse(&target, &setup).unwrap();
            assert_eq!(question.path(None, false), format!("/v1/health/service/{asked}"));
        }
    }

    #[test]
    fn targets_become_requests() {
        let question =
            parse("consul:///orders?tag=a&tag=b%26c&dc=east&ns=shop&passing&near=_agent&filter=Service.Meta.v==2&wait=5s").unwrap();
        let parameters = "tag=a&tag=b%26c&dc=east&ns=shop&near=_agent&filter=Service.Meta.v%3D%3D2";
        assert_eq!(question.path(None, false), format!("/v1/health/service/orders?{parameters}"));
        assert_eq!(question.path(Some(7), true), format!("/v1/health/service/orders?stale=&{parameters}&index=7&wait=5000ms"));
        assert!(question.reading.passing && !question.stale);
        assert_eq!(question.agents.iter().map(ToString::to_string).collect::<Vec<_>>(), ["http://c1:8500", "http://c2:9"]);

        let question = parse("consul://a,[::1]:1/my%20orders?stale&healthy=false").unwrap();
        assert_eq!(question.path(None, question.stale), "/v1/health/service/my%20orders?stale=&ns=team");
        assert_eq!(question.agents.iter().map(ToString::to_string).collect::<Vec<_>>(), ["http://a:8500", "http://[::1]:1"]);
        assert!(!question.reading.passing);

        assert_eq!(parse("consul:///orders?query").unwrap().subject, Subject::Prepared("orders".into()));
        assert_eq!(parse("consul:///orders?query=q1&ns=").unwrap().path(None, false), "/v1/query/q1/execute");
        assert_eq!(parse("consul:///o?ns=").unwrap().path(Some(1), false), "/v1/health/service/o?index=1&wait=60000ms");
    }

    #[test]
    fn the_key_of_the_service_config_is_of_the_same_place() {
        let question = parse("consul:///orders?service_config=/config/my%20orders&tag=a&dc=east&wait=5s").unwrap();
        let key = question.config_key().unwrap();
        assert_eq!(key, "config/my orders");
        assert_eq!(question.key_path(key, None), "/v1/kv/config/my%20orders?raw=true&dc=east&ns=team");
        assert_eq!(question.key_path("k", Some(7)), "/v1/kv/k?raw=true&dc=east&ns=team&index=7&wait=5000ms");
        for none in ["consul:///orders", "consul:///orders?service_config=", "consul:///orders?service_config=/"] {
            assert_eq!(parse(none).unwrap().config_key(), None, "{none}");
        }
    }

    #[test]
    fn a_bad_target_says_what_is_allowed() {
        for (target, said) in [
            ("consul:///", "allowed is consul://[agent[:port]]/service"),
            ("consul:///a/b", "the service is \"a/b\""),
            ("consul:///a?passing=perhaps", "passing is \"perhaps\", allowed is true or false"),
            ("consul:///a?tags=x", "\"tags\" is unknown; allowed are dc, filter"),
            ("consul:///a?token=x", "ends up in logs"),
            ("consul:///a?scheme=ftp", "allowed is http or https"),
            ("consul:///a?wait=1h", "allowed is 1s to 10m"),
            ("consul://a:0/a", "consul.agent"),
        ] {
            let error = parse(target).unwrap_err();
            assert!(error.contains(said), "{target}: {error}");
        }
    }

    #[cfg(not(any(feature = "tls-ring", feature = "tls-aws-lc")))]
    #[test]
    fn https_without_tls_says_which_feature_is_missing() {
        assert!(parse("consul://a/b?scheme=https").unwrap_err().contains("tls-ring"));
    }

    proptest! {
        #[test]
        fn any_target_is_parsed_or_refused(path in any::<String>(), key in "[a-z]{0,8}", value in any::<String>()) {
            if let Ok(question) = parse(&format!("consul:///{path}?{key}={value}")) {
                let path = question.path(Some(1), true);
                prop_assert!(path.bytes().all(|byte| byte.is_ascii_graphic()), "{}", path);
            }
        }
    }
}
