//! Where a service config is kept.

use lb_core::{ResolveError, ResolveErrorKind, Target};

use crate::config::KubernetesConfig;
use crate::target::{CONFIG, Subject};

/// What the key is called if nobody says.
const KEY: &str = "service_config.json";

/// Names of ConfigMaps are DNS names (RFC 1123), and keys in them are as long at most.
const LONGEST: usize = 253;

/// A key of a ConfigMap.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Place {
    /// `None` is the namespace of the service.
    pub(crate) namespace: Option<String>,
    pub(crate) name: String,
    pub(crate) key: String,
}

impl Place {
    /// What the target says, or else the configuration; `None` if neither names one.
    pub(crate) fn of(target: &Target, config: &KubernetesConfig) -> Result<Option<Self>, ResolveError> {
        match target.query_value(CONFIG) {
            None => Ok(config.service_config_map.clone()),
            Some("") => Ok(None),
            Some(text) => Self::parse(text).map(Some).map_err(|reason| {
                let message = format!("target {:?}: {CONFIG}: {reason}; allowed is namespace/name:key", target.as_str());
                ResolveError::new(ResolveErrorKind::InvalidTarget, message)
            }),
        }
    }

    /// Reads `namespace/name:key`, of which only the name has to be there.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let (path, key) = text.split_once(':').unwrap_or((text, KEY));
        let (namespace, name) = path.split_once('/').map_or((None, path), |(namespace, name)| (Some(namespace), name));
        let namespace = namespace.map(Subject::namespace).transpose()?;
        if !is_name(name) {
            return Err(format!("the ConfigMap is {name:?}, which is not 1 to {LONGEST} of a-z, 0-9 and, within, - and ."));
        }
        if key.is_empty() || key.len() > LONGEST || !key.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b)) {
            return Err(format!("the key is {key:?}, which is not 1 to {LONGEST} of a-z, A-Z, 0-9, -, _ and ."));
        }
        Ok(Self { namespace, name: name.to_owned(), key: key.to_owned() })
    }
}

fn is_name(text: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    let part = |part: &str| !part.is_empty() && part.bytes().all(allowed) && !part.starts_with('-') && !part.ends_with('-');
    text.len() <= LONGEST && text.split('.').all(part)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn place(namespace: Option<&str>, name: &str, key: &str) -> Place {
        Place { namespace: namespace.map(str::to_owned), name: name.to_owned(), key: key.to_owned() }
    }

    fn of(text: &str, config: &KubernetesConfig) -> Result<Option<Place>, String> {
        let target = Target::parse(text, &|scheme| scheme == "k8s").unwrap();
        Place::of(&target, config).map_err(|error| error.to_string())
    }

    #[test]
    fn every_form() {
        assert_eq!(Place::parse("orders"), Ok(place(None, "orders", KEY)));
        assert_eq!(Place::parse("orders.v1:grpc"), Ok(place(None, "orders.v1", "grpc")));
        assert_eq!(Place::parse("shop/orders"), Ok(place(Some("shop"), "orders", KEY)));
        assert_eq!(Place::parse("shop/orders:a_B.json"), Ok(place(Some("shop"), "orders", "a_B.json")));
    }

    #[test]
    fn the_targets_counts_before_the_configured_one() {
        let (plain, configured) = (KubernetesConfig::new(), KubernetesConfig::new().with_service_config_map("all").unwrap());
        assert_eq!(of("k8s:///orders.shop", &plain), Ok(None));
        assert_eq!(of("k8s:///orders.shop", &configured), Ok(Some(place(None, "all", KEY))));
        assert_eq!(of("k8s:///orders.shop?service_config=of/orders:x", &configured), Ok(Some(place(Some("of"), "orders", "x"))));
        assert_eq!(of("k8s:///orders.shop?service_config=", &configured), Ok(None));
    }

    #[test]
    fn what_makes_no_sense_is_told() {
        for (text, part) in [
            ("", "the ConfigMap is \"\""),
            ("shop/", "the ConfigMap is \"\""),
            ("Orders", "\"Orders\""),
            ("a..b", "\"a..b\""),
            ("-a", "\"-a\""),
            ("a/b/c", "\"b/c\""),
            ("../b", "the namespace is \"..\""),
            ("orders:", "the key is \"\""),
            ("orders:a/b", "the key is \"a/b\""),
            ("orders:a:b", "the key is \"a:b\""),
        ] {
            let error = Place::parse(text).unwrap_err();
            assert!(error.contains(part), "{text}: {error}");
        }
        let error = of("k8s:///orders.shop?service_config=A", &KubernetesConfig::new()).unwrap_err();
        assert!(error.contains("invalid target") && error.contains("namespace/name:key"), "{error}");
        let error = KubernetesConfig::new().with_service_config_map("A").unwrap_err().to_string();
        assert!(error.contains("kubernetes.service_config_map is A"), "{error}");
    }

    proptest! {
        #[test]
        fn whatever_is_taken_is_safe_in_a_path(text in "[a-zA-Z0-9/:.%&?# -]{0,60}") {
            if let Ok(place) = Place::parse(&text) {
                let safe = |part: &str| part.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b));
                prop_assert!(safe(&place.name) && safe(&place.key) && place.namespace.as_deref().is_none_or(safe));
            }
        }
    }
}
