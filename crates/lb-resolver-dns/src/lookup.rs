//! One look: all queries for a target, and what they come to.

use std::collections::HashMap;
use std::collections::HashSet;
use std::net::IpAddr;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::future::join;
use futures_util::stream;
use lb_core::Address;
use lb_core::Endpoint;
use lb_core::ResolveError;
use lb_core::ResolveErrorKind;
use lb_core::ResolverUpdate;
use lb_core::ServiceConfigUpdate;
use tokio::time::timeout;

use crate::dns::Addresses;
use crate::dns::Answer;
use crate::dns::Dns;
use crate::dns::Failure;
use crate::dns::Records;
use crate::dns::Service;
use crate::known::Known;
use crate::known::Merged;
use crate::order::Order;
use crate::service_config::Chooser;
use crate::srv;

/// Endpoints should not wait long for a service config that most zones do not have.
const TEXTS_TIMEOUT: Duration = Duration::from_secs(2);

/// Targets of SRV records looked up at once; more would look like an attack to a name server.
const AT_ONCE: usize = 16;

/// A DNS message holds at most some 4 000 addresses; SRV multiplies, and memory must stay bounded.
const MOST_ENDPOINTS: usize = 16_384;

/// Looks one name up, again and again.
pub(crate) struct Lookup {
    pub(crate) dns: Arc<dyn Dns>,
    pub(crate) subject: Subject,
    pub(crate) order: Order,
    /// `None` if service configs are not wanted.
    pub(crate) chooser: Option<Chooser>,
    known: Known,
    config: ServiceConfigUpdate,
}

/// What is looked up.
#[derive(Debug, Clone)]
pub(crate) enum Subject {
    /// The addresses of a name, to be used with this port.
    Host(String, u16),
    /// The SRV records of a name, and the addresses of their targets.
    Service(String),
}

/// The outcome of a look.
#[derive(Debug, Clone)]
pub(crate) struct Look {
    pub(crate) update: ResolverUpdate,
    /// How long it holds.
    pub(crate) ttl: Duration,
}

enum Found {
    Host(Addresses),
    Service(Records<Service>, Vec<(String, Addresses)>),
}

impl Subject {
    pub(crate) fn name(&self) -> &str {
        match self {
            Self::Host(name, _) | Self::Service(name) => name,
        }
    }
}

impl Lookup {
    pub(crate) fn new(dns: Arc<dyn Dns>, subject: Subject, order: Order, chooser: Option<Chooser>) -> Self {
        Self { dns, subject, order, chooser, known: Known::default(), config: ServiceConfigUpdate::Absent }
    }

    /// Looks once. May be dropped at any time.
    pub(crate) async fn look(&mut self) -> Result<Look, ResolveError> {
        let dns = Arc::clone(&self.dns);
        let name = self.subject.name().to_owned();
        let texts = async {
            match self.chooser {
                Some(_) => Some(texts(&*dns, &name).await),
                None => None,
            }
        };
        let (found, texts) = join(find(&*dns, &self.subject), texts).await;
        let texts_ttl = texts.and_then(|texts| self.read(texts));
        let (endpoints, ttl, failures) =
            found.and_then(|found| self.endpoints(found)).map_err(|failure| failure.into_error(&format!("name {name:?}")))?;
        let mut update = ResolverUpdate::new(endpoints).with_service_config(self.config.clone());
        if !failures.is_empty() {
            let messages: Vec<&str> = failures.iter().map(Failure::message).collect();
            update = update.with_note(format!("name {name:?} in part: {}", messages.join("; ")));
        }
        Ok(Look { update, ttl: texts_ttl.map_or(ttl, |texts| texts.min(ttl)) })
    }

    /// Takes the service config; one that could not be asked for stays as it was.
    fn read(&mut self, texts: Answer<String>) -> Option<Duration> {
        let chooser = self.chooser.as_ref()?;
        match texts {
            Ok(records) => {
                self.config = chooser.choose(records.items);
                Some(records.ttl)
            }
            Err(failure) => {
                if failure.is_absent() {
                    self.config = ServiceConfigUpdate::Absent;
                }
                tracing::debug!(name = self.subject.name(), reason = failure.message(), "no service config from DNS");
                None
            }
        }
    }

