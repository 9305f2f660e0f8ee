//! Real servers for tests: who needs one asks here, and gets it or a clear word why not.
//!
//! **What.** [`require`] tells where a server's files lie, and a handle per server ([`Knot`] for DNS, [`Consul`], [`Etcd`], the browser [`Chromium`]) starts it on
//! a loopback port of its own, changes its data, freezes it and ends it. `cargo xtask services fetch` brings the files, privately and without installing anything.
//!
//! **Why.** A resolver tested only against our own idea of a registry is tested against our own mistakes. So tests run against
//! the server that users run, and a fake is used only for what a real server cannot be made to do.
//!
//! **When missing.** With `CI=true` a missing server fails the test: CI must not turn green by testing less. Elsewhere the test is skipped
//! by name: on standard error, and in the file that `cargo xtask test` prints at its end.
//!
//! **Bound.** One process and one temporary directory per handle, both gone when the handle drops. A handle kept in a `static` never drops
//! and so leaks its process: keep it in the test. Everything here blocks for some milliseconds; call it directly from a test, or from
//! `spawn_blocking` where a runtime has to keep turning meanwhile.
//!
//! ```no_run
//! use lb_testkit::services::{self, Knot};
//!
//! let Some(root) = services::require("knot") else { return };
//! let knot = Knot::start(&root, "greeter 1 A 127.0.0.1\n").expect("knot starts");
//! knot.set("greeter", "A", 1, &["127.0.0.2", "127.0.0.3"]).expect("the record set is replaced");
//! println!("ask {} for greeter.{}", knot.addr(), services::KNOT_ZONE);
//! ```

mod chromium;
mod chromium_files;
#[cfg(test)]
mod chromium_tests;
mod consul;
mod consul_files;
mod etcd;
mod etcd_files;
#[cfg(test)]
mod etcd_tests;
mod http;
mod knot;
mod knot_files;
mod kubeapi;
mod kubeapi_files;
#[cfg(feature = "tls")]
mod kubeapi_request;
#[cfg(test)]
mod kubeapi_tests;
mod location;
mod process;
#[cfg(test)]
mod tests;

use std::fs;
use std::io::{self, Write as _};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

pub use chromium::Chromium;
pub use consul::{Consul, ConsulOptions};
pub use etcd::{Etcd, EtcdCertificates, EtcdOptions};
pub use knot::Knot;
pub use kubeapi::{KubeApi, KubeUser};

/// The one zone a [`Knot`] serves: `test.` is reserved for this (RFC 6761), so no test can reach a name of the real world.
pub const KNOT_ZONE: &str = knot_files::ZONE;

/// Names the file that collects one line per skipped test; set by `cargo xtask test`.
const SKIPPED_FILE: &str = "EVENKEEL_SKIPPED";

/// The directory with the files of the named server (`"knot"`), or `None` where it is missing and the calling test is to end early.
///
/// # Panics
/// With `CI=true` in the environment and the server missing: in CI nothing is skipped.
#[must_use]
pub fn require(service: &str) -> Option<PathBuf> {
    let found = location::installed(service);
    if found.is_none() {
        let line = format!("{} needs {service}", test_name());
        assert!(!in_ci(), "{line}, which is missing; `cargo xtask services fetch` gets it");
        skip(&line);
    }
    found
}

/// A directory nobody else uses, with a short name: the path of a socket in it must stay within 108 bytes. Process numbers come again, and a test
/// that was killed left its own behind, so what exists is passed over.
fn fresh_dir(service: &str) -> io::Result<PathBuf> {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    loop {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let dir = std::env::temp_dir().join(format!("evenkeel-{service}-{}-{number}", std::process::id()));
        match fs::create_dir(&dir) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            created => return created.map(|()| dir),
        }
    }
}

/// Notes by name that the calling test is skipped, for want of something that CI need not have either.
pub fn skip_test(why: &str) {
    skip(&format!("{}: {why}", test_name()));
}

fn in_ci() -> bool {
    std::env::var_os("CI").is_some_and(|value| value == "true")
}

pub(crate) fn skip(line: &str) {
    eprintln!("SKIPPED: {line}");
    let Some(path) = std::env::var_os(SKIPPED_FILE) else { return };
    let file = fs::OpenOptions::new().create(true).append(true).open(path);
    if let Err(error) = file.and_then(|mut file| writeln!(file, "{line}")) {
        eprintln!("could not note the skipped test in {SKIPPED_FILE}: {error}");
    }
}

/// The test's name: libtest names the thread after it, or runs it on `main` when it is the only one and was asked for by `--exact`.
pub(crate) fn test_name() -> String {
    let thread = std::thread::current();
    if let Some(name) = thread.name().filter(|name| *name != "main") {
        return name.to_owned();
    }
    std::env::args().skip_while(|arg| arg != "--exact").nth(1).unwrap_or_else(|| "a test".to_owned())
}
