//! `cargo xtask services`: the real servers that tests run against.
//!
//! They come from the machine's own Debian mirror, unpacked below the user's cache directory, and what is written in Python from wherever pip
//! looks. Nothing is installed, the system's package state is neither changed nor locked, and no network host is asked but those the
//! machine was already set up with.

#[path = "../../../crates/lb-testkit/src/services/chromium_files.rs"]
mod chromium_files;
#[path = "../../../crates/lb-testkit/src/services/consul_files.rs"]
mod consul_files;
#[path = "../../../crates/lb-testkit/src/services/etcd_files.rs"]
mod etcd_files;
mod fetch;
mod hand;
#[path = "../../../crates/lb-testkit/src/services/knot_files.rs"]
pub(crate) mod knot_files;
mod kubeapi;
#[path = "../../../crates/lb-testkit/src/services/kubeapi_files.rs"]
mod kubeapi_files;
#[path = "../../../crates/lb-testkit/src/services/process.rs"]
mod process;

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::error::{Error, Result};
use crate::report::{Outcome, Report};
use crate::{in_ci, location};

pub(crate) use hand::{start, stop};

/// A server: where it comes from, and how to see that it works.
pub(crate) struct Service {
    pub(crate) name: &'static str,
    /// What it is for, in a word or two.
    pub(crate) serves: &'static str,
    /// `None`: from the release this machine runs, with the dependencies it lacks. A name: from that release and without
    /// dependencies, because they might bring that release's C library along; for static programs.
    pub(crate) release: Option<&'static str>,
    pub(crate) packages: &'static [&'static str],
    /// For what is written in Python: its packages, with their versions, in place of Debian's.
    pub(crate) python: &'static [&'static str],
    /// For a server that is built from packaged sources: how.
    pub(crate) build: Option<Build>,
    /// Program (below the fetched root) and arguments that must succeed before the fetch counts.
    pub(crate) probe: &'static [&'static str],
    /// Prepares a directory and gives the command that runs the server at that address with it: `(root, dir, addr)`.
    pub(crate) prepare: fn(&Path, &Path, SocketAddr) -> io::Result<Command>,
}

/// How to build a server. Its packages come with everything they depend on, as on a machine on which nothing is installed.
#[derive(Clone, Copy)]
pub(crate) struct Build {
    /// Only packages whose name begins so are unpacked: the toolchain and the sources, not the system below them.
    pub(crate) unpacks: &'static str,
    /// Builds from what was unpacked and gives the directory to keep: `(unpacked, work, archives)`.
    pub(crate) run: fn(&Path, &Path, &[PathBuf]) -> Result<PathBuf>,
}

