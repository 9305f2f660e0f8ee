//! One sequence of numbers for everything a process can be asked about.

use std::sync::atomic::{AtomicU64, Ordering};

/// A number that nothing else in this process has or will have, from 1 on.
///
/// Connections take theirs when they are made. Who lists them together with other things, as gRPC's channelz does, numbers those from
/// here too, and then one number names one thing. The only state that is global here: it decides nothing, and two sequences
/// could not promise that.
pub fn next_serial() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed)
}
