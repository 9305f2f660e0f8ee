//! A real DNS server whose records change while it runs.

use std::fs::{self, File};
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use super::knot_files::{self, ZONE};
use super::{fresh_dir, process};

/// Knot is ready within 0.1 s on an idle machine; a machine busy with a build gets a hundred times that.
const READY_WITHIN: Duration = Duration::from_secs(10);

/// How often a port lost between choosing and binding it is chosen anew. Losing one is rare, five in a row is another fault.
const PORT_TRIES: u32 = 5;

/// Serials between two zone files, so that single changes, which each raise the serial by one, never overtake the next file.
const SERIAL_STEP: u32 = 1_000_000;

/// A Knot DNS server of this test's own: authoritative for [`KNOT_ZONE`](super::KNOT_ZONE), over UDP and TCP, on a loopback port.
///
/// Records are given as in a zone file, names relative to the zone (`greeter`) or absolute (`greeter.test.`). Changes are visible to the
/// next query. One record set has one time to live: adding a record with another one changes it for the whole set.
///
/// Dropping the handle kills the server, waits for its end and removes its directory.
#[derive(Debug)]
pub struct Knot {
    root: PathBuf,
    dir: PathBuf,
    addr: SocketAddr,
    serial: AtomicU32,
    /// `None` while stopped.
    child: Option<Child>,
}

impl Knot {
    /// Starts a server from the files in `root` (see [`require`](super::require)) with `records`, and waits until it answers.
    ///
    /// # Errors
    /// When the server cannot be started, ends at once (the error carries its log) or does not answer within 10 s.
    pub fn start(root: &Path, records: &str) -> io::Result<Self> {
        let dir = fresh_dir("knot")?;
        // From here on dropping the handle removes the directory, whichever way this function ends.
        let mut knot = Self { root: root.to_owned(), dir, addr: free_addr()?, serial: AtomicU32::new(1), child: None };
        for _ in 1..PORT_TRIES {
            knot_files::write(&knot.dir, knot.addr, records, 1)?;
            match knot.launch() {
                Err(error) if error.kind() == io::ErrorKind::AddrInUse => knot.addr = free_addr()?,
                other => return other.map(|()| knot),
            }
        }
        knot_files::write(&knot.dir, knot.addr, records, 1)?;
        knot.launch().map(|()| knot)
    }

    /// Where it listens, UDP and TCP alike. The same for the handle's whole life, restarts included.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// The server's process id, or `None` while it is stopped.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    /// Replaces the record set `name`/`kind` by `values` with `ttl` seconds to live; with no values the set is removed. Atomic.
    ///
    /// # Errors
    /// When the server is stopped or refuses a value; nothing is changed then.
    pub fn set(&self, name: &str, kind: &str, ttl: u32, values: &[&str]) -> io::Result<()> {
        let ttl = ttl.to_string();
        self.transaction(|| {
            if self.has(name, kind)? {
                self.control(&["zone-unset", ZONE, name, kind])?;
            }
            values.iter().try_for_each(|value| self.control(&["zone-set", ZONE, name, &ttl, kind, value]).map(drop))
        })
    }

    /// Adds one record.
    ///
    /// # Errors
    /// When the server is stopped or refuses the value; nothing is changed then.
    pub fn add(&self, name: &str, kind: &str, ttl: u32, value: &str) -> io::Result<()> {
        self.transaction(|| self.control(&["zone-set", ZONE, name, &ttl.to_string(), kind, value]).map(drop))
    }

    /// Removes one record.
    ///
    /// # Errors
    /// When the server is stopped or there is no such record; nothing is changed then.
    pub fn remove(&self, name: &str, kind: &str, value: &str) -> io::Result<()> {
        self.transaction(|| self.control(&["zone-unset", ZONE, name, kind, value]).map(drop))
    }

    /// Replaces the whole zone by `records`, in one step: the way to set hundreds of records.
    ///
    /// # Errors
    /// When the server is stopped or cannot parse the records; it goes on with the old zone then.
    pub fn replace(&self, records: &str) -> io::Result<()> {
        let serial = self.serial.fetch_add(SERIAL_STEP, Ordering::Relaxed) + SERIAL_STEP;
        knot_files::write_zone(&self.dir, records, serial)?;
        self.control(&["-b", "zone-reload", ZONE]).map(drop)
    }

    /// How many queries the server has received since it was last started, the readiness probes of [`start`](Self::start) included.
    ///
    /// # Errors
    /// When the server is stopped or its answer makes no sense.
    pub fn queries(&self) -> io::Result<u64> {
        let stats = self.control(&["stats", "mod-stats.server-operation"])?;
        let line = stats.lines().find_map(|line| line.strip_prefix("mod-stats.server-operation[query] = "));
        line.map_or(Ok(0), |count| count.trim().parse().map_err(io::Error::other))
    }

    /// Freezes the server: queries are swallowed without an answer, as by a network that drops them.
    ///
    /// # Errors
    /// When the server is stopped.
    pub fn pause(&self) -> io::Result<()> {
        process::signal(self.running()?, "STOP")
    }

    /// Thaws a frozen server; it answers what came meanwhile, as far as the socket's buffer holds it.
    ///
    /// # Errors
    /// When the server is stopped.
    pub fn resume(&self) -> io::Result<()> {
        process::signal(self.running()?, "CONT")
    }

