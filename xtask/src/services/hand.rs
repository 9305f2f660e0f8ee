//! Servers started by hand: one of each kind, running until stopped, for trying things out.

use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use super::{by_name, fetch, process};
use crate::error::{Context as _, Error, Result};
use crate::location;

/// A server that was asked to end gets this long: Knot takes two seconds when zones are busy.
const END_WITHIN: Duration = Duration::from_secs(10);

/// Starts the named server on a free loopback port, in the background, and prints where it is.
pub(crate) fn start(name: &str) -> Result<()> {
    let service = by_name(name)?;
    if let Some(pid) = running(name) {
        return Err(Error::new(format!("{name} is running already, as process {pid}")));
    }
    fetch::ensure(service)?;
    let dir = directory(name);
    let _ = fs::remove_dir_all(&dir);
    fs::create_dir_all(&dir).context(dir.display())?;
    let addr = free_addr().context("no free port")?;
    let mut command = (service.prepare)(&location::place(name), &dir, addr).context(dir.display())?;
    let log = File::create(dir.join("log")).context("the log file")?;
    let errors = log.try_clone().context("the log file")?;
    // A process group of its own: Ctrl-C at the prompt must not reach it.
    command.stdin(Stdio::null()).stdout(log).stderr(errors).process_group(0);
    let child = command.spawn().context(format_args!("cannot start {name}"))?;
    fs::write(dir.join("addr"), addr.to_string()).context("the address file")?;
    fs::write(dir.join("pid"), child.id().to_string()).context("the pid file")?;
    println!("{name} ({}) at {addr}, process {}; files and log in {}", service.serves, child.id(), dir.display());
    Ok(())
}

/// Ends the named server if it was started by hand.
pub(crate) fn stop(name: &str) -> Result<()> {
    by_name(name)?;
    let Some(pid) = running(name) else { return Err(Error::new(format!("{name} was not started by hand"))) };
    process::signal(pid, "TERM").context(format_args!("cannot stop {name}"))?;
    let deadline = Instant::now() + END_WITHIN;
    while running(name).is_some() {
        if Instant::now() > deadline {
            return Err(Error::new(format!("{name}, process {pid}, did not end within {} s", END_WITHIN.as_secs())));
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    fs::remove_dir_all(directory(name)).context(directory(name).display())
}

/// The process id of the server started by hand, if it still runs. A process that merely got the same id is not taken for it.
pub(super) fn running(name: &str) -> Option<u32> {
    let dir = directory(name);
    let pid = fs::read_to_string(dir.join("pid")).ok()?.parse().ok()?;
    mentions(pid, &dir).then_some(pid)
}

/// Where the server started by hand listens, if it still runs.
pub(super) fn address(name: &str) -> Option<SocketAddr> {
    running(name)?;
    fs::read_to_string(directory(name).join("addr")).ok()?.parse().ok()
}

/// Whether the process's command line names something in `dir`; an ended process that nobody waited for has an empty one.
fn mentions(pid: u32, dir: &Path) -> bool {
    let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    String::from_utf8_lossy(&line).contains(&*dir.to_string_lossy())
}

fn directory(name: &str) -> PathBuf {
    location::services().join("run").join(name)
}

pub(super) fn free_addr() -> std::io::Result<SocketAddr> {
    UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()
}
