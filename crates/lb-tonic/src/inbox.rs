//! What clones of a channel, its calls and its gates want of its driver.

use std::collections::BTreeSet;
use std::mem;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use lb_core::machine::Command;
use lb_core::service_config::ServiceConfig;
use lb_core::{LbEvent, Observer, Slot};
use tokio::sync::Notify;

use crate::sessions::Moved;

/// What clones and calls want of the driver. Bounded: wishes that repeat are one.
#[derive(Debug, Default)]
pub(crate) struct Inbox {
    wishes: Mutex<Wishes>,
    notify: Notify,
}

#[derive(Debug, Default)]
pub(crate) struct Wishes {
    pub(crate) exit_idle: bool,
    pub(crate) connect: BTreeSet<Slot>,
    pub(crate) orders: Vec<Order>,
    pub(crate) check_health: bool,
    pub(crate) rebuild: bool,
    pub(crate) moved: Moved,
    pub(crate) observers: Vec<Arc<dyn Observer>>,
    /// Somebody has begun to follow events.
    pub(crate) listen: bool,
    /// Calls have found no endpoint.
    pub(crate) picks_failed: bool,
    pub(crate) close: bool,
}

/// What the program wants done, in the order in which it was said.
#[derive(Debug)]
pub(crate) enum Order {
    Machine(Command),
    Configure(Option<Arc<ServiceConfig>>),
    Announce(LbEvent),
}

impl Inbox {
    pub(crate) fn exit_idle(&self) {
        self.change(|wishes| wishes.exit_idle = true);
    }

    pub(crate) fn connect(&self, slot: Slot) {
        self.change(|wishes| {
            wishes.connect.insert(slot);
        });
    }

    pub(crate) fn command(&self, command: Command) {
        self.order(Order::Machine(command));
    }

    pub(crate) fn order(&self, order: Order) {
        self.change(|wishes| wishes.orders.push(order));
    }

    pub(crate) fn check_health(&self) {
        self.change(|wishes| wishes.check_health = true);
    }

    /// Stages and policies shall look again.
    pub(crate) fn rebuild(&self) {
        self.change(|wishes| wishes.rebuild = true);
    }

    /// Somebody wants to hear of what happens from now on.
    pub(crate) fn observe(&self, observer: Arc<dyn Observer>) {
        self.change(|wishes| wishes.observers.push(observer));
    }

    /// A session has moved; told by the driver, so that observers hear everything in order and on one task.
    pub(crate) fn moved(&self, event: LbEvent) {
        self.change(|wishes| wishes.moved.push(event));
    }

    /// Somebody has begun to follow events.
    pub(crate) fn listen(&self) {
        self.change(|wishes| wishes.listen = true);
    }

    /// Calls have found no endpoint, and nobody has been told yet.
    pub(crate) fn picks_failed(&self) {
        self.change(|wishes| wishes.picks_failed = true);
    }

    pub(crate) fn close(&self) {
        self.change(|wishes| wishes.close = true);
    }

    /// Waits until there are wishes. Cancel safe.
    pub(crate) async fn wished(&self) -> Wishes {
        loop {
            let notified = self.notify.notified();
            let wishes = mem::take(&mut *self.lock());
            if !wishes.is_empty() {
                return wishes;
            }
            notified.await;
        }
    }

    fn change(&self, change: impl FnOnce(&mut Wishes)) {
        change(&mut self.lock());
        self.notify.notify_one();
    }

    fn lock(&self) -> MutexGuard<'_, Wishes> {
        // No code that can panic runs under the lock.
        self.wishes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Wishes {
    fn is_empty(&self) -> bool {
        !self.exit_idle
            && !self.check_health
            && !self.rebuild
            && !self.listen
            && !self.picks_failed
            && !self.close
            && self.connect.is_empty()
            && self.orders.is_empty()
            && self.moved.is_empty()
            && self.observers.is_empty()
    }
}
