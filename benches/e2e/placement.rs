//! Which cores client and server may use. It decides more than any library does, so it is named with every figure.

use std::fmt;
use std::io;
use std::process::{Command, Stdio};
use std::str::FromStr;

use tokio::runtime::{Builder, Runtime};

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Placement {
    /// One client thread on one core, the servers on another.
    Split,
    /// One client thread and the servers on the same core.
    Same,
    /// Two client threads, which share both cores with the servers.
    Two,
}

impl Placement {
    pub(crate) const ALL: [Self; 3] = [Self::Split, Self::Same, Self::Two];

    /// Confines this process and the servers'. Without `taskset` nothing is confined, and the report says so.
    pub(crate) fn pin(self, servers: u32) -> io::Result<()> {
        let (client, server) = match self {
            Self::Split => ("0", "1"),
            Self::Same => ("0", "0"),
            Self::Two => ("0,1", "0,1"),
        };
        confine(std::process::id(), client)?;
        confine(servers, server)
    }

    pub(crate) fn runtime(self) -> io::Result<Runtime> {
        match self {
            Self::Split | Self::Same => Builder::new_current_thread().enable_all().build(),
            Self::Two => Builder::new_multi_thread().worker_threads(2).enable_all().build(),
        }
    }
}

fn confine(process: u32, cores: &str) -> io::Result<()> {
    let status = Command::new("taskset").args(["-acp", cores, &process.to_string()]).stdout(Stdio::null()).status();
    match status {
        Ok(status) if status.success() => Ok(()),
        Ok(_) | Err(_) => {
            eprintln!("not confined to cores {cores}: no taskset here, or not enough cores");
            Ok(())
        }
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
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "split" => Ok(Self::Split),
            "same" => Ok(Self::Same),
            "two" => Ok(Self::Two),
            _ => Err(format!("placement {text:?}, allowed are split, same and two")),
        }
    }
}
