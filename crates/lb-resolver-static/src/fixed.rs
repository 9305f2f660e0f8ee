//! Endpoints that do not change.
//!
//! The stream yields them once and then stays open, so that whoever reads it need not treat an ending stream as an event.

use futures_util::StreamExt;
use futures_util::stream;
use lb_core::Address;
use lb_core::Endpoint;
use lb_core::ResolveError;
use lb_core::ResolveErrorKind;
use lb_core::ResolveNow;
use lb_core::Resolver;
use lb_core::ResolverStream;
use lb_core::ResolverUpdate;
use lb_core::Target;

use crate::list;

const SCHEMES: [&str; 5] = ["static", "ipv4", "ipv6", "unix", "unix-abstract"];

/// Resolves targets that hold their addresses: `static`, `ipv4`, `ipv6`, `unix` and `unix-abstract`. Or, made by
/// [`of`](Self::of), gives the same endpoints for every target of a scheme.
///
/// - `static:a:1,10.0.0.2,[::1]:1;weight=3`: any addresses lb-core knows, one endpoint each; default port 443. Parameters after
///   semicolons: `weight` and `priority` (0 to `u32::MAX`), `id`, `hostname`, `replica_of`. `static:///…` is the same. A socket whose
///   path holds a comma or semicolon needs the scheme `unix`.
/// - `ipv4:10.0.0.1:80,10.0.0.2`, `ipv6:[::1]:80,::2`: literals only, one endpoint each; default port 443.
/// - `unix:relative/path`, `unix:/abs`, `unix:///abs`, `unix-abstract:name` (Linux): one endpoint. A path or name has at most 107
///   bytes.
///
/// The `:authority` is `localhost` for sockets and the first address of a list (a whole list is no valid authority, and servers
/// refuse it). The query is ignored.
#[derive(Debug, Clone)]
pub struct StaticResolver {
    schemes: Vec<&'static str>,
    given: Option<Vec<Endpoint>>,
}

impl Default for StaticResolver {
    fn default() -> Self {
        Self::new()
    }
}

impl StaticResolver {
    /// A resolver of targets that hold their addresses.
    pub fn new() -> Self {
        Self { schemes: SCHEMES.to_vec(), given: None }
    }

    /// A resolver that gives these endpoints for every target of this scheme, whatever its path. No endpoints is a service
    /// without endpoints, not an error. For endpoints that change at run time see [`ManualResolver`](crate::ManualResolver).
    pub fn of(scheme: &'static str, endpoints: Vec<Endpoint>) -> Self {
        Self { schemes: vec![scheme], given: Some(endpoints) }
    }

    fn endpoints(&self, target: &Target) -> Result<Vec<Endpoint>, ResolveError> {
        match &self.given {
            Some(endpoints) => Ok(endpoints.clone()),
            None => parse(target),
        }
    }
}

impl Resolver for StaticResolver {
    fn schemes(&self) -> &[&'static str] {
        &self.schemes
    }

    fn validate(&self, target: &Target) -> Result<(), ResolveError> {
        self.endpoints(target).map(drop)
    }

    fn resolve(&self, target: &Target, _again: ResolveNow) -> ResolverStream {
        let snapshot = self.endpoints(target).map(ResolverUpdate::new);
        Box::pin(stream::iter([snapshot]).chain(stream::pending()))
    }

    fn authority(&self, target: &Target) -> Option<String> {
        if self.given.is_some() {
            return None;
        }
        match parse(target).ok()?.first()?.addresses().first()? {
            address @ (Address::Tcp(_) | Address::Host(..)) => Some(address.to_string()),
            _ => Some("localhost".to_owned()),
        }
    }
}

