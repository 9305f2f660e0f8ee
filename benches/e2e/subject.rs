//! Who is compared.

use std::fmt;
use std::str::FromStr;

use lb_bench::BenchError;
use lb_bench::peer::PeerKind;

use super::cell::{Cell, Group};

/// A client. Those of this process come first, in the order that `--count` numbers them by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Subject {
    /// tonic's `Channel::balance_list`: the base of all ratios.
    BalanceList,
    /// tonic's `Channel` to the first server.
    OneChannel,
    RoundRobin,
    LeastRequest,
    /// Round robin, every call with a deadline.
    Deadline,
    /// Round robin with retries, circuit breakers and outlier ejection, none of which has anything to do.
    Guarded,
    /// Round robin, observed by nobody who wants to hear more than the ends: what observing itself costs.
    Observed,
    /// Round robin, with every metric there is of channels and calls.
    Metrics,
    /// The transport below our channel, one connection to the first server: what remains without balancing.
    Direct,
    /// tonic's `Channel::balance_list`, every call with a deadline.
    BalanceListDeadline,
    /// Round robin with metrics, events that are read, an admin server, and one call in a hundred traced.
    Everything,
    /// Another maker's client, a process of its own with round robin; Envoy with tonic's `Channel` in front.
    Peer(PeerKind),
}

impl Subject {
    pub(crate) const ALL: [Self; 15] = [
        Self::BalanceList,
        Self::OneChannel,
        Self::RoundRobin,
        Self::LeastRequest,
        Self::Deadline,
        Self::Guarded,
        Self::Observed,
        Self::Metrics,
        Self::Direct,
        Self::BalanceListDeadline,
        Self::Everything,
        Self::Peer(PeerKind::Go),
        Self::Peer(PeerKind::Cpp),
        Self::Peer(PeerKind::GrpcRust),
        Self::Peer(PeerKind::Envoy),
    ];

    /// Whether it can be had there. Envoy would need certificates of its own to be measured with TLS.
    pub(crate) fn possible(self, cell: &Cell) -> bool {
        !(cell.tls && self == Self::Peer(PeerKind::Envoy))
    }

    /// Whether it is of interest there.
    pub(crate) fn belongs(self, cell: &Cell) -> bool {
        self.possible(cell)
            && match (self, cell.group) {
                (Self::BalanceList | Self::RoundRobin, _) => true,
                (Self::OneChannel, group) => group == Group::Main,
                (Self::Direct, group) => group == Group::Main && cell.endpoints == 1,
                (Self::Peer(_), group) => group == Group::Main,
                (_, group) => group == Group::Extras,
            }
    }

    /// In tables.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::BalanceList => "tonic balance_list",
            Self::OneChannel => "tonic Channel, one server",
            Self::RoundRobin => "evenkeel round_robin",
            Self::LeastRequest => "evenkeel least_request",
            Self::Deadline => "evenkeel round_robin, deadline",
            Self::Guarded => "evenkeel round_robin, guarded",
            Self::Observed => "evenkeel round_robin, observed",
            Self::Metrics => "evenkeel round_robin, metrics",
            Self::Direct => "evenkeel's transport alone",
            Self::BalanceListDeadline => "tonic balance_list, deadline",
            Self::Everything => "evenkeel round_robin, everything on",
            Self::Peer(PeerKind::Go) => "grpc-go round_robin",
            Self::Peer(PeerKind::Cpp) => "gRPC C++ round_robin",
            Self::Peer(PeerKind::GrpcRust) => "grpc crate round_robin",
            Self::Peer(PeerKind::Envoy) => "tonic Channel, Envoy, both",
        }
    }
}

/// On the command line.
impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::BalanceList => "balance_list",
            Self::OneChannel => "channel",
            Self::RoundRobin => "round_robin",
            Self::LeastRequest => "least_request",
            Self::Deadline => "deadline",
            Self::Guarded => "guarded",
            Self::Observed => "observed",
            Self::Metrics => "metrics",
            Self::Direct => "direct",
            Self::BalanceListDeadline => "balance_list_deadline",
            Self::Everything => "everything",
            Self::Peer(PeerKind::Go) => "go",
            Self::Peer(PeerKind::Cpp) => "cpp",
            Self::Peer(PeerKind::GrpcRust) => "grpc",
            Self::Peer(PeerKind::Envoy) => "envoy",
        })
    }
}

impl FromStr for Subject {
    type Err = BenchError;

    fn from_str(text: &str) -> Result<Self, BenchError> {
        let numbered = || Self::ALL.get(text.parse::<usize>().ok()?);
        let found = Self::ALL.iter().find(|subject| subject.to_string() == text).or_else(numbered);
        found.copied().ok_or_else(|| BenchError::Argument {
            argument: text.to_owned(),
            reason: format!(
                "a client is one of {}, or its number from 0 on",
                Self::ALL.map(|subject| subject.to_string()).join(", ")
            ),
        })
    }
}