/// Every server the tests know.
pub(crate) const SERVICES: &[Service] = &[
    Service {
        name: "knot",
        serves: "DNS",
        release: None,
        packages: &["knot"],
        python: &[],
        build: None,
        probe: &["usr/sbin/knotd", "--version"],
        prepare: |root, dir, addr| {
            knot_files::write(dir, addr, "greeter 1 A 127.0.0.1\n", 1)?;
            Ok(knot_files::program(root, dir, "knotd"))
        },
    },
    Service {
        name: "consul",
        serves: "registry",
        // The last release of Debian that has it without its successor's licence. A static program.
        release: Some("bullseye"),
        packages: &["consul"],
        python: &[],
        build: None,
        probe: &["usr/bin/consul", "version"],
        prepare: |root, dir, addr| {
            let agent = consul_files::Agent::new("c1")?.with_http(addr);
            consul_files::Cluster::alone(agent.clone()).write(dir, &agent)?;
            Ok(consul_files::agent(root, dir))
        },
    },
    Service {
        name: "etcd",
        serves: "registry",
        // Version 3.5; older releases have 3.4. Static programs.
        release: Some("trixie"),
        packages: &["etcd-server", "etcd-client"],
        python: &[],
        build: None,
        probe: &["usr/bin/etcd", "--version"],
        prepare: |root, dir, addr| {
            let member = etcd_files::Member { name: "m".to_owned(), client: addr, peer: hand::free_addr()? };
            Ok(etcd_files::command(root, dir, "http", &member, std::slice::from_ref(&member)))
        },
    },
    Service {
        name: "kubeapi",
        serves: "Kubernetes API",
        release: Some("sid"),
        packages: &["golang-go", "golang-k8s-apiserver-dev", "golang-k8s-kube-openapi-dev"],
        python: &[],
        build: Some(Build { unpacks: "golang-", run: kubeapi::build }),
        probe: &["kubeapi", "--version"],
        prepare: |root, dir, addr| {
            let etcd = hand::address("etcd").ok_or_else(|| io::Error::other("it stores in etcd: `services start etcd` first"))?;
            kubeapi_files::write(dir)?;
            Ok(kubeapi_files::command(root, dir, addr, etcd))
        },
    },
    Service {
        name: "chromium",
        serves: "browser",
        release: None,
        // Letters too: a machine without any would draw boxes.
        packages: &["chromium", "fonts-dejavu-core"],
        python: &[],
        build: None,
        probe: &["usr/lib/chromium/chromium", "--version"],
        prepare: |root, dir, addr| Ok(chromium_files::listening(root, dir, addr)),
    },
    Service {
        name: "promtool",
        serves: "checking alert rules",
        release: Some("bookworm"),
        packages: &["prometheus"],
        python: &[],
        build: None,
        probe: &["usr/bin/promtool", "--version"],
        prepare: |_, _, _| Err(io::Error::other("it is a tool, which tests start")),
    },
    Service {
        name: "grpcio-channelz",
        serves: "gRPC's own client of channelz",
        release: None,
        packages: &[],
        python: &["grpcio==1.85.1", "grpcio-channelz==1.85.0"],
        build: None,
        probe: &["python", "-c", "from grpc_channelz.v1 import channelz_pb2_grpc"],
        prepare: |_, _, _| Err(io::Error::other("it is a client, which tests start")),
    },
    Service {
        name: "schemathesis",
        serves: "trying an HTTP API against its description",
        release: None,
        packages: &[],
        // Pinned: a newer one may check more, and should begin to when somebody looks.
        python: &["schemathesis==4.32.5"],
        build: None,
        probe: &["python", "-m", "schemathesis.cli", "--version"],
        prepare: |_, _, _| Err(io::Error::other("it is a client, which tests start")),
    },
];

/// Gets every server that is not here yet: a step each. Where one cannot be had, CI fails and everybody else reads its name.
pub(crate) fn fetch_all(report: &mut Report) {
    for service in SERVICES {
        report.step(format!("service {} ({})", service.name, service.serves), || match fetch::ensure(service) {
            Ok(()) => Ok(Outcome::Passed),
            Err(error) if in_ci() => Err(error),
            Err(error) => Ok(Outcome::Skipped(format!("tests that need {} will be skipped: {error}", service.name))),
        });
    }
}

/// Prints where each server lies and whether one started by hand is running.
pub(crate) fn status() -> Result<()> {
    for service in SERVICES {
        let installed = location::installed(service.name).map_or_else(|| "not fetched".into(), |root| root.display().to_string());
        let running = hand::running(service.name).map_or_else(String::new, |pid| format!(", running as process {pid}"));
        println!("{} ({}): {installed}{running}", service.name, service.serves);
    }
    Ok(())
}

fn by_name(name: &str) -> Result<&'static Service> {
    let names = || SERVICES.iter().map(|service| service.name).collect::<Vec<_>>().join(", ");
    let found = SERVICES.iter().find(|service| service.name == name);
    found.ok_or_else(|| Error::new(format!("no service is called `{name}`; there are: {}", names())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_name_is_answered_with_the_known_ones() {
        let error = by_name("bind").err().unwrap().to_string();
        assert!(error.contains("bind") && error.contains("knot"), "{error}");
        assert_eq!(by_name("knot").unwrap().name, "knot");
    }
}
