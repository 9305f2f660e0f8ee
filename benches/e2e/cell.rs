//! What is measured: cells of a matrix with seven axes, and which of them by default.

use std::fmt;
use std::str::FromStr;

use lb_bench::peer::CallKind;
use lb_bench::{BenchError, Placement};

/// The most endpoints a cell has; the servers' process always has as many.
pub(crate) const MOST_ENDPOINTS: usize = 4;

/// How long one may look at a number of calls at once before it is a mistake.
const MOST_CONCURRENT: usize = 10_000;

/// A message must fit the limit of 4 MiB that gRPC clients have by default.
const LARGEST_PAYLOAD: usize = 4_000_000;

/// Who answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ServerKind {
    /// Does as little as HTTP/2 allows, so that the client is what limits. Plaintext only.
    Light,
    /// A tonic server with generated code, as users have it.
    Tonic,
}

/// Which clients are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Group {
    /// Ours, tonic's, and the peers.
    Main,
    /// Ours with more switched on, each against the same channel without.
    Extras,
}

/// One place of the matrix. Its name has all of it: `tonic/split/unary/100B/4ep/plain/c16`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Cell {
    pub(crate) server: ServerKind,
    pub(crate) placement: Placement,
    pub(crate) call: CallKind,
    /// Bytes of each message, both ways.
    pub(crate) payload: usize,
    pub(crate) endpoints: usize,
    pub(crate) tls: bool,
    /// Calls, or streams, at once.
    pub(crate) concurrency: usize,
    pub(crate) group: Group,
}

impl Cell {
    /// 100 bytes, unary, plain, four endpoints, a core for the client and one for the servers.
    pub(crate) const fn base(server: ServerKind, concurrency: usize) -> Self {
        Self {
            server,
            placement: Placement::Split,
            call: CallKind::Unary,
            payload: 100,
            endpoints: MOST_ENDPOINTS,
            tls: false,
            concurrency,
            group: Group::Main,
        }
    }

    /// What is measured unless something else is asked for: both servers in every placement at 1, 16 and 128 at once; then every other axis varied
    /// from there alone; then the extras.
    pub(crate) fn usual() -> Vec<Self> {
        use ServerKind::{Light, Tonic};
        let mut cells = Vec::new();
        for server in [Light, Tonic] {
            for placement in Placement::ALL {
                cells.extend([1, 16, 128].map(|concurrency| Self { placement, ..Self::base(server, concurrency) }));
            }
        }
        cells.extend([(Light, 128), (Tonic, 16), (Tonic, 128)].map(|(server, at)| Self { endpoints: 1, ..Self::base(server, at) }));
        let payloads =
            [(Light, 1_024, 128), (Tonic, 10_000, 16), (Tonic, 10_000, 128), (Tonic, 1_000_000, 1), (Tonic, 1_000_000, 16)];
        cells.extend(payloads.map(|(server, payload, at)| Self { payload, ..Self::base(server, at) }));
        cells.extend([(Light, 128), (Tonic, 1), (Tonic, 16), (Tonic, 128)].map(|(server, at)| Self::base(server, at).streaming()));
        cells.push(Self { placement: Placement::Two, ..Self::base(Tonic, 128).streaming() });
        cells.extend([1, 16, 128].map(|at| Self { tls: true, ..Self::base(Tonic, at) }));
        cells.push(Self { tls: true, payload: 10_000, ..Self::base(Tonic, 16) });
        cells.push(Self { tls: true, ..Self::base(Tonic, 16).streaming() });
        cells.extend([(Light, 128), (Tonic, 16)].map(|(server, at)| Self { group: Group::Extras, ..Self::base(server, at) }));
        cells
    }

    /// A few, to see that everything works.
    pub(crate) fn few() -> Vec<Self> {
        use ServerKind::{Light, Tonic};
        vec![
            Self::base(Light, 128),
            Self { placement: Placement::Same, ..Self::base(Tonic, 1) },
            Self::base(Tonic, 16).streaming(),
            Self { endpoints: 1, ..Self::base(Tonic, 16) },
            Self { tls: true, payload: 10_000, ..Self::base(Tonic, 16) },
            Self { placement: Placement::Two, group: Group::Extras, ..Self::base(Tonic, 16) },
        ]
    }

    fn streaming(self) -> Self {
        Self { call: CallKind::Stream, ..self }
    }

