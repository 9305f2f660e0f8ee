//! The resolver itself.

use futures_util::{StreamExt, stream};
use lb_core::{ConfiguredStream, ResolveError, ResolveNow, Resolver, ResolverStream, Target};

use crate::config::KubernetesConfig;
use crate::config_map::ConfigMapStream;
use crate::place::Place;
use crate::stream::KubernetesStream;
use crate::target::Subject;

/// Resolves `kubernetes:` and `k8s:` targets; see the [crate's page](crate) for what it does and when.
///
/// Nothing is read or opened before a stream is polled, which needs a tokio runtime with network and time enabled. Without a cluster the
/// stream says so, and goes on trying. Each stream has a client and connections of its own, which go with it at once; so does the watch of
/// a service config.
#[derive(Debug, Clone, Default)]
pub struct KubernetesResolver {
    config: KubernetesConfig,
}

impl KubernetesResolver {
    /// A resolver with the default configuration.
    pub fn new() -> Self {
        Self::default()
    }

    /// A resolver with this configuration.
    pub fn with_config(config: KubernetesConfig) -> Self {
        Self { config }
    }

    fn parse(&self, target: &Target) -> Result<(Subject, Option<Place>), ResolveError> {
        Ok((Subject::parse(target)?, Place::of(target, &self.config)?))
    }
}

impl Resolver for KubernetesResolver {
    fn schemes(&self) -> &[&'static str] {
        &["kubernetes", "k8s"]
    }

    fn validate(&self, target: &Target) -> Result<(), ResolveError> {
        self.parse(target).map(drop)
    }

    fn resolve(&self, target: &Target, again: ResolveNow) -> ResolverStream {
        match self.parse(target) {
            Ok((subject, place)) => {
                let configs = place.map(|place| ConfigMapStream::new(self.config.clone(), place, &subject).run());
                let endpoints = KubernetesStream::new(self.config.clone(), subject, target.canonical(), again).run();
                match configs {
                    Some(configs) => Box::pin(ConfiguredStream::new(endpoints, configs)),
                    None => endpoints,
                }
            }
            Err(error) => Box::pin(stream::iter([Err(error)]).chain(stream::pending())),
        }
    }

    fn authority(&self, target: &Target) -> Option<String> {
        Subject::parse(target).ok().map(|subject| subject.authority())
    }
}
