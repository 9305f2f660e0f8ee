//! The resolver itself.

use std::fmt;
use std::net::Ipv4Addr;
use std::net::Ipv6Addr;
use std::net::SocketAddr;
use std::sync::Arc;

use futures_util::StreamExt;
use futures_util::stream;
use lb_core::Address;
use lb_core::Endpoint;
use lb_core::ResolveError;
use lb_core::ResolveNow;
use lb_core::Resolver;
use lb_core::ResolverStream;
use lb_core::ResolverUpdate;
use lb_core::Target;

use crate::clients::Clients;
use crate::config::DnsConfig;
use crate::entropy;
use crate::lookup::Lookup;
use crate::lookup::Subject;
use crate::order::Order;
use crate::pace::Pace;
use crate::question::Name;
use crate::question::Question;
use crate::service_config::Chooser;
use crate::service_config::system_hostname;
use crate::stream::DnsStream;

/// Resolves `dns:` targets; see the [crate's page](crate) for what it does and when.
///
/// Streams share one DNS client per set of name servers, which goes when the last of them does. The system's configuration
/// (`resolv.conf`, hosts file) is read when first needed and again after three failures in a row. Streams need a tokio runtime
/// with network and time enabled.
///
/// An address literal and `localhost` (with everything under it) are yielded at once and never looked up; `localhost` is one
/// endpoint with both loopback addresses.
#[derive(Clone)]
pub struct DnsResolver {
    config: DnsConfig,
    clients: Arc<Clients>,
}

impl Default for DnsResolver {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for DnsResolver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DnsResolver").field("config", &self.config).finish_non_exhaustive()
    }
}

impl DnsResolver {
    /// A resolver with the default configuration.
    pub fn new() -> Self {
        Self::with_config(DnsConfig::default())
    }

    /// A resolver with this configuration. Nothing is opened or read before the first lookup.
    pub fn with_config(config: DnsConfig) -> Self {
        let clients = Arc::new(Clients::new(config.hosts_file, config.timeout));
        Self { config, clients }
    }

    fn look_up(&self, subject: Subject, server: Option<SocketAddr>, again: ResolveNow) -> ResolverStream {
        let config = &self.config;
        let mut entropy = entropy::seeded(config.seed);
        let order = Order::new(entropy.draw());
        let percentile = (entropy.draw() % 100) as u8;
        let chooser = config.service_config.then(|| {
            let hostname = config.client_hostname.clone().or_else(system_hostname);
            Chooser { percentile, hostname }
        });
        let servers = server.map_or_else(|| config.name_servers.clone(), |server| vec![server]);
        let lookup = Lookup::new(Arc::new(Arc::clone(&self.clients).open(servers)), subject, order, chooser);
        DnsStream::new(lookup, Pace::new(config, entropy), config.timeout, again).run()
    }
}

impl Resolver for DnsResolver {
    fn schemes(&self) -> &[&'static str] {
        &["dns"]
    }

    fn validate(&self, target: &Target) -> Result<(), ResolveError> {
        Question::parse(target, &self.config).map(drop)
    }

    fn resolve(&self, target: &Target, again: ResolveNow) -> ResolverStream {
        let question = match Question::parse(target, &self.config) {
            Ok(question) => question,
            Err(error) => return once(Err(error)),
        };
        match question.name {
            Name::Literal(address) => once(Ok(vec![Endpoint::new(address)])),
            Name::Localhost(port) => once(Ok(loopback(port))),
            Name::Host(name, port) => self.look_up(Subject::Host(name, port), question.server, again),
            Name::Service(name) => self.look_up(Subject::Service(name), question.server, again),
        }
    }

    fn authority(&self, target: &Target) -> Option<String> {
        Question::parse(target, &self.config).ok()?.authority(target)
    }
}

/// One server, reached either way.
fn loopback(port: u16) -> Vec<Endpoint> {
    let v4 = Address::Tcp((Ipv4Addr::LOCALHOST, port).into());
    let v6 = Address::Tcp((Ipv6Addr::LOCALHOST, port).into());
    Endpoint::with_addresses([v4, v6]).into_iter().collect()
}

fn once(outcome: Result<Vec<Endpoint>, ResolveError>) -> ResolverStream {
    Box::pin(stream::iter([outcome.map(ResolverUpdate::new)]).chain(stream::pending()))
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;
    use lb_core::Trigger;

    use super::*;

    fn only(text: &str) -> String {
        let target = Target::parse(text, &|scheme| scheme == "dns").unwrap();
        let (trigger, again) = Trigger::pair();
        let mut stream = DnsResolver::new().resolve(&target, again);
        let update = stream.next().now_or_never().unwrap().unwrap().unwrap();
        trigger.fire();
        assert!(stream.next().now_or_never().is_none(), "{text} was looked at again");
        assert_eq!(update.endpoints.len(), 1);
        let addresses: Vec<_> = update.endpoints[0].addresses().iter().map(Address::to_string).collect();
        addresses.join(" ")
    }

    /// Outside of any runtime, so a lookup would panic.
    #[test]
    fn literals_and_localhost_are_yielded_once_without_lookup() {
        assert_eq!(only("dns:///10.0.0.1:1"), "10.0.0.1:1");
        assert_eq!(only("dns:///[::1]"), "[::1]:443");
        assert_eq!(only("localhost:1"), "127.0.0.1:1 [::1]:1");
    }

    #[test]
    fn a_bad_target_is_an_error_when_built_and_when_resolved() {
        let target = Target::parse("dns://ns.example/orders", &|scheme| scheme == "dns").unwrap();
        assert!(DnsResolver::new().validate(&target).is_err());
        let mut stream = DnsResolver::new().resolve(&target, Trigger::pair().1);
        assert!(stream.next().now_or_never().unwrap().unwrap().is_err());
    }
}
