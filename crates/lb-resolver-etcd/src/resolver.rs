//! The resolver itself.

use futures_util::StreamExt;
use futures_util::stream;
use lb_core::Address;
use lb_core::ConfiguredStream;
use lb_core::ResolveError;
use lb_core::ResolveErrorKind;
use lb_core::ResolveNow;
use lb_core::Resolver;
use lb_core::ResolverStream;
use lb_core::Target;

use crate::cluster::Cluster;
use crate::config::EtcdConfig;
use crate::entropy;
use crate::key::KeyStream;
use crate::stream::EtcdStream;
use crate::target::Question;
use lb_core::Entropy;

/// Resolves `etcd:` targets; see the [crate's page](crate) for what it does and when.
///
/// Every stream has a connection of its own, which goes with it. Streams need a tokio runtime with network and time enabled.
#[derive(Debug, Clone)]
pub struct EtcdResolver {
    config: EtcdConfig,
}

impl Default for EtcdResolver {
    /// With what the environment says; see [`EtcdConfig::from_env`].
    fn default() -> Self {
        Self::with_config(EtcdConfig::from_env())
    }
}

impl EtcdResolver {
    /// A resolver with the default configuration and what the environment says; see [`EtcdConfig::from_env`].
    pub fn new() -> Self {
        Self::default()
    }

    /// A resolver with this configuration. Nothing is opened before a stream is polled.
    pub fn with_config(config: EtcdConfig) -> Self {
        Self { config }
    }

    fn prepare(&self, target: &Target, entropy: &mut Entropy) -> Result<(Question, Cluster), ResolveError> {
        let question = Question::parse(target, &self.config)?;
        let cluster = Cluster::new(&self.config, &question.members, entropy).map_err(|reason| {
            ResolveError::new(ResolveErrorKind::InvalidTarget, format!("target {:?}: {reason}", target.as_str()))
        })?;
        Ok((question, cluster))
    }
}

impl Resolver for EtcdResolver {
    fn schemes(&self) -> &[&'static str] {
        &["etcd"]
    }

    fn validate(&self, target: &Target) -> Result<(), ResolveError> {
        self.prepare(target, &mut entropy::seeded(self.config.seed)).map(drop)
    }

    fn resolve(&self, target: &Target, again: ResolveNow) -> ResolverStream {
        let mut entropy = entropy::seeded(self.config.seed);
        match self.prepare(target, &mut entropy) {
            Ok((question, cluster)) => {
                // What could be prepared once can be prepared twice; only chance differs.
                let key = question.config_key.as_deref().and_then(|key| {
                    let mut entropy = Entropy::from_seed(entropy.draw());
                    let (_, cluster) = self.prepare(target, &mut entropy).ok()?;
                    Some(KeyStream::new(&self.config, cluster, key, entropy))
                });
                let endpoints = EtcdStream::new(&self.config, cluster, question.range, entropy, again).run();
                match key {
                    Some(key) => Box::pin(ConfiguredStream::new(endpoints, key.run())),
                    None => endpoints,
                }
            }
            Err(error) => Box::pin(stream::iter([Err(error)]).chain(stream::pending())),
        }
    }

    /// The last part of the name, because slashes have no place in a host name.
    fn authority(&self, target: &Target) -> Option<String> {
        let name = target.path().trim_end_matches('/');
        let last = name.rsplit('/').next().unwrap_or(name);
        Some(if Address::host(last, 0).is_ok() { last } else { "localhost" }.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;
    use lb_core::Trigger;

    use super::*;
    use crate::tls::EtcdTls;

    fn target(text: &str) -> Target {
        Target::parse(text, &|scheme| scheme == "etcd").unwrap()
    }

    #[test]
    fn a_bad_target_is_an_error_when_built_and_when_resolved() {
        let resolver = EtcdResolver::with_config(EtcdConfig::new());
        assert!(resolver.validate(&target("etcd:///greeter")).is_ok());
        assert!(resolver.validate(&target("etcd:///")).is_err());
        let mut stream = resolver.resolve(&target("etcd:///"), Trigger::pair().1);
        assert!(stream.next().now_or_never().unwrap().unwrap().is_err());
    }

    #[test]
    fn the_authority_is_the_last_part_of_the_name() {
        let resolver = EtcdResolver::with_config(EtcdConfig::new());
        for (text, expected) in
            [("etcd:///svc/greeter", "greeter"), ("etcd:////svc/greeter/", "greeter"), ("etcd:///svc/gr%C3%BC%C3%9Fe", "localhost")]
        {
            assert_eq!(resolver.authority(&target(text)).as_deref(), Some(expected));
        }
    }

    #[test]
    fn tls_that_cannot_be_had_is_said_when_the_channel_is_built() {
        let resolver =
            EtcdResolver::with_config(EtcdConfig::new().with_tls(EtcdTls::new().ca_certificate("nonsense").identity("x", "y")));
        let error = resolver.validate(&target("etcd://a:1/greeter")).unwrap_err();
        assert!(error.message().contains("TLS to a:1"), "{error}");
    }
}
