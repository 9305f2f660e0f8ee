//! What a target asks for.

use lb_core::{ResolveError, ResolveErrorKind, Target};

/// Names of services and namespaces are DNS labels (RFC 1123).
const LABEL: usize = 63;

/// The option that names the place of the service config.
pub(crate) const CONFIG: &str = "service_config";

/// A service, and the port of its pods.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Subject {
    pub(crate) service: String,
    /// `None` is the namespace of the context or the pod.
    pub(crate) namespace: Option<String>,
    pub(crate) port: PortChoice,
}

/// Which of the ports in a slice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum PortChoice {
    /// The only one, or the one named `grpc`.
    Any,
    Named(String),
    Number(u16),
}

impl Subject {
    /// Reads `service.namespace:port` and its other forms; see the [crate's page](crate).
    pub(crate) fn parse(target: &Target) -> Result<Self, ResolveError> {
        let fail = |reason: &str| {
            let allowed = "allowed is kubernetes:///service.namespace:port, the port by name or number";
            ResolveError::new(ResolveErrorKind::InvalidTarget, format!("target {:?}: {reason}; {allowed}", target.as_str()))
        };
        if let Some((key, _)) = target.query().iter().find(|(key, _)| key != CONFIG) {
            return Err(fail(&format!("the option {key:?} is not known, only {CONFIG:?} is")));
        }
        let (host, namespace) = match (target.authority(), target.path().trim_end_matches('/')) {
            ("", path) => (path, None),
            (authority, "") => (authority, None),
            (namespace, path) => (path, Some(namespace)),
        };
        let (name, port) = host.split_once(':').map_or((host, None), |(name, port)| (name, Some(port)));
        let (service, dotted) = split(name).map_err(|reason| fail(&reason))?;
        if namespace.is_some() && dotted.is_some() {
            return Err(fail("the namespace stands in it twice"));
        }
        let namespace = dotted.or(namespace).map(|name| label("namespace", name)).transpose().map_err(|reason| fail(&reason))?;
        let port = port.map_or(Ok(PortChoice::Any), PortChoice::parse).map_err(|reason| fail(&reason))?;
        Ok(Self { service: label("service", service).map_err(|reason| fail(&reason))?, namespace, port })
    }

    /// A namespace from elsewhere, checked as one in a target is.
    pub(crate) fn namespace(text: &str) -> Result<String, String> {
        label("namespace", text)
    }

    /// Service and, where it is known, namespace, as a server's certificate names them; with the port if that is a number.
    pub(crate) fn authority(&self) -> String {
        let namespace = self.namespace.as_ref().map_or_else(String::new, |namespace| format!(".{namespace}"));
        match self.port {
            PortChoice::Number(port) => format!("{}{namespace}:{port}", self.service),
            PortChoice::Any | PortChoice::Named(_) => format!("{}{namespace}", self.service),
        }
    }
}

/// `service`, `service.namespace`, `service.namespace.svc` and that with a cluster's domain.
fn split(name: &str) -> Result<(&str, Option<&str>), String> {
    let mut parts = name.trim_end_matches('.').splitn(4, '.');
    let (service, namespace, svc) = (parts.next().unwrap_or_default(), parts.next(), parts.next());
    match svc {
        None | Some("svc") => Ok((service, namespace)),
        Some(other) => Err(format!("{other:?} follows the namespace, where only \"svc\" may")),
    }
}

fn label(what: &str, text: &str) -> Result<String, String> {
    let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    if text.is_empty() || text.len() > LABEL || !text.bytes().all(allowed) || text.starts_with('-') || text.ends_with('-') {
        return Err(format!("the {what} is {text:?}, which is not 1 to {LABEL} of a-z, 0-9 and, within, -"));
    }
    Ok(text.to_owned())
}

