//! A resolver and what it is asked for.

use std::fmt;
use std::sync::Arc;

use lb_core::ResolveError;
use lb_core::ResolveErrorKind;
use lb_core::ResolveNow;
use lb_core::Resolver;
use lb_core::ResolverStream;
use lb_core::Target;

/// A resolver together with the target it is asked for. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Source {
    resolver: Arc<dyn Resolver>,
    target: Target,
}

impl Source {
    /// A source of a ready resolver and a target it understands; nothing is checked until a channel is built.
    pub fn new(resolver: Arc<dyn Resolver>, target: Target) -> Self {
        Self { resolver, target }
    }

    /// A source of this resolver and the target in this text.
    ///
    /// # Errors
    /// `InvalidTarget` if the text is no target, or is of a scheme the resolver does not serve; else what the resolver says of it.
    pub fn parse(resolver: impl Resolver, target: &str) -> Result<Self, ResolveError> {
        let invalid = |reason: String| ResolveError::new(ResolveErrorKind::InvalidTarget, reason);
        let schemes = resolver.schemes().to_vec();
        let target = Target::parse(target, &|scheme| schemes.contains(&scheme)).map_err(|error| invalid(error.to_string()))?;
        if !schemes.contains(&target.scheme()) {
            let (text, allowed) = (target.as_str(), schemes.join(", "));
            return Err(invalid(format!("target {text:?}: the scheme is {:?}; this resolver serves {allowed}", target.scheme())));
        }
        resolver.validate(&target)?;
        Ok(Self::new(Arc::new(resolver), target))
    }

    /// A source of a resolver that gives the same endpoints whatever the path of the target: another composition, or one fed by the
    /// program.
    ///
    /// # Panics
    /// If the resolver serves no scheme, or its scheme is not one (RFC 3986 §3.1).
    pub fn whole(resolver: impl Resolver) -> Self {
        let scheme = resolver.schemes().first().copied().unwrap_or_default();
        let target =
            Target::parse(&format!("{scheme}:///"), &|known| known == scheme).ok().filter(|target| target.scheme() == scheme);
        let target = target.unwrap_or_else(|| panic!("{resolver:?} serves the scheme {scheme:?}, which is none"));
        Self::new(Arc::new(resolver), target)
    }

    /// What the resolver is asked for.
    pub fn target(&self) -> &Target {
        &self.target
    }

    pub(crate) fn validate(&self) -> Result<(), ResolveError> {
        self.resolver.validate(&self.target).map_err(|error| self.named(&error))
    }

    pub(crate) fn resolve(&self, again: ResolveNow) -> ResolverStream {
        self.resolver.resolve(&self.target, again)
    }

    /// The authority of a composition's own target: its path if it has one, else that of this source.
    pub(crate) fn authority(&self, own: &Target) -> Option<String> {
        if !own.path().is_empty() {
            return None;
        }
        Some(self.resolver.authority(&self.target).unwrap_or_else(|| self.target.default_authority()))
    }

    /// The error with the source's name in front; its kind stays.
    pub(crate) fn named(&self, error: &ResolveError) -> ResolveError {
        ResolveError::new(error.kind(), format!("{self}: {}", error.message())).with_source(error.clone())
    }
}

impl fmt::Display for Source {
    /// The target in its form for logs.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.target.canonical())
    }
}

#[cfg(test)]
mod tests {
    use lb_testkit::FakeResolver;

    use super::*;

    #[test]
    fn a_target_of_another_scheme_is_an_error_that_names_both() {
        let error = Source::parse(FakeResolver::new("fleet").0, "dns:///orders").unwrap_err();
        assert_eq!(error.kind(), ResolveErrorKind::InvalidTarget);
        assert!(error.message().contains("\"dns\"") && error.message().contains("fleet"), "{error}");
        assert_eq!(Source::parse(FakeResolver::new("fleet").0, "").unwrap_err().kind(), ResolveErrorKind::InvalidTarget);
        assert_eq!(Source::parse(FakeResolver::new("fleet").0, "fleet:///orders?dc=1").unwrap().to_string(), "fleet:///orders");
    }

    #[test]
    fn the_authority_is_the_own_path_or_that_of_the_source() {
        let source = Source::parse(FakeResolver::new("fleet").0, "fleet:///orders:1").unwrap();
        let own = |text| Target::parse(text, &|_| true).unwrap();
        assert_eq!(source.authority(&own("shop:///name")), None);
        assert_eq!(source.authority(&own("shop:///")).as_deref(), Some("orders:1"));
        assert_eq!(Source::whole(FakeResolver::new("fleet").0).target().scheme(), "fleet");
    }
}
