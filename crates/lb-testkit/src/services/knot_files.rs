//! Knot's directory: the configuration and the zone file in it, and the commands that run its programs from a private copy.
//!
//! Included by `xtask` too, so that a server started by hand (`cargo xtask services start knot`) is the one the tests get.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The one zone served.
pub(crate) const ZONE: &str = "test.";

/// Writes the configuration and the zone into `dir`, which must exist. `serial` is the zone's; a reload needs a higher one than before.
pub(crate) fn write(dir: &Path, addr: SocketAddr, records: &str, serial: u32) -> io::Result<()> {
    for part in ["run", "db", "zones"] {
        fs::create_dir_all(dir.join(part))?;
    }
    fs::write(config(dir), config_text(dir, addr))?;
    write_zone(dir, records, serial)
}

/// Writes the zone file alone: `records` under a SOA whose minimum makes negative answers last 1 s, so that a test never waits for them.
pub(crate) fn write_zone(dir: &Path, records: &str, serial: u32) -> io::Result<()> {
    let head = format!("$TTL 1\n@ SOA ns.{ZONE} admin.{ZONE} {serial} 3600 600 86400 1\n@ NS ns.{ZONE}\nns A 127.0.0.1\n");
    fs::write(dir.join("zones/test.zone"), head + records + "\n")
}

/// One of Knot's programs for the server of `dir`: `knotd`, which stays in the foreground and logs to standard error, or `knotc`, whose
/// arguments follow.
pub(crate) fn program(root: &Path, dir: &Path, name: &str) -> Command {
    let mut command = Command::new(root.join("usr/sbin").join(name));
    command.env("LD_LIBRARY_PATH", libraries(root)).arg("-c").arg(config(dir));
    command
}

/// Debian keeps libraries under the machine's triplet (`usr/lib/x86_64-linux-gnu`), and what few programs share in a directory below that;
/// each directory there is taken, so none need be guessed.
pub(crate) fn libraries(root: &Path) -> std::ffi::OsString {
    let under =
        |path: PathBuf| fs::read_dir(path).into_iter().flatten().flatten().map(|entry| entry.path()).filter(|path| path.is_dir());
    let found: Vec<PathBuf> = under(root.join("usr/lib")).chain(under(root.join("lib"))).collect();
    let below: Vec<PathBuf> = found.iter().cloned().flat_map(under).collect();
    std::env::join_paths(found.into_iter().chain(below)).unwrap_or_default()
}

fn config(dir: &Path) -> PathBuf {
    dir.join("knot.conf")
}

/// One worker of each kind is plenty for a test. The journal is off and the zone file is never written back: the file is the test's.
fn config_text(dir: &Path, addr: SocketAddr) -> String {
    let (ip, port, dir) = (addr.ip(), addr.port(), dir.display());
    format!(
        r#"server:
    rundir: "{dir}/run"
    listen: {ip}@{port}
    udp-workers: 1
    tcp-workers: 1
    background-workers: 1
log:
  - target: stderr
    any: info
database:
    storage: "{dir}/db"
acl:
  - id: local
    address: 127.0.0.0/8
    action: [update, transfer]
template:
  - id: default
    storage: "{dir}/zones"
    file: "%s.zone"
    acl: local
    zonefile-sync: -1
    zonefile-load: whole
    journal-content: none
    global-module: mod-stats
zone:
  - domain: {ZONE}
"#
    )
}
