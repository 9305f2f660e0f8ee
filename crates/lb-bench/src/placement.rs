//! Which cores client and server may use. It decides more than any library does, so it is named with every figure.

use std::fmt;
use std::io;
use std::process::{Command, Stdio};
use std::str::FromStr;

use tokio::runtime::{Builder, Runtime};

use crate::BenchError;

/// Where client threads and servers run, on the first two cores of the machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Placement {
    /// One client thread on one core, the servers on another.
    Split,
    /// One client thread and the servers on the same core.
    Same,
    /// Two client threads, which share both cores with the servers.
    Two,
}

impl Placement {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Split, Self::Same, Self::Two];

    /// Confines this process and the servers', given by its id. Without `taskset`, or without a second core, nothing is confined, and standard error says so.
    pub fn pin(self, servers: u32) {
        let server = match self {
            Self::Split => "1",
            Self::Same => "0",
            Self::Two => "0,1",
        };
        self.pin_client(std::process::id());
        confine(servers, server);
    }

    /// Confines another client's process, given by its id, to where clients run.
    pub fn pin_client(self, client: u32) {
        let cores = match self {
            Self::Split | Self::Same => "0",
            Self::Two => "0,1",
        };
        confine(client, cores);
    }

    /// How many threads of the client make calls.
    #[must_use]
    pub fn workers(self) -> usize {
        match self {
            Self::Split | Self::Same => 1,
            Self::Two => 2,
        }
    }

    /// A runtime for the client: one thread, or two workers.
    ///
    /// # Errors
    /// What the system says to a new runtime.
    pub fn runtime(self) -> io::Result<Runtime> {
        match self {
            Self::Split | Self::Same => Builder::new_current_thread().enable_all().build(),
            Self::Two => Builder::new_multi_thread().worker_threads(2).enable_all().build(),
        }
    }
}

fn confine(process: u32, cores: &str) {
    let status = Command::new("taskset").args(["-acp", cores, &process.to_string()]).stdout(Stdio::null()).status();
    if !status.is_ok_and(|status| status.success()) {
        eprintln!("not confined to cores {cores}: no taskset here, or not enough cores");
    }
}

impl fmt::Display for Placement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Split => "client and server on a core each",
            Self::Same => "client and server on one core",
            Self::Two => "two client threads, cores shared",
        })
    }
}

impl FromStr for Placement {
    type Err = BenchError;

    fn from_str(text: &str) -> Result<Self, BenchError> {
        match text {
            "split" => Ok(Self::Split),
            "same" => Ok(Self::Same),
            "two" => Ok(Self::Two),
            _ => Err(BenchError::Argument { argument: text.to_owned(), reason: "a placement is split, same or two".to_owned() }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_by_a_word() {
        assert_eq!(["split", "same", "two"].map(|text| text.parse().ok()), Placement::ALL.map(Some));
        assert!(matches!("both".parse::<Placement>(), Err(BenchError::Argument { argument, .. }) if argument == "both"));
    }
}
