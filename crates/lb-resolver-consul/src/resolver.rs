//! The resolver itself.

use futures_util::StreamExt;
use futures_util::stream;
use lb_core::ConfigError;
use lb_core::ConfiguredStream;
use lb_core::ResolveError;
use lb_core::ResolveErrorKind;
use lb_core::ResolveNow;
use lb_core::Resolver;
use lb_core::ResolverStream;
use lb_core::Target;

use crate::config::ConsulConfig;
use crate::key::KeyWatch;
use crate::question::Question;
use crate::question::Subject;
use crate::setup::Setup;
use crate::watch::Watch;

/// Resolves `consul:` targets; see the [crate's page](crate) for what it does and when.
///
/// Every stream has one connection of its own, which it closes when dropped. Streams need a tokio runtime with network and time.
#[derive(Debug, Clone)]
pub struct ConsulResolver {
    /// An environment that makes no sense is told with every target.
    setup: Result<Setup, ConfigError>,
}

impl Default for ConsulResolver {
    /// As the environment says; see [`ConsulConfig::from_env`]. What is wrong with it is an error of every target.
    fn default() -> Self {
        Self { setup: ConsulConfig::from_env().and_then(Setup::new) }
    }
}

impl ConsulResolver {
    /// A resolver with this configuration. Certificates are read now, everything else when it is needed.
    ///
    /// # Errors
    /// Certificates cannot be read, or `https` agents are named and TLS is not compiled in.
    pub fn with_config(config: ConsulConfig) -> Result<Self, ConfigError> {
        Ok(Self { setup: Ok(Setup::new(config)?) })
    }

    fn question(&self, target: &Target) -> Result<(Question, &Setup), ResolveError> {
        let bad = |error: &ConfigError| ResolveError::new(ResolveErrorKind::InvalidTarget, error.to_string());
        let setup = self.setup.as_ref().map_err(bad)?;
        Ok((Question::parse(target, setup)?, setup))
    }
}

impl Resolver for ConsulResolver {
    fn schemes(&self) -> &[&'static str] {
        &["consul"]
    }

    fn validate(&self, target: &Target) -> Result<(), ResolveError> {
        self.question(target).map(drop)
    }

    fn resolve(&self, target: &Target, again: ResolveNow) -> ResolverStream {
        match self.question(target) {
            Ok((question, setup)) => {
                let key = KeyWatch::new(setup, &question);
                let endpoints = Watch::new(setup, question, again).run(target);
                match key {
                    Some(key) => ConfiguredStream::new(endpoints, key.run()).boxed(),
                    None => endpoints,
                }
            }
            Err(error) => stream::once(async move { Err(error) }).boxed(),
        }
    }

    fn authority(&self, target: &Target) -> Option<String> {
        match self.question(target).ok()?.0.subject {
            Subject::Prepared(name) if target.path().is_empty() => Some(name),
            _ => None,
        }
    }
}
