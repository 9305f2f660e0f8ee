//! One endpoint's connections: sockets under HTTP/2, the task that drives each, and the gate in front of their streams.
//!
//! ```text
//! H2Transport ──► Pool ──► Link (counter, limit, h2 sender)  ◄── Driver (task) ──► h2 ──► Wire (deferred writes, sniffer) ──► Socket
//! ```

mod bdp;
mod driver;
mod facts;
mod flow;
mod keepalive;
mod link;
mod messages;
mod pool;
mod sniff;
mod traffic;
mod wire;

pub(crate) use driver::await_settings;
pub(crate) use keepalive::KeepaliveConfig;
pub(crate) use link::{Link, Permit};
pub(crate) use messages::Messages;
pub(crate) use pool::{Dial, Pool, PoolConfig, Ticket};
pub(crate) use traffic::Traffic;
pub(crate) use wire::{Socket, Wire};

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Locks; a panic elsewhere while the lock was held leaves data that is still whole, since nothing under our locks can panic half-way.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
