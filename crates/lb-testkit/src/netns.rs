//! Network namespaces: a server with a network of its own, and a cable to it that can be pulled.
//!
//! **What.** [`apart`] runs a test once more in a namespace of its own, where it may do to the network what it likes; there a [`Namespace`]
//! is another machine's, joined by a cable. **Why.** A proxy that goes silent still acknowledges what it is sent, because its sockets
//! are the kernel's; behind a pulled cable nothing is acknowledged, so that this is the only way to see the kernel's own timeouts.
//! **Bound.** Linux with `unshare`, `nsenter` and `ip`, where the user may make namespaces; elsewhere the test is skipped by name, in CI
//! too. Nothing is left: namespaces end with the processes in them.

use std::io;
use std::net::Ipv4Addr;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, Instant};

use crate::services;

/// Set for the test that runs in its own namespace.
const INSIDE: &str = "EVENKEEL_NETNS";

/// How long a process may take to have its namespace.
const READY_WITHIN: Duration = Duration::from_secs(10);

/// Whether the calling test runs in a network namespace of its own and is to go on. If it does not, it has been run there, and passed,
/// or there can be none, and it is skipped; either way it is to end.
///
/// # Panics
/// When it failed there.
#[must_use]
pub fn apart() -> bool {
    if std::env::var_os(INSIDE).is_some() {
        run("ip", &["link", "set", "lo", "up"]).expect("a namespace of one's own has a loopback device");
        return true;
    }
    let test = services::test_name();
    if let Err(error) = run("unshare", &["-rn", "ip", "link"]).and_then(|()| run("nsenter", &["--version"])) {
        services::skip(&format!("{test} needs network namespaces: {error}"));
        return false;
    }
    let own = std::env::current_exe().expect("a test is a program");
    let ended = Command::new("unshare").arg("-rn").arg(own).args(["--exact", &test, "--nocapture"]).env(INSIDE, "1").status();
    assert!(ended.expect("it ran a moment ago").success(), "{test} failed in a network namespace");
    false
}

/// Another machine's network, at the other end of a cable. Only for tests that run [`apart`].
#[derive(Debug)]
pub struct Namespace {
    /// Keeps the namespace.
    holder: Child,
    number: u8,
}

impl Namespace {
    /// Makes one and plugs it in. Blocks for some milliseconds.
    pub fn new() -> io::Result<Self> {
        static COUNT: AtomicU8 = AtomicU8::new(1);
        let own = std::fs::read_link("/proc/self/ns/net")?;
        // Ends when the other end of its standard input does, which is ours.
        let holder = Command::new("unshare").args(["-n", "cat"]).stdin(Stdio::piped()).stdout(Stdio::null()).spawn()?;
        let namespace = Self { holder, number: COUNT.fetch_add(1, Ordering::Relaxed) };
        let until = Instant::now() + READY_WITHIN;
        while std::fs::read_link(format!("/proc/{}/ns/net", namespace.id()))? == own {
            if Instant::now() > until {
                return Err(io::ErrorKind::TimedOut.into());
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        namespace.wire()?;
        Ok(namespace)
    }

    fn wire(&self) -> io::Result<()> {
        let (ours, theirs) = (format!("cable{}", self.number), self.id().to_string());
        run("ip", &["link", "add", &ours, "type", "veth", "peer", "name", "eth0", "netns", &theirs])?;
        run("ip", &["addr", "add", &format!("10.77.{}.1/30", self.number), "dev", &ours])?;
        run("ip", &["link", "set", &ours, "up"])?;
        self.ip(&["addr", "add", &format!("{}/30", self.address()), "dev", "eth0"])?;
        self.plug()
    }

    /// The address of whoever listens in it.
    pub fn address(&self) -> Ipv4Addr {
        Ipv4Addr::new(10, 77, self.number, 2)
    }

    /// Pulls the cable: what is sent is lost, both ways, and nobody is told.
    pub fn pull(&self) -> io::Result<()> {
        self.ip(&["link", "set", "eth0", "down"])
    }

    /// Plugs it in again.
    pub fn plug(&self) -> io::Result<()> {
        self.ip(&["link", "set", "eth0", "up"])
    }

    /// What makes a program run in it, in front of the program's name.
    pub(crate) fn prefix(&self) -> Vec<String> {
        ["nsenter", "--target", &self.id().to_string(), "--net"].map(str::to_owned).into()
    }

    fn ip(&self, args: &[&str]) -> io::Result<()> {
        let prefix = self.prefix();
        let args: Vec<&str> = prefix[1..].iter().map(String::as_str).chain(["ip"]).chain(args.iter().copied()).collect();
        run(&prefix[0], &args)
    }

    fn id(&self) -> u32 {
        self.holder.id()
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        let _ = self.holder.kill();
        let _ = self.holder.wait();
    }
}

/// Runs a program to its end, which must be a good one.
fn run(program: &str, args: &[&str]) -> io::Result<()> {
    let output = Command::new(program).args(args).stdin(Stdio::null()).output();
    let output = output.map_err(|error| io::Error::new(error.kind(), format!("{program}: {error}")))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(io::Error::other(format!("{program} {}: {}", args.join(" "), said.trim())))
}
