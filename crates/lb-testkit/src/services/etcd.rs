//! A real etcd, of one member or several, whose keys change while it runs.

use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::etcd_files::{self, Member};
use super::{fresh_dir, process};

/// One member is ready within half a second and three within two on an idle machine; a machine busy with a build gets more.
const READY_WITHIN: Duration = Duration::from_secs(30);

/// How etcd is to be run; the default is plain text and no limit on the life of a token.
#[derive(Debug, Clone, Default)]
pub struct EtcdOptions {
    /// Serves TLS with this certificate.
    pub tls: Option<EtcdCertificates>,
    /// Seconds until an unused token of a user expires; each use renews it.
    pub token_ttl: Option<u32>,
}

/// Certificates in PEM.
#[derive(Debug, Clone)]
pub struct EtcdCertificates {
    /// The authority that signed both certificates below.
    pub ca: String,
    /// The server's certificate, for `127.0.0.1`.
    pub cert: String,
    /// The key of the server's certificate.
    pub key: String,
    /// A client's certificate and key. With these the server refuses clients that show none.
    pub client: Option<(String, String)>,
}

/// An etcd of this test's own, on loopback ports. Members are counted from 0; an etcd of one member has member 0.
///
/// Dropping the handle kills all members, waits for their end and removes their directory.
#[derive(Debug)]
pub struct Etcd {
    root: PathBuf,
    dir: PathBuf,
    options: EtcdOptions,
    members: Vec<Member>,
    /// `None` while stopped; one per member.
    children: Vec<Option<Child>>,
    /// Plain text, for the readiness probe; one per member.
    probes: Vec<SocketAddr>,
    /// `name:password`, once authentication is on.
    user: Option<String>,
}

impl Etcd {
    /// Starts a single member from the files in `root` (see [`require`](super::require)) and waits until it is healthy.
    ///
    /// # Errors
    /// When the server cannot be started, ends at once (the error carries its log) or is not healthy within 30 s.
    pub fn start(root: &Path) -> io::Result<Self> {
        Self::start_with(root, 1, EtcdOptions::default())
    }

    /// Starts a cluster of `members` and waits until all are healthy.
    ///
    /// # Errors
    /// As [`start`](Self::start).
    pub fn start_cluster(root: &Path, members: usize) -> io::Result<Self> {
        Self::start_with(root, members, EtcdOptions::default())
    }

    /// Starts `members` with options and waits until all are healthy.
    ///
    /// # Errors
    /// As [`start`](Self::start).
    pub fn start_with(root: &Path, members: usize, options: EtcdOptions) -> io::Result<Self> {
        let ports = free_addrs(3 * members)?;
        let member = |at: usize| Member { name: format!("m{at}"), client: ports[3 * at], peer: ports[3 * at + 1] };
        let tls = options.tls.is_some();
        let mut etcd = Self {
            root: root.to_owned(),
            dir: fresh_dir("etcd")?,
            options,
            members: (0..members).map(member).collect(),
            children: (0..members).map(|_| None).collect(),
            probes: (0..members).map(|at| if tls { ports[3 * at + 2] } else { ports[3 * at] }).collect(),
            user: None,
        };
        etcd.write_certificates()?;
        (0..members).try_for_each(|at| etcd.launch(at))?;
        (0..members).try_for_each(|at| etcd.wait_healthy(at))?;
        Ok(etcd)
    }

    /// Where member `at` listens for clients, for the handle's whole life.
    #[must_use]
    pub fn addr(&self, at: usize) -> SocketAddr {
        self.members[at].client
    }

    /// All members' addresses joined by commas, as a target or `etcdctl` wants them.
    #[must_use]
    pub fn addrs(&self) -> String {
        self.members.iter().map(|member| member.client.to_string()).collect::<Vec<_>>().join(",")
    }