    /// Whether its name has this part: `tls`, `c16`, `10KB`.
    pub(crate) fn has(&self, part: &str) -> bool {
        self.to_string().split('/').any(|found| found == part)
    }
}

fn placement_name(placement: Placement) -> &'static str {
    match placement {
        Placement::Split => "split",
        Placement::Same => "same",
        Placement::Two => "two",
    }
}

impl fmt::Display for ServerKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Light => "light",
            Self::Tonic => "tonic",
        })
    }
}

impl fmt::Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (server, placement, call) = (self.server, placement_name(self.placement), self.call);
        write!(f, "{server}/{placement}/{call}/{}/{}ep/", size(self.payload), self.endpoints)?;
        write!(f, "{}/c{}", if self.tls { "tls" } else { "plain" }, self.concurrency)?;
        match self.group {
            Group::Main => Ok(()),
            Group::Extras => f.write_str("/extras"),
        }
    }
}

fn size(bytes: usize) -> String {
    let units = [(1_000_000, "MB"), (1_024, "KiB"), (1_000, "KB")];
    let unit = units.into_iter().find(|(unit, _)| bytes > 0 && bytes.is_multiple_of(*unit));
    unit.map_or_else(|| format!("{bytes}B"), |(unit, name)| format!("{}{name}", bytes / unit))
}

/// Bytes of `100B`, `1KiB`, `10KB`, `1MB`.
fn bytes(text: &str) -> Option<usize> {
    let digits = text.find(|character: char| !character.is_ascii_digit())?;
    let unit = match &text[digits..] {
        "B" => 1,
        "KB" => 1_000,
        "KiB" => 1_024,
        "MB" => 1_000_000,
        _ => return None,
    };
    text[..digits].parse::<usize>().ok()?.checked_mul(unit)
}

impl FromStr for ServerKind {
    type Err = BenchError;

    fn from_str(text: &str) -> Result<Self, BenchError> {
        match text {
            "light" => Ok(Self::Light),
            "tonic" => Ok(Self::Tonic),
            _ => Err(refused(text, "a server is `light` or `tonic`")),
        }
    }
}

impl FromStr for Cell {
    type Err = BenchError;

    fn from_str(text: &str) -> Result<Self, BenchError> {
        let parts: Vec<&str> = text.split('/').collect();
        let (parts, group) = match &parts[..] {
            [parts @ .., "extras"] => (parts, Group::Extras),
            parts => (parts, Group::Main),
        };
        let &[server, placement, call, payload, endpoints, security, concurrency] = parts else {
            return Err(refused(text, "a cell is SERVER/PLACEMENT/CALL/PAYLOAD/ENDPOINTS/SECURITY/CONCURRENCY[/extras]"));
        };
        let number = |text: Option<&str>, most| text?.parse().ok().filter(|number| (1..=most).contains(number));
        let cell = Self {
            server: server.parse()?,
            placement: *Placement::ALL
                .iter()
                .find(|known| placement_name(**known) == placement)
                .ok_or_else(|| refused(placement, "a placement is `split`, `same` or `two`"))?,
            call: match call {
                "unary" => CallKind::Unary,
                "stream" => CallKind::Stream,
                _ => return Err(refused(call, "a call is `unary` or `stream`")),
            },
            payload: bytes(payload)
                .filter(|bytes| *bytes <= LARGEST_PAYLOAD)
                .ok_or_else(|| refused(payload, "a payload is a number and B, KB, KiB or MB, 4MB at the most"))?,
            endpoints: number(endpoints.strip_suffix("ep"), MOST_ENDPOINTS)
                .ok_or_else(|| refused(endpoints, "endpoints are 1ep to 4ep"))?,
            tls: match security {
                "plain" => false,
                "tls" => true,
                _ => return Err(refused(security, "security is `plain` or `tls`")),
            },
            concurrency: number(concurrency.strip_prefix('c'), MOST_CONCURRENT)
                .ok_or_else(|| refused(concurrency, "calls at once are c1 to c10000"))?,
            group,
        };
        match cell {
            Self { server: ServerKind::Light, tls: true, .. } => Err(refused(text, "the light server speaks no TLS")),
            cell => Ok(cell),
        }
    }
}

fn refused(argument: &str, reason: &str) -> BenchError {
    BenchError::Argument { argument: argument.to_owned(), reason: reason.to_owned() }
}
