//! Clients of other makers, each a process of its own that makes calls when it is told to.
//!
//! A peer is a program that speaks a small protocol over its standard input and output, so that grpc-go, gRPC C++ and others can be measured in
//! the same rounds as the clients of this process:
//!
//! ```text
//! PROGRAM --servers A:P,A:P,… --policy round_robin --workers N [--ca FILE]
//! → ready
//! ← {"kind":"unary","concurrency":16,"millis":200,"payload":100}
//! → {"calls":2000,"failed":0,"seconds":0.2,"cpu_seconds":0.1,"p50_us":90,"p90_us":…,"p99_us":…,"p999_us":…,"max_us":…}
//! ```
//!
//! Which program is whose is said by environment variables ([`PeerKind::variable`]); `cargo xtask bench` sets them for every peer it could build.
//!
//! A peer is trusted with nothing: a line is bounded, so is every wait, and whatever it prints that is not a reply ends it with an
//! error that shows the line. It is stopped, by its id, when the value is dropped. Everything here blocks its thread: it is for
//! benchmarks, which wait for one client at a time anyway.

mod lines;
mod protocol;
#[cfg(test)]
mod tests;

use std::ffi::OsString;
use std::fmt;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

pub use self::lines::LineError;
pub use self::protocol::{CallKind, Load, Measured, OpenLoad, ReplyError};

/// How long a peer may take to connect to its servers. A cold start under load takes well under a second.
const START: Duration = Duration::from_secs(20);

/// How much longer than it was told a measurement may take: calls in flight end, and latencies are sorted.
const GRACE: Duration = Duration::from_secs(10);

/// How long a peer has to end by itself once its input has, before it is killed.
const FAREWELL: Duration = Duration::from_millis(500);

/// Who is compared with, beyond what this process can call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum PeerKind {
    /// grpc-go.
    Go,
    /// gRPC C++.
    Cpp,
    /// The `grpc` crate, gRPC's own for Rust.
    GrpcRust,
    /// The Envoy proxy. Not a client: a benchmark starts it with a configuration and puts a client in front.
    Envoy,
}

impl PeerKind {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Go, Self::Cpp, Self::GrpcRust, Self::Envoy];

    /// The environment variable that holds its program's path.
    pub fn variable(self) -> &'static str {
        match self {
            Self::Go => "EVENKEEL_PEER_GO",
            Self::Cpp => "EVENKEEL_PEER_CPP",
            Self::GrpcRust => "EVENKEEL_PEER_GRPC_RUST",
            Self::Envoy => "EVENKEEL_PEER_ENVOY",
        }
    }

    /// Its program.
    ///
    /// # Errors
    /// If the variable is not set, or names no file: the benchmark goes without this peer, and says so.
    pub fn program(self) -> Result<PathBuf, MissingPeer> {
        self.program_at(std::env::var_os(self.variable()))
    }

    fn program_at(self, value: Option<OsString>) -> Result<PathBuf, MissingPeer> {
        match value.filter(|value| !value.is_empty()).map(PathBuf::from) {
            None => Err(MissingPeer { peer: self, path: None }),
            Some(path) if path.is_file() => Ok(path),
            Some(path) => Err(MissingPeer { peer: self, path: Some(path) }),
        }
    }
}

impl fmt::Display for PeerKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Go => "grpc-go",
            Self::Cpp => "gRPC C++",
            Self::GrpcRust => "the grpc crate",
            Self::Envoy => "Envoy",
        })
    }
}

/// A peer that is not to be had here.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{peer}: {}", match .path {
    None => format!("{} is not set", .peer.variable()),
    Some(path) => format!("{} names {}, which is no file", .peer.variable(), path.display()),
})]
pub struct MissingPeer {
    /// Which.
    pub peer: PeerKind,
    /// What its variable says, if it is set.
    pub path: Option<PathBuf>,
}

