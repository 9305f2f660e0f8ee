//! What calls see of faults: every fault, with every kind of call and every policy, against real servers and sockets.
//!
//! **What.** Three endpoints, of which one, the *victim*, gets a fault while calls go on; then the fault ends. A *cell* is one fault, one
//! policy and one kind of call. Of each cell a line says how many calls were made, failed and executed twice, how slow the slowest was,
//! and how long it took until the victim was left and until it was back. `cargo xtask test faults` makes a table of the lines.
//!
//! **Which cells.** Every fault with every kind of call under `round_robin`, and every fault with every policy for unary calls: what
//! becomes of a call that is in progress depends on its kind, and who gets the next call depends on the policy; neither asks the other.
//!
//! All of it twice: with a channel as it is, and with one that is given what protects calls (`armour.rs`).
//!
//! **What is asserted.** Of each cell, by [`judge`]: which calls may fail (none, or those that were at the victim when it happened), that
//! nothing is executed twice that may not be, that the victim is left and taken back in time. Times are for the table: bounds are those of the
//! configuration and ten seconds for a busy machine.
//!
//! | file | |
//! |---|---|
//! | `fault.rs` | what a fault is, and all of them |
//! | `site.rs` | the servers, the victim, the channel |
//! | `armour.rs` | what protects calls, and what that changes |
//! | `kind.rs` | the kinds of calls |
//! | `traffic.rs` | the calls, and what became of each |
//! | `cell.rs` | one cell from beginning to end |
//! | `judge.rs`, `judge_tests.rs` | what it must have been |
//! | `report.rs` | the lines |
//! | `watch.rs` | when the victim was left and taken back |
//! | `tls.rs`, `dns.rs` | certificates; a name server |
#![allow(clippy::unwrap_used, reason = "a failing helper fails the test")]

mod armour;
mod cell;
#[cfg(feature = "dns")]
mod dns;
mod fault;
mod judge;
mod judge_tests;
mod kind;
mod report;
mod site;
#[path = "../support/mod.rs"]
#[allow(dead_code, reason = "shared by several test binaries")]
mod support;
#[cfg(feature = "tls-ring")]
mod tls;
mod traffic;
mod watch;

/// A test for each fault and armour, so that the runner names the one that fails.
macro_rules! faults {
    ($($module:ident: $fault:ident),* $(,)?) => {
        $(
            mod $module {
                use crate::armour::Armour;
                use crate::{cell, fault};

                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn plain() {
                    cell::run_all(&fault::$fault, Armour::Plain).await;
                }

                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn guarded() {
                    cell::run_all(&fault::$fault, Armour::Guarded).await;
                }
            }
        )*
    };
}

faults! {
    refused: REFUSED,
    killed: KILLED,
    stopped: STOPPED,
    black_hole_from_the_start: BLACK_HOLE_BEFORE,
    black_hole_in_mid_connection: BLACK_HOLE,
    cable_pulled_from_the_start: CABLE_PULLED_BEFORE,
    cable_pulled_in_mid_connection: CABLE_PULLED,
    reset_in_mid_call: RESET,
    goaway_in_mid_burst: GOAWAY,
    slow_accept: SLOW_ACCEPT,
    slow_drip: SLOW_DRIP,
    half_open: HALF_OPEN,
    one_stream_at_a_time: ONE_STREAM,
    errors_at_once: ERRORS,
    garbage: GARBAGE,
    flapping: FLAPPING,
}

#[cfg(feature = "tls-ring")]
faults! {
    tls_expired: TLS_EXPIRED,
    tls_wrong_name: TLS_WRONG_NAME,
}

#[cfg(feature = "dns")]
faults! {
    dns_gone: DNS_GONE,
}
