//! A resolver of your own: it asks a registry at intervals, and at once when the channel wants a fresh look.
//! The registry is a map in this process; it fails for a while and nobody notices, then lists another server.
//! Run it with `cargo run --example custom_resolver`.

#[path = "support/mod.rs"]
mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use evenkeel::{
    Endpoint, LbChannel, LbEvent, ResolveError, ResolveErrorKind, ResolveNow, Resolver, ResolverStream, ResolverUpdate, Target,
};
use futures_util::stream;
use lb_testkit::pb::EchoRequest;
use lb_testkit::pb::echo_client::EchoClient;

use support::{Failure, PATIENCE, key, servers, serves, until};

/// What a real resolver would reach over the network.
#[derive(Debug, Clone, Default)]
struct Registry(Arc<Mutex<Content>>);

#[derive(Debug, Default)]
struct Content {
    down: bool,
    services: BTreeMap<String, Vec<Endpoint>>,
}

impl Registry {
    fn change(&self, change: impl FnOnce(&mut Content)) {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
    }

    async fn ask(&self, service: &str) -> Result<ResolverUpdate, ResolveError> {
        let content = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if content.down {
            // "Could not ask" is not "there are none": the channel keeps what it had.
            return Err(ResolveError::new(ResolveErrorKind::Unavailable, "the registry does not answer"));
        }
        match content.services.get(service) {
            Some(endpoints) => Ok(ResolverUpdate::new(endpoints.clone())),
            None => Err(ResolveError::new(ResolveErrorKind::NotFound, format!("no service {service:?}"))),
        }
    }
}

/// Serves targets such as `registry:///orders`.
#[derive(Debug)]
struct RegistryResolver {
    registry: Registry,
    interval: Duration,
}

impl Resolver for RegistryResolver {
    fn schemes(&self) -> &[&'static str] {
        &["registry"]
    }

    /// Says without asking anybody whether a target makes sense, so that a wrong one is an error when the channel is built.
    fn validate(&self, target: &Target) -> Result<(), ResolveError> {
        match target.path() {
            "" => Err(ResolveError::new(ResolveErrorKind::InvalidTarget, "the service is missing: registry:///SERVICE")),
            _ => Ok(()),
        }
    }

    /// Full sets, one after the other. What the channel does with them (compare, connect, drop) is not the resolver's business.
    /// Dropping the stream must stop everything; here there is nothing but the stream.
    fn resolve(&self, target: &Target, again: ResolveNow) -> ResolverStream {
        let (registry, interval, service) = (self.registry.clone(), self.interval, target.path().to_owned());
        Box::pin(stream::unfold((again, false), move |(mut again, asked_before)| {
            let (registry, service) = (registry.clone(), service.clone());
            async move {
                if asked_before {
                    // Sooner if the channel lost a connection and hopes for news. A resolver that asks a real registry would
                    // bound how often it lets itself be pushed.
                    let _ = tokio::time::timeout(interval, again.fired()).await;
                }
                Some((registry.ask(&service).await, (again, true)))
            }
        }))
    }
}

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let servers = servers(3).await?;
    let registry = Registry::default();
    let listed: Vec<Endpoint> = servers[..2].iter().map(|server| server.endpoint()).collect();
    registry.change(|content| drop(content.services.insert("orders".to_owned(), listed)));

    let resolver = RegistryResolver { registry: registry.clone(), interval: Duration::from_millis(100) };
    let channel = LbChannel::builder("registry:///orders").resolver(resolver).connect(PATIENCE).await?;
    until(&channel, "both serve", |endpoints| servers[..2].iter().all(|server| serves(endpoints, &key(server)))).await?;
    println!("two servers are listed:          {:?} answered", who_answers(&channel).await?);

    let mut events = channel.subscribe();
    registry.change(|content| content.down = true);
    let failed = tokio::time::timeout(PATIENCE, async {
        loop {
            match events.next().await {
                Some(LbEvent::ResolverFailed(reason)) => return Ok(reason),
                Some(_) => {}
                None => return Err("the channel ended"),
            }
        }
    });
    println!("the registry is down:            {}", failed.await??);
    let answered = who_answers(&channel).await?;
    println!("the last good set stands:        {answered:?} answered");
    assert_eq!(answered.len(), 2);

    registry.change(|content| {
        content.down = false;
        content.services.entry("orders".to_owned()).or_default().push(servers[2].endpoint());
    });
    until(&channel, "the third serves", |endpoints| serves(endpoints, &key(&servers[2]))).await?;
    let answered = who_answers(&channel).await?;
    println!("it is back, with a third server: {answered:?} answered");
    assert_eq!(answered.len(), 3);

    let resolver = RegistryResolver { registry, interval: Duration::from_secs(1) };
    let Err(error) = LbChannel::builder("registry:///").resolver(resolver).build() else { return Err("it was accepted".into()) };
    println!("a target without a service:      {error}");
    Ok(())
}

/// The names of the servers that answer a few calls.
async fn who_answers(channel: &LbChannel) -> Result<BTreeSet<String>, Failure> {
    let mut client = EchoClient::new(channel.clone());
    let mut names = BTreeSet::new();
    for _ in 0..12 {
        names.insert(client.unary(EchoRequest::default()).await?.into_inner().server);
    }
    Ok(names)
}
