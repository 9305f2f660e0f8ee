//! `cargo xtask peers`: clients of other implementations, and a proxy, that benchmarks measure evenkeel beside.
//!
//! Their sources are in `peers/`, one directory each, none of them part of the workspace; docs/BENCHMARKS.md, section Peers, says what they
//! speak. What builds them comes from where `services` gets its servers, and goes again: kept below the user's cache directory is the
//! program, under the hash of what it was built from, so that a changed source is a new build. Where one cannot be had, benchmarks
//! do without: it is skipped with the reason, never an error.

mod build;
mod sources;

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::cached::{self, Kept};
use crate::error::{Error, Result};
use crate::report::{Outcome, Report};
use crate::{location, shell};

/// Somebody else's program.
struct Peer {
    name: &'static str,
    /// What people call it.
    title: &'static str,
    /// The suites of benchmarks that measure it.
    suites: &'static [&'static str],
    /// Tells benchmarks and tests where the program is; one that is set already is left alone, so that a person can try another.
    variable: &'static str,
    /// Raised when `build` changes, so that what was built before is not mistaken for it.
    recipe: u32,
    /// The files and directories of this repository that it is built from.
    sources: &'static [&'static str],
    /// Where the program lies in what `build` leaves.
    program: &'static str,
    /// With these arguments it says this, wherever its libraries are found.
    probe: (&'static [&'static str], &'static str),
    /// Builds or fetches it in the directory it is given, and says which directory to keep.
    build: fn(&Path) -> Result<PathBuf>,
}

/// The messages that clients generate code from.
const ECHO: &str = "proto/evenkeel/echo/v1/echo.proto";

/// The suites that make calls.
const CALLS: &[&str] = &["e2e", "tail"];

/// What a client says that was not told where the servers are.
const CLIENT: (&[&str], &str) = (&[], "it takes --servers");

const PEERS: &[Peer] = &[
    Peer {
        name: "go",
        title: "grpc-go",
        suites: CALLS,
        variable: "EVENKEEL_PEER_GO",
        recipe: 1,
        sources: &["peers/go", ECHO],
        program: "peer",
        probe: CLIENT,
        build: build::go,
    },
    Peer {
        name: "cpp",
        title: "gRPC C++",
        suites: CALLS,
        variable: "EVENKEEL_PEER_CPP",
        recipe: 1,
        sources: &["peers/cpp", ECHO],
        program: "peer",
        probe: CLIENT,
        build: build::cpp,
    },
    Peer {
        name: "rust",
        title: "the grpc crate",
        suites: CALLS,
        variable: "EVENKEEL_PEER_GRPC_RUST",
        recipe: 1,
        sources: &["peers/rust"],
        program: "peer",
        probe: CLIENT,
        build: |work| build::cargo("rust", "evenkeel-peer-grpc", work, &[]),
    },
    Peer {
        name: "pingora",
        title: "pingora-load-balancing",
        suites: &["pick"],
        variable: "EVENKEEL_PEER_PINGORA",
        recipe: 1,
        sources: &["peers/pingora"],
        program: "peer",
        // No client: it picks, and nothing is called.
        probe: (&["--help"], "orders on standard input"),
        build: build::pingora,
    },
    Peer {
        name: "envoy",
        title: "Envoy",
        suites: CALLS,
        variable: "EVENKEEL_PEER_ENVOY",
        recipe: 1,
        sources: &[],
        program: "packages/envoy/_bin/envoy",
        probe: (&["--version"], "version"),
        build: build::envoy,
    },
];

/// Builds every peer that is not here yet: a step each.
pub(crate) fn all(report: &mut Report) {
    PEERS.iter().for_each(|peer| peer.step(report));
}

/// Builds those peers that any of these suites measures.
pub(crate) fn of_suites(report: &mut Report, suites: &[&str]) {
    let wanted = PEERS.iter().filter(|peer| peer.suites.iter().any(|suite| suites.contains(suite)));
    wanted.for_each(|peer| peer.step(report));
}

