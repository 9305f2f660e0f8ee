//! One line per change: who, what, from what to what, and how it ended.
//!
//! Lines are events of `tracing` with the target `evenkeel::audit`, at INFO if the change was made and WARN if it was refused. Every
//! request that may change something gets one, whatever becomes of it. Those who have no token changed nothing, and could fill a disk: of them
//! one is told in ten seconds, and how many there were.

use std::net::SocketAddr;

use axum::response::Response;
use http::Method;
use tracing::{info, warn};

use crate::access::Caller;

/// Under which target the lines can be found.
pub(crate) const TARGET: &str = "evenkeel::audit";

/// No line holds more of a path.
const SHOWN: usize = 200;

/// What a change did; handlers leave it with their answer.
#[derive(Debug, Clone, Default)]
pub(crate) struct Trail {
    /// Before.
    pub(crate) from: String,
    /// After.
    pub(crate) to: String,
}

/// Why a request was refused; problems leave it with their answer.
#[derive(Debug, Clone)]
pub(crate) struct Refused(pub(crate) String);

/// Writes the line of a request that was answered so.
pub(crate) fn line(caller: &Caller, method: &Method, path: &str, response: &Response) {
    let who = caller.name.as_deref().unwrap_or("anybody on this machine");
    let peer = caller.peer.map(|peer| peer.to_string()).unwrap_or_default();
    let path: String = path.chars().take(SHOWN).collect();
    let status = response.status().as_u16();
    if response.status().is_success() {
        let outcome = if status == 202 { "asked" } else { "done" };
        let Trail { from, to } = response.extensions().get().cloned().unwrap_or_default();
        info!(target: TARGET, who, peer, %method, path, from, to, status, outcome, "change");
    } else {
        let reason = response.extensions().get::<Refused>().map(|refused| refused.0.as_str()).unwrap_or_default();
        warn!(target: TARGET, who, peer, %method, path, status, outcome = "refused", reason, "change");
    }
}

/// Writes a line of one who came without a token of this server, the latest of so many since the last such line.
pub(crate) fn no_token(peer: Option<SocketAddr>, method: &Method, path: &str, count: u64) {
    let peer = peer.map(|peer| peer.to_string()).unwrap_or_default();
    let path: String = path.chars().take(SHOWN).collect();
    warn!(target: TARGET, peer, %method, path, status = 401_u16, outcome = "refused", count, "no token");
}