impl PortChoice {
    fn parse(text: &str) -> Result<Self, String> {
        if text.is_empty() || !text.bytes().all(|b| b.is_ascii_digit()) {
            return label("port", text).map(Self::Named);
        }
        match text.parse() {
            Ok(port @ 1..) => Ok(Self::Number(port)),
            _ => Err(format!("the port is {text}, which is not a number from 1 to 65535")),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parse(text: &str) -> Result<Subject, String> {
        let target = Target::parse(text, &|scheme| ["kubernetes", "k8s"].contains(&scheme)).unwrap();
        Subject::parse(&target).map_err(|error| error.to_string())
    }

    fn subject(service: &str, namespace: Option<&str>, port: PortChoice) -> Subject {
        Subject { service: service.to_owned(), namespace: namespace.map(str::to_owned), port }
    }

    #[test]
    fn every_form() {
        let named = || PortChoice::Named("grpc".to_owned());
        let shop = || Ok(subject("orders", Some("shop"), named()));
        assert_eq!(parse("kubernetes:///orders.shop:grpc"), shop());
        assert_eq!(parse("k8s:///orders.shop:grpc"), shop());
        assert_eq!(parse("kubernetes:orders.shop:grpc"), shop());
        assert_eq!(parse("kubernetes://shop/orders:grpc"), shop());
        assert_eq!(parse("kubernetes://orders.shop:grpc/"), shop());
        assert_eq!(parse("kubernetes:///orders.shop.svc:grpc"), shop());
        assert_eq!(parse("kubernetes:///orders.shop.svc.cluster.local.:grpc"), shop());
        assert_eq!(parse("kubernetes:///orders:grpc"), Ok(subject("orders", None, named())));
        assert_eq!(parse("kubernetes:///orders.shop:8080"), Ok(subject("orders", Some("shop"), PortChoice::Number(8080))));
        assert_eq!(parse("kubernetes:///orders.shop:grpc?service_config=orders"), shop());
        assert_eq!(parse("kubernetes:///orders"), Ok(subject("orders", None, PortChoice::Any)));
    }

    #[test]
    fn what_makes_no_sense_is_told() {
        for (text, part) in [
            ("kubernetes:///", "the service is \"\""),
            ("kubernetes:///Orders.shop:grpc", "the service is \"Orders\""),
            ("kubernetes:///orders.shop:", "the port is \"\""),
            ("kubernetes:///orders.shop:0", "1 to 65535"),
            ("kubernetes:///orders.shop:65536", "1 to 65535"),
            ("kubernetes:///orders.shop:gr%20pc", "the port is \"gr pc\""),
            ("kubernetes:///orders.shop.pod:grpc", "only \"svc\""),
            ("kubernetes://shop/orders.shop:grpc", "twice"),
            ("kubernetes:///orders%2F..%2F.shop:grpc", "only \"svc\""),
            ("kubernetes:///orders%2Fother.shop:grpc", "the service is \"orders/other\""),
            ("kubernetes:///orders.-shop:grpc", "the namespace is \"-shop\""),
            ("kubernetes:///orders.shop:grpc?zone=a", "\"zone\""),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.contains(part) && error.contains("invalid target"), "{text}: {error}");
        }
    }

    #[test]
    fn the_authority_has_no_named_port() {
        assert_eq!(parse("k8s:///orders.shop.svc:grpc").unwrap().authority(), "orders.shop");
        assert_eq!(parse("k8s:///orders:8080").unwrap().authority(), "orders:8080");
    }

    proptest! {
        #[test]
        fn whatever_is_taken_is_safe_in_a_path(text in "\\PC{0,80}") {
            let target = Target::parse(&format!("k8s:///{text}"), &|scheme| scheme == "k8s");
            if let Some(subject) = target.ok().and_then(|target| Subject::parse(&target).ok()) {
                let safe = |name: &str| name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
                prop_assert!(safe(&subject.service) && subject.namespace.as_deref().is_none_or(safe));
            }
        }
    }
}