/// Builds the peer of that name.
pub(crate) fn named(report: &mut Report, name: &str) -> Result<()> {
    let names = || PEERS.iter().map(|peer| peer.name).collect::<Vec<_>>().join(", ");
    let peer = PEERS.iter().find(|peer| peer.name == name);
    let peer = peer.ok_or_else(|| Error::new(format!("no peer is called `{name}`; there are: {}", names())))?;
    peer.step(report);
    Ok(())
}

/// Builds the missing ones of those that make calls, and has each prove that it speaks the protocol, loses nothing and spreads evenly.
pub(crate) fn check(report: &mut Report) {
    of_suites(report, CALLS);
    report.check("what peers promise", || {
        let mut command = shell::cargo();
        command.args(["test", "--package", "lb-bench", "--test", "peers", "--", "--test-threads", "1"]);
        shell::run(command.envs(variables()))
    });
}

/// The variables that name those peers that are here, for programs that use them.
pub(crate) fn variables() -> Vec<(&'static str, PathBuf)> {
    let unset = PEERS.iter().filter(|peer| std::env::var_os(peer.variable).is_none());
    let found = unset.filter_map(|peer| Some((peer.variable, peer.place().ok()?.join(peer.program))));
    found.filter(|(_, program)| program.is_file()).collect()
}

impl Peer {
    fn step(&self, report: &mut Report) {
        report.step(format!("peer {} ({})", self.name, self.title), || match self.ensure() {
            Ok(()) => Ok(Outcome::Passed),
            Err(error) => Ok(Outcome::Skipped(format!("benchmarks do without it: {error}"))),
        });
    }

    fn ensure(&self) -> Result<()> {
        if let Some(program) = std::env::var_os(self.variable) {
            println!("    {} is set: {}", self.variable, Path::new(&program).display());
            return Ok(());
        }
        let kept = Kept { home: home(), name: self.name, place: self.place()? };
        kept.ensure(
            |place| self.works(place),
            |work| {
                let done = (self.build)(work)?;
                if self.works(&done) { Ok(done) } else { Err(Error::new("it was built but does not start")) }
            },
        )?;
        println!("    {}", kept.place.join(self.program).display());
        self.forget_others(&kept.place)
    }

    fn place(&self) -> Result<PathBuf> {
        Ok(home().join(format!("{}-{:016x}", self.name, sources::hash(self.recipe, self.sources)?)))
    }

    /// What was built of other sources: up to 100 MB each that nobody will ask for again.
    fn forget_others(&self, place: &Path) -> Result<()> {
        let prefix = format!("{}-", self.name);
        let entries = std::fs::read_dir(home()).into_iter().flatten().flatten().map(|entry| entry.path());
        let others = entries.filter(|path| {
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            name.starts_with(&prefix) && path != place
        });
        others.into_iter().try_for_each(|other| cached::remove(&other))
    }

    fn works(&self, place: &Path) -> bool {
        let (arguments, says) = self.probe;
        let output = Command::new(place.join(self.program)).args(arguments).stdin(std::process::Stdio::null()).output();
        let said = |output: std::process::Output| [output.stdout, output.stderr].concat();
        output.is_ok_and(|output| String::from_utf8_lossy(&said(output)).contains(says))
    }
}

fn home() -> PathBuf {
    location::cache().join("peers")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workspace;

    #[test]
    fn every_peer_has_sources_that_exist_and_a_place_of_its_own() {
        let mut places: Vec<_> = PEERS.iter().map(|peer| peer.place().unwrap()).collect();
        places.dedup();
        assert_eq!(places.len(), PEERS.len());
        for source in PEERS.iter().flat_map(|peer| peer.sources) {
            assert!(workspace::root().join(source).exists(), "{source}");
        }
    }

    #[test]
    fn an_unknown_name_is_answered_with_the_known_ones() {
        let error = named(&mut Report::new(), "java").unwrap_err().to_string();
        assert!(error.contains("java") && error.contains("envoy"), "{error}");
    }
}
