//! What a person or a program may want to know of the groups.

use std::sync::Arc;
use std::time::Instant;

use crate::connectivity::ConnectivityState;

/// Which group of endpoints is in use, since when and why, and what would change it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct FailoverState {
    /// The priority of the group in use.
    pub priority: u32,
    /// What it is called.
    pub name: Arc<str>,
    /// Since when it is in use.
    pub since: Instant,
    /// Why it is, in words.
    pub reason: Arc<str>,
    /// Where calls would rather go, while they wait for that group to prove itself.
    pub fail_back: Option<FailBack>,
    /// The priority somebody asked for by hand. It is used first as long as it serves.
    pub forced: Option<u32>,
    /// All groups, by priority.
    pub groups: Vec<GroupState>,
}

/// A return that is being waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct FailBack {
    /// The group calls would return to.
    pub priority: u32,
    /// When they do, if it stays READY until then; `None` while it is not READY.
    pub at: Option<Instant>,
}

/// One group of endpoints of equal priority.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct GroupState {
    /// Its priority.
    pub priority: u32,
    /// What it is called.
    pub name: Arc<str>,
    /// READY if one of its endpoints is, TRANSIENT_FAILURE or IDLE if all are, and else CONNECTING.
    pub state: ConnectivityState,
    /// Its endpoints that the stages before left, so without drained ones.
    pub endpoints: usize,
    /// Those of them that are READY.
    pub ready: usize,
}