    /// Kills the server and waits for its end: from then on its port refuses. Does nothing if it is stopped already.
    ///
    /// # Errors
    /// When the process cannot be waited for.
    pub fn stop(&mut self) -> io::Result<()> {
        let Some(mut child) = self.child.take() else { return Ok(()) };
        child.kill()?;
        child.wait().map(drop)
    }

    /// Starts a stopped server again, on the same port, with the records of its last [`start`](Self::start) or [`replace`](Self::replace).
    ///
    /// # Errors
    /// As [`start`](Self::start), and when it is running.
    pub fn restart(&mut self) -> io::Result<()> {
        if let Some(pid) = self.pid() {
            return Err(io::Error::other(format!("knot is running as process {pid}: stop it first")));
        }
        self.launch()
    }

    fn launch(&mut self) -> io::Result<()> {
        let log = File::create(self.log())?;
        let mut command = knot_files::program(&self.root, &self.dir, "knotd");
        self.child = Some(command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).spawn()?);
        let deadline = Instant::now() + READY_WITHIN;
        while !answers(self.addr) {
            self.check_alive()?;
            if Instant::now() > deadline {
                return Err(self.failure(io::ErrorKind::TimedOut, "did not answer within 10 s"));
            }
        }
        self.check_alive()
    }

    /// An error if the server has ended, or runs without its port: Knot carries on without an address it cannot bind.
    fn check_alive(&mut self) -> io::Result<()> {
        let ended = self.child.as_mut().map_or(Ok(None), Child::try_wait)?;
        let log = fs::read_to_string(self.log())?;
        if log.contains("cannot bind") {
            let error = self.failure(io::ErrorKind::AddrInUse, "could not bind its port");
            self.stop()?;
            return Err(error);
        }
        match ended {
            Some(status) => Err(self.failure(io::ErrorKind::Other, &format!("ended with {status}"))),
            None => Ok(()),
        }
    }

    fn failure(&self, kind: io::ErrorKind, what: &str) -> io::Error {
        let log = fs::read_to_string(self.log()).unwrap_or_default();
        io::Error::new(kind, format!("knot at {} {what}; its log:\n{log}", self.addr))
    }

    #[cfg(test)]
    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    fn log(&self) -> PathBuf {
        self.dir.join("log")
    }

    fn running(&self) -> io::Result<u32> {
        self.pid().ok_or_else(|| io::Error::other(format!("knot at {} is stopped", self.addr)))
    }

    fn has(&self, name: &str, kind: &str) -> io::Result<bool> {
        let output = knot_files::program(&self.root, &self.dir, "knotc").args(["zone-get", ZONE, name, kind]).output()?;
        Ok(output.status.success())
    }

    fn transaction(&self, change: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
        self.control(&["zone-begin", ZONE])?;
        let result = change().and_then(|()| self.control(&["zone-commit", ZONE]).map(drop));
        if result.is_err() {
            self.control(&["zone-abort", ZONE])?;
        }
        result
    }

    fn control(&self, args: &[&str]) -> io::Result<String> {
        self.running()?;
        let output = knot_files::program(&self.root, &self.dir, "knotc").args(args).stdin(Stdio::null()).output()?;
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
        }
        let said = [output.stdout, output.stderr].concat();
        Err(io::Error::other(format!("knotc {}: {}", args.join(" "), String::from_utf8_lossy(&said).trim())))
    }
}

impl Drop for Knot {
    fn drop(&mut self) {
        // Nothing sensible is left to do with an error here, and a panic in drop would hide the test's own.
        let _ = self.stop();
        let _ = fs::remove_dir_all(&self.dir);
    }
}

/// A port that is free for both UDP and TCP just now.
fn free_addr() -> io::Result<SocketAddr> {
    let mut last = None;
    for _ in 0..PORT_TRIES {
        let udp = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
        let addr = udp.local_addr()?;
        match TcpListener::bind(addr) {
            Ok(_) => return Ok(addr),
            Err(error) => last = Some(error),
        }
    }
    Err(last.unwrap_or_else(|| io::ErrorKind::AddrInUse.into()))
}

/// Whether a query for the zone's SOA gets an authoritative answer. Waits at most 50 ms, and at least 5 ms if the answer is no.
fn answers(addr: SocketAddr) -> bool {
    const QUERY: [u8; 22] = *b"\x4b\x4e\0\0\0\x01\0\0\0\0\0\0\x04test\0\0\x06\0\x01";
    /// Bits of the third byte: this is a response, and an authoritative one.
    const RESPONSE_AND_AUTHORITATIVE: u8 = 0x84;
    let ask = || -> io::Result<bool> {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
        socket.set_read_timeout(Some(Duration::from_millis(50)))?;
        socket.connect(addr)?;
        socket.send(&QUERY)?;
        let mut answer = [0; 512];
        let length = socket.recv(&mut answer)?;
        Ok(length > 12 && answer[..2] == QUERY[..2] && answer[2] & RESPONSE_AND_AUTHORITATIVE == RESPONSE_AND_AUTHORITATIVE)
    };
    let answered = ask().unwrap_or(false);
    if !answered {
        std::thread::sleep(Duration::from_millis(5));
    }
    answered
}