fn parse(target: &Target) -> Result<Vec<Endpoint>, ResolveError> {
    let endpoints = match (target.scheme(), target.authority()) {
        (_, authority) if !authority.is_empty() => Err(format!(
            "scheme {0:?} takes no authority, found {authority:?}; write {0}:path or {0}:///path with three slashes",
            target.scheme()
        )),
        ("ipv4", _) => list::ipv4(target.path()),
        ("ipv6", _) => list::ipv6(target.path()),
        ("unix", _) => list::unix(target.file_path()).map(|address| vec![Endpoint::new(address)]),
        ("unix-abstract", _) => list::unix_abstract(target.file_path()).map(|address| vec![Endpoint::new(address)]),
        _ => list::endpoints(target.path()),
    };
    endpoints
        .map_err(|reason| ResolveError::new(ResolveErrorKind::InvalidTarget, format!("target {:?}: {reason}", target.as_str())))
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;
    use lb_core::Trigger;

    use super::*;

    fn target(text: &str) -> Target {
        Target::parse(text, &|scheme| SCHEMES.contains(&scheme) || scheme == "fleet").unwrap()
    }

    fn keys(text: &str) -> Vec<String> {
        let endpoints = StaticResolver::new().endpoints(&target(text)).unwrap();
        endpoints.iter().map(|endpoint| endpoint.key().to_string()).collect()
    }

    #[test]
    fn emits_once_and_stays_open() {
        let (trigger, again) = Trigger::pair();
        let mut stream = StaticResolver::new().resolve(&target("static:///a:1,b:2"), again);
        let update = stream.next().now_or_never().unwrap().unwrap().unwrap();
        assert_eq!(update.endpoints.len(), 2);
        trigger.fire();
        assert!(stream.next().now_or_never().is_none());
    }

    #[test]
    fn every_scheme_and_both_forms() {
        assert_eq!(keys("static:a:1,b"), ["a:1", "b:443"]);
        assert_eq!(keys("static:///a:1,b"), ["a:1", "b:443"]);
        assert_eq!(keys("ipv4:10.0.0.1:1,10.0.0.2"), ["10.0.0.1:1", "10.0.0.2:443"]);
        assert_eq!(keys("ipv6:[::1]:1,[::2]"), ["[::1]:1", "[::2]:443"]);
        assert_eq!(keys("unix:a/b.sock"), ["unix:a/b.sock"]);
        assert_eq!(keys("unix:/a/b.sock"), ["unix:/a/b.sock"]);
        assert_eq!(keys("unix:///a/b.sock"), ["unix:/a/b.sock"]);
        assert_eq!(keys("unix:///a%20b"), ["unix:/a b"]);
        assert_eq!(keys("unix-abstract:passthrough:abc"), ["unix-abstract:passthrough:abc"]);
    }

    #[test]
    fn bad_targets_are_typed_errors() {
        for text in ["static:", "static:a:", "ipv4:orders", "ipv6:10.0.0.1", "unix:", "unix-abstract:", "static://a:1/b:1"] {
            let error = StaticResolver::new().validate(&target(text)).unwrap_err();
            assert_eq!(error.kind(), ResolveErrorKind::InvalidTarget);
            assert!(error.message().contains(text), "{error}");
        }
    }

    #[test]
    fn a_bad_target_resolves_to_its_error_and_stays_open() {
        let (_trigger, again) = Trigger::pair();
        let mut stream = StaticResolver::new().resolve(&target("ipv4:orders"), again);
        assert!(stream.next().now_or_never().unwrap().unwrap().is_err());
        assert!(stream.next().now_or_never().is_none());
    }

    #[test]
    fn the_authority_is_localhost_for_sockets_and_the_first_address_else() {
        let authority = |text| StaticResolver::new().authority(&target(text));
        assert_eq!(authority("unix:/a").as_deref(), Some("localhost"));
        assert_eq!(authority("unix-abstract:a").as_deref(), Some("localhost"));
        assert_eq!(authority("static:unix:/a,b:1").as_deref(), Some("localhost"));
        assert_eq!(authority("ipv4:10.0.0.1,10.0.0.2").as_deref(), Some("10.0.0.1:443"));
        assert_eq!(authority("static:///a:1,b:1").as_deref(), Some("a:1"));
    }

    #[test]
    fn given_endpoints_serve_every_path_of_their_scheme() {
        let endpoints = vec![Endpoint::new("10.0.0.1:1".parse::<Address>().unwrap())];
        let resolver = StaticResolver::of("fleet", endpoints.clone());
        assert_eq!(resolver.schemes(), ["fleet"]);
        assert_eq!(resolver.endpoints(&target("fleet:///anything")).unwrap(), endpoints);
        assert_eq!(resolver.authority(&target("fleet:///anything")), None);
    }
}
