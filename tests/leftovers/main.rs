//! What a channel leaves behind, counted over the whole process: nothing, and no memory.
#![allow(clippy::unwrap_used, reason = "a failing helper fails the test")]

mod channel;
mod memory;
#[path = "../support/mod.rs"]
#[allow(dead_code, reason = "shared by several test binaries")]
mod support;

use tokio::sync::{Mutex, MutexGuard};

#[global_allocator]
static ALLOCATOR: lb_testkit::live::LiveAllocator = lb_testkit::live::LiveAllocator;

/// Sockets and bytes belong to the process: whoever counts them must be alone in it.
async fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::const_new(());
    ALONE.lock().await
}
