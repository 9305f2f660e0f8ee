//! The channels that are looked at, by name.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use lb_tonic::{LbChannel, WeakChannel};

/// Channels by the names of the services they lead to. Cheap to clone; all clones are the same set.
///
/// It keeps no channel alive: one that nobody else has any more is gone from here too. So an admin server may be started once, early, and
/// never be the reason that a connection stays open.
#[derive(Debug, Clone, Default)]
pub struct Services(Arc<Mutex<BTreeMap<Arc<str>, WeakChannel>>>);

impl Services {
    /// No channels.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a channel under this name; one that had it is forgotten, and lives on.
    pub fn add(&self, name: impl Into<Arc<str>>, channel: &LbChannel) {
        let (name, channel) = (name.into(), channel.downgrade());
        let mut channels = self.lock();
        channels.retain(|_, channel| channel.upgrade().is_some());
        channels.insert(name, channel);
    }

    /// Forgets a channel, which lives on; whether there was one.
    pub fn remove(&self, name: &str) -> bool {
        self.lock().remove(name).is_some_and(|channel| channel.upgrade().is_some())
    }

    /// The channel of this name, if anybody still has it.
    pub fn get(&self, name: &str) -> Option<LbChannel> {
        let channel = self.lock().get(name).cloned();
        channel?.upgrade()
    }

    /// Every channel that still exists, ordered by name.
    pub fn all(&self) -> Vec<(Arc<str>, LbChannel)> {
        // A channel that ends here, as its last owner, must not do so under the lock.
        let channels: Vec<_> = self.lock().iter().map(|(name, channel)| (Arc::clone(name), channel.clone())).collect();
        channels.into_iter().filter_map(|(name, channel)| Some((name, channel.upgrade()?))).collect()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Arc<str>, WeakChannel>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
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
