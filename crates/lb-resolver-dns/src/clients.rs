//! DNS clients, one per set of name servers, shared by the streams that use it and gone with the last of them.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::sync::Weak;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use lb_core::ResolveErrorKind;

use crate::client::Client;
use crate::dns::Addresses;
use crate::dns::Answer;
use crate::dns::Dns;
use crate::dns::Failure;
use crate::dns::Service;

/// The clients of one resolver. An empty list of name servers is the system's.
pub(crate) struct Clients {
    hosts_file: bool,
    timeout: Duration,
    open: Mutex<HashMap<Vec<SocketAddr>, Weak<Client>>>,
}

/// One stream's hold on a client, which is made at the first question.
pub(crate) struct Shared {
    clients: Arc<Clients>,
    servers: Vec<SocketAddr>,
    current: Mutex<Option<Arc<Client>>>,
}

/// Nothing that holds these locks can panic half-way, so a poisoned one is as good as any.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Clients {
    pub(crate) fn new(hosts_file: bool, timeout: Duration) -> Self {
        Self { hosts_file, timeout, open: Mutex::default() }
    }

    /// A hold on the client of these name servers.
    pub(crate) fn open(self: Arc<Self>, servers: Vec<SocketAddr>) -> Shared {
        Shared { clients: self, servers, current: Mutex::default() }
    }

    fn find(&self, servers: &[SocketAddr]) -> Option<Arc<Client>> {
        lock(&self.open).get(servers)?.upgrade()
    }

    /// Keeps a new client, unless another stream was faster.
    fn keep(&self, servers: &[SocketAddr], client: Client) -> Arc<Client> {
        let mut open = lock(&self.open);
        open.retain(|_, client| client.strong_count() > 0);
        if let Some(client) = open.get(servers).and_then(Weak::upgrade) {
            return client;
        }
        let client = Arc::new(client);
        open.insert(servers.to_vec(), Arc::downgrade(&client));
        client
    }

    fn forget(&self, servers: &[SocketAddr], client: &Arc<Client>) {
        let mut open = lock(&self.open);
        // Another stream may have renewed it already.
        if open.get(servers).is_some_and(|known| std::ptr::eq(known.as_ptr(), Arc::as_ptr(client))) {
            open.remove(servers);
        }
    }
}

impl Shared {
    async fn client(&self) -> Result<Arc<Client>, Failure> {
        if let Some(client) = lock(&self.current).clone() {
            return Ok(client);
        }
        let client = match self.clients.find(&self.servers) {
            Some(client) => client,
            None => self.clients.keep(&self.servers, self.build().await?),
        };
        *lock(&self.current) = Some(Arc::clone(&client));
        Ok(client)
    }

    /// Reads files, so it happens on a blocking thread.
    async fn build(&self) -> Result<Client, Failure> {
        let (servers, hosts_file, timeout) = (self.servers.clone(), self.clients.hosts_file, self.clients.timeout);
        let built = tokio::task::spawn_blocking(move || Client::build(&servers, hosts_file, timeout)).await;
        let failed = |message| Failure::Failed(ResolveErrorKind::Unavailable, message);
        match built {
            Ok(client) => client.map_err(|reason| failed(format!("the system's DNS configuration cannot be used: {reason}"))),
            Err(error) => Err(failed(format!("reading the system's DNS configuration was cut off: {error}"))),
        }
    }
}

impl Dns for Shared {
    fn addresses<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Addresses> {
        async move {
            match self.client().await {
                Ok(client) => client.addresses(name).await,
                Err(failure) => Addresses { v4: Err(failure.clone()), v6: Err(failure) },
            }
        }
        .boxed()
    }

    fn services<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Answer<Service>> {
        async move { self.client().await?.services(name).await }.boxed()
    }

    fn texts<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Answer<String>> {
        async move { self.client().await?.texts(name).await }.boxed()
    }

    fn renew(&self) {
        if let Some(client) = lock(&self.current).take() {
            self.clients.forget(&self.servers, &client);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn clients() -> Arc<Clients> {
        Arc::new(Clients::new(true, Duration::from_secs(1)))
    }

    #[tokio::test]
    async fn one_client_per_set_of_name_servers_until_renewed_or_unused() {
        let clients = clients();
        let servers = |port| vec![SocketAddr::from(([127, 0, 0, 1], port))];
        let (one, two) = (Arc::clone(&clients).open(servers(1)), Arc::clone(&clients).open(servers(1)));
        let other = Arc::clone(&clients).open(servers(2));
        let first = one.client().await.unwrap();
        assert!(Arc::ptr_eq(&first, &two.client().await.unwrap()));
        assert!(!Arc::ptr_eq(&first, &other.client().await.unwrap()));

        one.renew();
        let renewed = one.client().await.unwrap();
        assert!(!Arc::ptr_eq(&first, &renewed));
        // The other stream renews for itself and joins.
        two.renew();
        assert!(Arc::ptr_eq(&renewed, &two.client().await.unwrap()));

        let weak = Arc::downgrade(&renewed);
        drop((one, two, renewed));
        assert!(weak.upgrade().is_none());
    }
}
