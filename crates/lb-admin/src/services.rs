//! The channels that are looked at, by name.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use lb_tonic::{LbChannel, WeakChannel};

/// Channels by the names of the services they lead to. Cheap to clone; all clones are the same set.
///
/// It keeps no channel alive: one that nobody else has any more is gone from here too. So an admin server may be started once, early, and
/// never be the reason that a connection stays open.
#[derive(Debug, Clone, Default)]
pub struct Services(Arc<Mutex<Inner>>);

#[derive(Default)]
struct Inner {
    /// Those that were added.
    named: BTreeMap<Arc<str>, WeakChannel>,
    /// Lists kept by others, asked each time.
    followed: Vec<Arc<List>>,
}

/// Channels by the names of their services, as they are now.
type List = dyn Fn() -> Vec<(Arc<str>, LbChannel)> + Send + Sync;

impl Services {
    /// No channels.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a channel under this name; one that had it is forgotten, and lives on.
    pub fn add(&self, name: impl Into<Arc<str>>, channel: &LbChannel) {
        let (name, channel) = (name.into(), channel.downgrade());
        let mut inner = self.lock();
        inner.named.retain(|_, channel| channel.upgrade().is_some());
        inner.named.insert(name, channel);
    }

    /// Forgets a channel, which lives on; whether there was one.
    pub fn remove(&self, name: &str) -> bool {
        self.lock().named.remove(name).is_some_and(|channel| channel.upgrade().is_some())
    }

    /// The channel of this name, if anybody still has it.
    pub fn get(&self, name: &str) -> Option<LbChannel> {
        let (channel, followed) = {
            let inner = self.lock();
            (inner.named.get(name).cloned(), inner.followed.clone())
        };
        let listed = || followed.iter().flat_map(|list| list()).find(|(listed, _)| **listed == *name).map(|(_, channel)| channel);
        channel.and_then(|channel| channel.upgrade()).or_else(listed)
    }

    /// Every channel that still exists, ordered by name.
    pub fn all(&self) -> Vec<(Arc<str>, LbChannel)> {
        // A channel that ends here, as its last owner, must not do so under the lock.
        let (named, followed) = {
            let inner = self.lock();
            (inner.named.clone(), inner.followed.clone())
        };
        let listed = followed.iter().flat_map(|list| list());
        let named = named.into_iter().filter_map(|(name, channel)| Some((name, channel.upgrade()?)));
        // Of two of one name the one that was added counts.
        let all: BTreeMap<Arc<str>, LbChannel> = listed.chain(named).collect();
        all.into_iter().collect()
    }

    /// Holds the channels of this list, too, whichever they are whenever somebody looks.
    #[cfg(all(feature = "http", feature = "config"))]
    pub(crate) fn follow(&self, list: impl Fn() -> Vec<(Arc<str>, LbChannel)> + Send + Sync + 'static) {
        self.lock().followed.push(Arc::new(list));
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Inner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Services").field("named", &self.named.keys()).field("lists", &self.followed.len()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn channel() -> LbChannel {
        LbChannel::builder("static:///127.0.0.1:1").build().unwrap()
    }

    #[tokio::test]
    async fn a_channel_is_here_as_long_as_somebody_else_has_it() {
        let (services, orders, users) = (Services::new(), channel(), channel());
        services.add("users", &users);
        services.add("orders", &orders);
        let names = |services: &Services| services.all().into_iter().map(|(name, _)| name.to_string()).collect::<Vec<_>>();
        assert_eq!(names(&services), ["orders", "users"]);
        assert!(services.get("orders").is_some() && services.get("Orders").is_none());
        drop(orders);
        assert!(services.get("orders").is_none());
        assert_eq!(names(&services), ["users"]);
        assert!(!services.remove("orders") && services.remove("users") && !services.remove("users"));
    }
}