    fn endpoints(&mut self, found: Found) -> Result<(Vec<Endpoint>, Duration, Vec<Failure>), Failure> {
        match (found, &self.subject) {
            (Found::Host(addresses), Subject::Host(name, port)) => {
                let merged = self.known.merge(name, addresses);
                let Some(ttl) = merged.ttl else { return Err(merged.into_failure()) };
                Ok((of_host(&merged, *port, &self.order), ttl, merged.failures))
            }
            (Found::Service(services, targets), _) => self.of_services(&services, targets),
            (Found::Host(_), Subject::Service(_)) => Err(Failure::Absent("no SRV records".to_owned())),
        }
    }

    fn of_services(
        &mut self,
        services: &Records<Service>,
        targets: Vec<(String, Addresses)>,
    ) -> Result<(Vec<Endpoint>, Duration, Vec<Failure>), Failure> {
        let known = &mut self.known;
        let mut merged: HashMap<String, Merged> =
            targets.into_iter().map(|(name, addresses)| (name.clone(), known.merge(&name, addresses))).collect();
        known.retain(|name| merged.contains_key(name));
        let endpoints = srv::endpoints(&services.items, &merged, &self.order);
        let ttl = merged.values().filter_map(|merged| merged.ttl).min().unwrap_or(services.ttl).min(services.ttl);
        let mut names: Vec<_> = merged.keys().cloned().collect();
        names.sort_unstable();
        let about = |name: String| {
            let failures = merged.remove(&name).unwrap_or_default().failures.into_iter();
            failures.map(move |failure| failure.about(&name))
        };
        let failures: Vec<Failure> = names.into_iter().flat_map(about).collect();
        match endpoints.len() {
            0 => Err(Merged { failures, ..Merged::default() }.into_failure()),
            1..=MOST_ENDPOINTS => Ok((endpoints, ttl, failures)),
            many => Err(malformed(format!("{many} endpoints; at most {MOST_ENDPOINTS} are allowed"))),
        }
    }
}

fn malformed(message: String) -> Failure {
    Failure::Failed(ResolveErrorKind::Malformed, message)
}

async fn texts(dns: &dyn Dns, name: &str) -> Answer<String> {
    let unanswered = Err(Failure::Failed(ResolveErrorKind::Unavailable, format!("no answer within {TEXTS_TIMEOUT:?}")));
    timeout(TEXTS_TIMEOUT, dns.texts(&format!("_grpc_config.{name}"))).await.unwrap_or(unanswered)
}

async fn find(dns: &dyn Dns, subject: &Subject) -> Result<Found, Failure> {
    let name = match subject {
        Subject::Host(name, _) => return Ok(Found::Host(dns.addresses(name).await)),
        Subject::Service(name) => name,
    };
    let mut services = dns.services(name).await?;
    // RFC 2782: a target of "." means that the service is decidedly not available there.
    services.items.retain(|service| !matches!(service.target.as_str(), "" | "."));
    if services.items.is_empty() {
        return Err(Failure::Absent("its SRV records say that there is no such service".to_owned()));
    }
    let targets: HashSet<String> = services.items.iter().map(|service| service.target.clone()).collect();
    let lookups = targets.into_iter().map(|target| async move {
        let addresses = dns.addresses(&target).await;
        (target, addresses)
    });
    let targets = stream::iter(lookups).buffer_unordered(AT_ONCE).collect().await;
    Ok(Found::Service(services, targets))
}

fn of_host(merged: &Merged, port: u16, order: &Order) -> Vec<Endpoint> {
    let v4 = merged.v4.iter().copied().map(IpAddr::V4);
    let mut ips: Vec<IpAddr> = v4.chain(merged.v6.iter().copied().map(IpAddr::V6)).collect();
    order.apply(&mut ips);
    ips.into_iter().map(|ip| Endpoint::new(Address::Tcp(SocketAddr::new(ip, port)))).collect()
}

#[cfg(test)]
mod tests;