    /// Writes one key. Fast (no process is started), but only without TLS and authentication; else use [`ctl`](Self::ctl).
    ///
    /// # Errors
    /// When no running member accepts the write.
    pub fn put(&self, key: &str, value: &str) -> io::Result<()> {
        let body = format!(r#"{{"key":"{}","value":"{}"}}"#, base64(key.as_bytes()), base64(value.as_bytes()));
        self.post("/v3/kv/put", &body)
    }

    /// Removes one key, whether or not it is there; as [`put`](Self::put).
    ///
    /// # Errors
    /// When no running member accepts the write.
    pub fn delete(&self, key: &str) -> io::Result<()> {
        self.post("/v3/kv/deleterange", &format!(r#"{{"key":"{}"}}"#, base64(key.as_bytes())))
    }

    /// Forgets the history up to now: a watch from an older revision is refused from then on.
    ///
    /// # Errors
    /// When no member answers.
    pub fn compact(&self) -> io::Result<()> {
        let revision = self.revision()?;
        self.ctl(&["compaction", &revision.to_string()]).map(drop)
    }

    /// The store's present revision.
    ///
    /// # Errors
    /// When no member answers.
    pub fn revision(&self) -> io::Result<i64> {
        let answer = self.ctl(&["get", "revision-of-the-store", "-w", "json"])?;
        let digits = answer.split_once("\"revision\":").map_or("", |(_, rest)| rest);
        let end = digits.find(|c: char| !c.is_ascii_digit()).unwrap_or(digits.len());
        digits[..end].parse().map_err(|_| io::Error::other(format!("no revision in {answer}")))
    }

    /// Adds the user `root` with a password, turns authentication on, and uses both from then on.
    ///
    /// # Errors
    /// When `etcdctl` says so.
    pub fn enable_auth(&mut self, password: &str) -> io::Result<()> {
        self.ctl(&["user", "add", &format!("root:{password}")])?;
        self.ctl(&["user", "grant-role", "root", "root"])?;
        self.ctl(&["auth", "enable"])?;
        self.user = Some(format!("root:{password}"));
        Ok(())
    }

    /// Runs `etcdctl` with these arguments against the running members and returns what it prints.
    ///
    /// # Errors
    /// When it fails, with what it said.
    pub fn ctl(&self, args: &[&str]) -> io::Result<String> {
        let running: Vec<_> = self.running().map(|at| format!("{}://{}", self.scheme(), self.addr(at))).collect();
        let mut command = Command::new(self.root.join("usr/bin/etcdctl"));
        command.args(["--dial-timeout", "5s", "--command-timeout", "10s", "--endpoints", &running.join(",")]);
        if let Some(user) = &self.user {
            command.args(["--user", user]);
        }
        if let Some(tls) = &self.options.tls {
            command.arg("--cacert").arg(self.dir.join("ca.pem"));
            if tls.client.is_some() {
                command.arg("--cert").arg(self.dir.join("client.pem")).arg("--key").arg(self.dir.join("client.key"));
            }
        }
        let output = command.args(args).stdin(Stdio::null()).output()?;
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
        }
        Err(io::Error::other(format!("etcdctl {}: {}", args.join(" "), String::from_utf8_lossy(&output.stderr).trim())))
    }

    /// The member that leads, once there is one.
    ///
    /// # Errors
    /// When there is none for 30 s.
    pub fn leader(&self) -> io::Result<usize> {
        let deadline = Instant::now() + READY_WITHIN;
        loop {
            // A row per member: endpoint, id, version, size, leader, learner, term, … A member that does not answer fails the command.
            let rows = self.ctl(&["endpoint", "status"]).unwrap_or_default();
            let leads = |at: &usize| {
                let endpoint = format!("{}://{}", self.scheme(), self.addr(*at));
                let mut fields = rows.lines().map(|row| row.split(", "));
                fields.any(|mut row| row.next() == Some(&endpoint) && row.nth(3) == Some("true"))
            };
            if let Some(leader) = self.running().find(leads) {
                return Ok(leader);
            }
            if Instant::now() > deadline {
                return Err(io::Error::other(format!("no member leads; etcdctl says: {rows}")));
            }
        }
    }

    /// Freezes member `at`: connections stay, nothing is answered.
    ///
    /// # Errors
    /// When it is stopped.
    pub fn pause(&self, at: usize) -> io::Result<()> {
        process::signal(self.pid(at)?, "STOP")
    }

    /// Thaws a frozen member.
    ///
    /// # Errors
    /// When it is stopped.
    pub fn resume(&self, at: usize) -> io::Result<()> {
        process::signal(self.pid(at)?, "CONT")
    }

    /// Kills member `at` and waits for its end: from then on its port refuses. Does nothing if it is stopped already.
    ///
    /// # Errors
    /// When the process cannot be waited for.
    pub fn kill(&mut self, at: usize) -> io::Result<()> {
        let Some(mut child) = self.children[at].take() else { return Ok(()) };
        child.kill()?;
        child.wait().map(drop)
    }

    /// Starts a stopped member again with what it had, and waits until it is healthy.
    ///
    /// # Errors
    /// As [`start`](Self::start), and when it is running.
    pub fn restart(&mut self, at: usize) -> io::Result<()> {
        if let Ok(pid) = self.pid(at) {
            return Err(io::Error::other(format!("etcd is running as process {pid}: kill it first")));
        }
        self.launch(at)?;
        self.wait_healthy(at)
    }

    /// Removes the data of a stopped member, so that it starts with nothing and with revision 1.
    ///
    /// # Errors
    /// When it is running, or the data cannot be removed.
    pub fn wipe(&mut self, at: usize) -> io::Result<()> {
        if let Ok(pid) = self.pid(at) {
            return Err(io::Error::other(format!("etcd is running as process {pid}: kill it first")));
        }
        self.user = None;
        fs::remove_dir_all(self.member_dir(at).join("data"))
    }

    fn launch(&mut self, at: usize) -> io::Result<()> {
        let dir = self.member_dir(at);
        fs::create_dir_all(&dir)?;
        let log = File::create(dir.join("log"))?;
        let mut command = etcd_files::command(&self.root, &dir, self.scheme(), &self.members[at], &self.members);
        if let Some(tls) = &self.options.tls {
            command.arg("--cert-file").arg(self.dir.join("server.pem")).arg("--key-file").arg(self.dir.join("server.key"));
            command.arg("--listen-metrics-urls").arg(format!("http://{}", self.probes[at]));
            if tls.client.is_some() {
                command.arg("--client-cert-auth").arg("--trusted-ca-file").arg(self.dir.join("ca.pem"));
            }
        }
        if let Some(ttl) = self.options.token_ttl {
            command.args(["--auth-token", "simple", "--auth-token-ttl", &ttl.to_string()]);
        }
        self.children[at] = Some(command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).spawn()?);
        Ok(())
    }

    fn wait_healthy(&mut self, at: usize) -> io::Result<()> {
        let deadline = Instant::now() + READY_WITHIN;
        let probe = self.probes[at];
        while !http(probe, "GET /health HTTP/1.0\r\n\r\n").is_ok_and(|answer| answer.contains(r#""health":"true""#)) {
            let ended = self.children[at].as_mut().map_or(Ok(None), Child::try_wait)?;
            if ended.is_some() || Instant::now() > deadline {
                let log = fs::read_to_string(self.member_dir(at).join("log")).unwrap_or_default();
                let what = ended.map_or_else(|| "is not healthy".to_owned(), |status| format!("ended with {status}"));
                return Err(io::Error::other(format!("etcd at {probe} {what}; its log:\n{log}")));
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(())
    }

    fn write_certificates(&self) -> io::Result<()> {
        let Some(tls) = &self.options.tls else { return Ok(()) };
        let write = |name: &str, text: &str| fs::write(self.dir.join(name), text);
        write("ca.pem", &tls.ca)?;
        write("server.pem", &tls.cert)?;
        write("server.key", &tls.key)?;
        tls.client.as_ref().map_or(Ok(()), |(cert, key)| {
            write("client.pem", cert)?;
            write("client.key", key)
        })
    }

    fn post(&self, path: &str, body: &str) -> io::Result<()> {
        let at = self.running().next().ok_or_else(|| io::Error::other("every member is stopped"))?;
        let answer = http(self.addr(at), &format!("POST {path} HTTP/1.0\r\nContent-Length: {}\r\n\r\n{body}", body.len()))?;
        let accepted = answer.split(' ').nth(1) == Some("200");
        if accepted { Ok(()) } else { Err(io::Error::other(format!("{path}: {answer}"))) }
    }

    fn scheme(&self) -> &'static str {
        if self.options.tls.is_some() { "https" } else { "http" }
    }

    fn running(&self) -> impl Iterator<Item = usize> {
        self.children.iter().enumerate().filter_map(|(at, child)| child.as_ref().map(|_| at))
    }

    fn pid(&self, at: usize) -> io::Result<u32> {
        self.children[at].as_ref().map(Child::id).ok_or_else(|| io::Error::other(format!("member {at} is stopped")))
    }

    fn member_dir(&self, at: usize) -> PathBuf {
        self.dir.join(&self.members[at].name)
    }
}

impl Drop for Etcd {
    fn drop(&mut self) {
        // Nothing sensible is left to do with an error here, and a panic in drop would hide the test's own.
        for at in 0..self.members.len() {
            let _ = self.kill(at);
        }
        let _ = fs::remove_dir_all(&self.dir);
    }
}

/// Ports that are free just now, all held until the last is found so that no two are the same.
fn free_addrs(count: usize) -> io::Result<Vec<SocketAddr>> {
    let held: io::Result<Vec<_>> = (0..count).map(|_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0))).collect();
    held?.iter().map(TcpListener::local_addr).collect()
}

/// One request, one connection; returns the whole answer, head included.
fn http(addr: SocketAddr, request: &str) -> io::Result<String> {
    let mut stream = TcpStream::connect(addr)?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    stream.write_all(request.as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

/// As JSON carries the bytes of keys and values.
fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let group = |chunk: &[u8]| {
        let bits = chunk.iter().fold(0_u32, |bits, byte| bits << 8 | u32::from(*byte)) << (8 * (3 - chunk.len()));
        let digit = |at: usize| if at > chunk.len() { '=' } else { char::from(ALPHABET[(bits >> (18 - 6 * at)) as usize & 63]) };
        [digit(0), digit(1), digit(2), digit(3)]
    };
    bytes.chunks(3).flat_map(group).collect()
}
