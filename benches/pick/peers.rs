//! Who is compared with whom: ours, and the peer's picker that serves the same wish.

pub(crate) const TOWER_PENDING: &str = "tower P2C, pending requests";
pub(crate) const TOWER_PEAK_EWMA: &str = "tower P2C, Peak-EWMA";
pub(crate) const PINGORA_ROUND_ROBIN: &str = "pingora round robin";
pub(crate) const PINGORA_WEIGHTED: &str = "pingora weighted round robin";
pub(crate) const PINGORA_RANDOM: &str = "pingora random";
pub(crate) const PINGORA_KETAMA: &str = "pingora ketama";

/// Ours first. A latency that is recorded is part of tower's pick, so it is of ours too.
pub(crate) const PAIRS: [(&str, &str); 8] = [
    ("least_request", TOWER_PENDING),
    ("peak_ewma timed", TOWER_PEAK_EWMA),
    ("round_robin", PINGORA_ROUND_ROBIN),
    ("weighted_round_robin", PINGORA_WEIGHTED),
    ("random", PINGORA_RANDOM),
    ("ring_hash", PINGORA_KETAMA),
    ("maglev", PINGORA_KETAMA),
    ("rendezvous", PINGORA_KETAMA),
];