/// Why a peer could not be measured. Its program may have said more on standard error, which goes to this process's.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PeerError {
    /// The program could not be started.
    #[error("{program} does not start: {error}")]
    Start {
        /// Its path.
        program: PathBuf,
        /// Why.
        #[source]
        error: io::Error,
    },
    /// It said nothing for too long.
    #[error("no answer within {after:?}")]
    Silent {
        /// How long it was waited for.
        after: Duration,
    },
    /// It is gone.
    #[error("the program has ended{}", match .0 {
        Some(status) => format!(": {status}"),
        None => String::new(),
    })]
    Ended(Option<ExitStatus>),
    /// Its first line was not `ready`.
    #[error("expected `ready`, not {0:?}")]
    NotReady(String),
    /// It printed what cannot be a line of the protocol.
    #[error(transparent)]
    Line(#[from] LineError),
    /// Its reply is not one.
    #[error(transparent)]
    Reply(#[from] ReplyError),
}

/// How a peer is to be started.
#[derive(Debug, Clone)]
pub struct PeerOptions<'a> {
    /// What it connects to, `address:port` each.
    pub servers: &'a [String],
    /// gRPC's name of the policy.
    pub policy: &'a str,
    /// How many threads make calls.
    pub workers: usize,
    /// The authority that signed the servers' certificates, a file in PEM; `None` is plaintext.
    pub ca: Option<&'a Path>,
}

/// A running peer.
#[derive(Debug)]
pub struct Peer {
    child: Child,
    /// `None` once it shall end.
    input: Option<ChildStdin>,
    output: Receiver<Result<String, LineError>>,
}

impl Peer {
    /// Starts the program and waits until it can make calls, 20 s at the most.
    pub fn spawn(program: &Path, options: &PeerOptions<'_>) -> Result<Self, PeerError> {
        let mut command = Command::new(program);
        command.args(["--servers", &options.servers.join(","), "--policy", options.policy]);
        command.args(["--workers", &options.workers.to_string()]);
        if let Some(ca) = options.ca {
            command.arg("--ca").arg(ca);
        }
        Self::start(command, START)
    }

    fn start(mut command: Command, within: Duration) -> Result<Self, PeerError> {
        let spawned = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
        let mut child = spawned.map_err(|error| PeerError::Start { program: command.get_program().into(), error })?;
        let (input, output) = (child.stdin.take(), child.stdout.take());
        let mut peer = Self { child, input, output: lines::of(output) };
        match peer.line(within)? {
            line if line == "ready" => Ok(peer),
            line => Err(PeerError::NotReady(line)),
        }
    }

    /// Makes calls for a while; waits as long as that takes and 10 s more.
    ///
    /// After an error the peer may still be writing the answer: drop it.
    pub fn measure(&mut self, load: &Load) -> Result<Measured, PeerError> {
        self.measure_within(load, load.time + GRACE)
    }

    /// The same with calls that do not wait for each other. Only the program in Go can; others would make one call after the other.
    pub fn measure_open(&mut self, load: &OpenLoad) -> Result<Measured, PeerError> {
        self.ask(&load.line(), load.time + load.deadline + GRACE)
    }

    fn measure_within(&mut self, load: &Load, within: Duration) -> Result<Measured, PeerError> {
        self.ask(&load.line(), within)
    }

    fn ask(&mut self, line: &serde_json::Value, within: Duration) -> Result<Measured, PeerError> {
        let sent = match &mut self.input {
            Some(input) => writeln!(input, "{line}").and_then(|()| input.flush()),
            None => Err(io::ErrorKind::BrokenPipe.into()),
        };
        if sent.is_err() {
            // A program whose output nobody wants any more is ended by that: what was wrong with the output says more.
            let said = self.output.try_recv();
            return Err(said.ok().and_then(Result::err).map_or_else(|| self.ended(), PeerError::from));
        }
        Ok(Measured::parse(&self.line(within)?)?)
    }

    /// The id of the process.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    fn line(&mut self, within: Duration) -> Result<String, PeerError> {
        match self.output.recv_timeout(within) {
            Ok(line) => Ok(line?),
            Err(RecvTimeoutError::Timeout) => Err(PeerError::Silent { after: within }),
            Err(RecvTimeoutError::Disconnected) => Err(self.ended()),
        }
    }

    /// Its pipes are closed, so that it has ended or is about to.
    fn ended(&mut self) -> PeerError {
        PeerError::Ended(self.farewell())
    }

    /// Waits a little for the process to end.
    fn farewell(&mut self) -> Option<ExitStatus> {
        self.input = None;
        let until = Instant::now() + FAREWELL;
        while Instant::now() < until {
            if let Ok(Some(status)) = self.child.try_wait() {
                return Some(status);
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        None
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        if self.farewell().is_none() {
            // An error means that it has ended just now.
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}
