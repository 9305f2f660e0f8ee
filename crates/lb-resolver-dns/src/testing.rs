//! DNS that answers what a test says.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::Mutex;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use lb_core::ResolveErrorKind;

use crate::dns::Addresses;
use crate::dns::Answer;
use crate::dns::Dns;
use crate::dns::Failure;
use crate::dns::Records;
use crate::dns::Service;

/// Clones share what they answer.
#[derive(Debug, Clone, Default)]
pub(crate) struct FakeDns(Arc<Mutex<Zone>>);

/// What there is; other names do not exist.
#[derive(Debug, Default)]
pub(crate) struct Zone {
    pub(crate) addresses: HashMap<String, Addresses>,
    pub(crate) services: HashMap<String, Answer<Service>>,
    pub(crate) texts: HashMap<String, Answer<String>>,
    /// Before every answer.
    pub(crate) delay: Duration,
    /// Questions for addresses.
    pub(crate) asked: usize,
    pub(crate) renewed: usize,
}

impl FakeDns {
    /// Reads or changes what there is.
    pub(crate) fn with<T>(&self, change: impl FnOnce(&mut Zone) -> T) -> T {
        change(&mut self.0.lock().unwrap())
    }

    /// Sets the IPv4 addresses of a name; it has no others.
    pub(crate) fn set(&self, name: &str, addresses: &[&str], ttl: u64) {
        let addresses = Addresses { v4: v4(addresses, ttl), v6: absent() };
        self.with(|zone| zone.addresses.insert(name.to_owned(), addresses));
    }

    /// Makes questions for the addresses of a name fail.
    pub(crate) fn break_down(&self, name: &str) {
        self.with(|zone| zone.addresses.insert(name.to_owned(), Addresses { v4: failed(), v6: failed() }));
    }

    async fn answer<T>(&self, read: impl FnOnce(&mut Zone) -> T) -> T {
        let delay = self.with(|zone| zone.delay);
        if !delay.is_zero() {
            tokio::time::sleep(delay).await;
        }
        self.with(read)
    }
}

impl Dns for FakeDns {
    fn addresses<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Addresses> {
        self.answer(move |zone| {
            zone.asked += 1;
            zone.addresses.get(name).cloned().unwrap_or_else(|| Addresses { v4: absent(), v6: absent() })
        })
        .boxed()
    }

    fn services<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Answer<Service>> {
        self.answer(move |zone| zone.services.get(name).cloned().unwrap_or_else(absent)).boxed()
    }

    fn texts<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Answer<String>> {
        self.answer(move |zone| zone.texts.get(name).cloned().unwrap_or_else(absent)).boxed()
    }

    fn renew(&self) {
        self.with(|zone| zone.renewed += 1);
    }
}

pub(crate) fn absent<T>() -> Answer<T> {
    Err(Failure::Absent("no such name".to_owned()))
}

pub(crate) fn failed<T>() -> Answer<T> {
    Err(Failure::Failed(ResolveErrorKind::Unavailable, "silence".to_owned()))
}

pub(crate) fn records<T>(items: Vec<T>, ttl: u64) -> Answer<T> {
    Ok(Records { items, ttl: Duration::from_secs(ttl) })
}

pub(crate) fn v4(addresses: &[&str], ttl: u64) -> Answer<std::net::Ipv4Addr> {
    records(addresses.iter().map(|text| text.parse().unwrap()).collect(), ttl)
}

pub(crate) fn v6(addresses: &[&str], ttl: u64) -> Answer<std::net::Ipv6Addr> {
    records(addresses.iter().map(|text| text.parse().unwrap()).collect(), ttl)
}
