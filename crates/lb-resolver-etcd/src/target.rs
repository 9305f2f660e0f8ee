//! What an `etcd:` target asks for.

use lb_core::ResolveError;
use lb_core::ResolveErrorKind;
use lb_core::Target;

use crate::config::EtcdConfig;
use crate::member::Member;

/// The option that names the key of the service config.
const CONFIG: &str = "service_config";

/// A target, read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Question {
    pub(crate) members: Vec<Member>,
    pub(crate) range: Range,
    /// The key that holds the service config, if one does.
    pub(crate) config_key: Option<String>,
}

/// Every key that begins with a prefix.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Range {
    pub(crate) start: String,
    /// The first key behind it.
    pub(crate) end: Vec<u8>,
}

impl Range {
    /// All keys below a name: `svc/greeter` has `svc/greeter/a` and not `svc/greeter2/a`.
    pub(crate) fn below(name: &str) -> Self {
        let start = format!("{}/", name.strip_suffix('/').unwrap_or(name));
        let mut end = start.clone().into_bytes();
        // The byte after the slash that ends it.
        end.pop();
        end.push(b'/' + 1);
        Self { start, end }
    }

    /// One key and nothing else.
    pub(crate) fn only(key: &str) -> Self {
        let mut end = key.as_bytes().to_vec();
        // The least key behind it.
        end.push(0);
        Self { start: key.to_owned(), end }
    }
}

impl Question {
    pub(crate) fn parse(target: &Target, config: &EtcdConfig) -> Result<Self, ResolveError> {
        let invalid =
            |reason: String| ResolveError::new(ResolveErrorKind::InvalidTarget, format!("target {:?}: {reason}", target.as_str()));
        if let Some((key, _)) = target.query().iter().find(|(key, _)| key != CONFIG) {
            return Err(invalid(format!(
                "the option {key:?} is not known; etcd: targets have only {CONFIG:?}, set the resolver's configuration"
            )));
        }
        let config_key = target.query_value(CONFIG).map(str::to_owned).or_else(|| config.service_config_key.clone());
        if target.path().trim_end_matches('/').is_empty() {
            return Err(invalid("there is no name; write etcd:///name for the keys below name/".to_owned()));
        }
        let members = match target.authority() {
            "" => config.members().map_err(|reason| invalid(format!("the configured endpoints: {reason}")))?,
            list => Member::parse_list(list).map_err(|reason| invalid(format!("the authority: {reason}")))?,
        };
        Ok(Self { members, range: Range::below(target.path()), config_key: config_key.filter(|key| !key.is_empty()) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Question, ResolveError> {
        let target = Target::parse(text, &|scheme| scheme == "etcd").unwrap();
        Question::parse(&target, &EtcdConfig::new().with_endpoints(["z:1"]).unwrap())
    }

    #[test]
    fn a_name_is_a_prefix_that_ends_with_a_slash() {
        for (text, start, end) in [
            ("etcd:///svc/greeter", "svc/greeter/", "svc/greeter0"),
            ("etcd:///svc/greeter/", "svc/greeter/", "svc/greeter0"),
            ("etcd:////svc/greeter", "/svc/greeter/", "/svc/greeter0"),
            ("etcd:greeter", "greeter/", "greeter0"),
            ("etcd:///gr%C3%BC%C3%9Fe", "grüße/", "grüße0"),
        ] {
            assert_eq!(parse(text).unwrap().range, Range { start: start.to_owned(), end: end.into() }, "{text}");
        }
    }

    #[test]
    fn the_key_of_the_service_config_is_the_targets_or_the_configured_one() {
        let of = |text: &str, config: &EtcdConfig| {
            let target = Target::parse(text, &|scheme| scheme == "etcd").unwrap();
            Question::parse(&target, config).unwrap().config_key
        };
        let (plain, configured) = (EtcdConfig::new(), EtcdConfig::new().with_service_config_key("config/all"));
        assert_eq!(of("etcd:///greeter", &plain), None);
        assert_eq!(of("etcd:///greeter", &configured).as_deref(), Some("config/all"));
        assert_eq!(of("etcd:///greeter?service_config=config/greeter", &configured).as_deref(), Some("config/greeter"));
        assert_eq!(of("etcd:///greeter?service_config=", &configured), None);
        assert_eq!(Range::only("a").end, b"a\0");
    }

    #[test]
    fn members_come_from_the_target_or_the_configuration() {
        let members = |text| parse(text).unwrap().members.into_iter().map(|member| member.authority).collect::<Vec<_>>();
        assert_eq!(members("etcd:///greeter"), ["z:1"]);
        assert_eq!(members("etcd://a:2,b,[::1]:3/greeter"), ["a:2", "b:2379", "[::1]:3"]);
    }

    #[test]
    fn what_cannot_be_asked_is_an_error_of_the_target() {
        for (text, expected) in [
            ("etcd:///", "no name"),
            ("etcd://a:1", "no name"),
            ("etcd:////", "no name"),
            ("etcd://a:b/greeter", "\"a:b\""),
            ("etcd:///greeter?tls=1", "\"tls\""),
        ] {
            let error = parse(text).unwrap_err();
            assert_eq!(error.kind(), ResolveErrorKind::InvalidTarget);
            assert!(error.message().contains(expected), "{error}");
        }
    }
}
