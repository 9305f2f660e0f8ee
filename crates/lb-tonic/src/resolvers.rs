//! The resolvers a channel can choose from by the scheme of its target.

use std::collections::BTreeMap;
use std::sync::Arc;

use lb_core::{Resolver, Target, TargetError};

use crate::error::BuildError;

/// Resolvers by scheme: a value given to the builder, not a global.
///
/// The default holds `static`, `ipv4`, `ipv6`, `unix`, `unix-abstract` and `file`, and `consul`, `dns`, `etcd`,
/// and `kubernetes` with `k8s` if these features are on.
#[derive(Debug, Clone)]
pub struct ResolverRegistry(BTreeMap<&'static str, Arc<dyn Resolver>>);

impl Default for ResolverRegistry {
    fn default() -> Self {
        let mut registry = Self::empty();
        registry.register(Arc::new(lb_resolver_static::StaticResolver::default()));
        registry.register(Arc::new(lb_resolver_static::FileResolver::default()));
        #[cfg(feature = "consul")]
        registry.register(Arc::new(lb_resolver_consul::ConsulResolver::default()));
        #[cfg(feature = "dns")]
        registry.register(Arc::new(lb_resolver_dns::DnsResolver::default()));
        #[cfg(feature = "etcd")]
        registry.register(Arc::new(lb_resolver_etcd::EtcdResolver::default()));
        #[cfg(feature = "kubernetes")]
        registry.register(Arc::new(lb_resolver_kube::KubernetesResolver::default()));
        registry
    }
}

impl ResolverRegistry {
    /// No resolvers.
    pub fn empty() -> Self {
        Self(BTreeMap::new())
    }

    /// Adds a resolver for all its schemes, in place of any that served one of them.
    pub fn register(&mut self, resolver: Arc<dyn Resolver>) {
        for scheme in resolver.schemes() {
            self.0.insert(scheme, Arc::clone(&resolver));
        }
    }

    /// The resolver for a target, and the target as it understands it: what a channel resolves, for programs that want the endpoints
    /// and no channel.
    ///
    /// # Errors
    /// The text is no target, no resolver serves its scheme, or the resolver does not accept it.
    pub fn find(&self, text: &str) -> Result<(Arc<dyn Resolver>, Target), BuildError> {
        let target = self.parse(text)?;
        let Some(resolver) = self.0.get(target.scheme()) else {
            return Err(BuildError::UnknownScheme {
                target: text.to_owned(),
                scheme: target.scheme().to_owned(),
                available: self.0.keys().copied().collect::<Vec<_>>().join(", "),
            });
        };
        match resolver.validate(&target) {
            Ok(()) => Ok((Arc::clone(resolver), target)),
            Err(error) => Err(BuildError::Resolve { target: text.to_owned(), error }),
        }
    }

    fn parse(&self, text: &str) -> Result<Target, TargetError> {
        Target::parse(text, &|scheme| self.0.contains_key(scheme))
    }
}
