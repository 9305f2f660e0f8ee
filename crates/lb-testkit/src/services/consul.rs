//! A real Consul, alone or as a cluster of servers.

use std::fs::{self, File};
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use super::consul_files::{self, Agent, Cluster};
use super::{fresh_dir, http, process};

/// Consul is ready within 2 s on an idle machine; one busy with a build gets much longer.
const READY_WITHIN: Duration = Duration::from_secs(40);

/// How often it is asked meanwhile.
const PROBE_EVERY: Duration = Duration::from_millis(25);

/// How often ports lost between choosing and binding them are chosen anew. Losing one is rare, five in a row is another fault.
const PORT_TRIES: u32 = 5;

/// The token that may do everything, where access control is on.
const TOKEN: &str = "5ec7e700-0000-4000-8000-000000000001";

/// What kind of Consul to start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ConsulOptions {
    /// Access control on, denying by default; [`Consul::token`] may do everything.
    pub acl: bool,
    /// HTTPS at [`Consul::https_addr`] too, for clients with a certificate; see [`Consul::tls_file`].
    pub tls: bool,
}

/// A Consul server of this test's own on loopback ports.
///
/// Dropping the handle kills the server, waits for its end and removes its directory.
#[derive(Debug)]
pub struct Consul {
    root: PathBuf,
    dir: PathBuf,
    agent: Agent,
    cluster: Cluster,
    /// `None` while stopped.
    child: Option<Child>,
}

impl Consul {
    /// Starts a server from the files in `root` (see [`require`](super::require)), and waits until it leads and knows itself.
    ///
    /// # Errors
    /// When the server cannot be started, ends at once (the error carries its log) or is not ready within 40 s.
    pub fn start(root: &Path) -> io::Result<Self> {
        Self::start_with(root, ConsulOptions::default())
    }

    /// The same with access control or TLS.
    ///
    /// # Errors
    /// As [`start`](Self::start).
    pub fn start_with(root: &Path, options: ConsulOptions) -> io::Result<Self> {
        let mut all = Self::start_servers(root, 1, options)?;
        all.pop().ok_or_else(|| io::Error::other("no server"))
    }

    /// Starts so many servers that form one cluster, and waits until each knows a leader and itself.
    ///
    /// # Errors
    /// As [`start`](Self::start).
    pub fn start_cluster(root: &Path, servers: usize) -> io::Result<Vec<Self>> {
        Self::start_servers(root, servers, ConsulOptions::default())
    }

    fn start_servers(root: &Path, count: usize, options: ConsulOptions) -> io::Result<Vec<Self>> {
        for _ in 1..PORT_TRIES {
            match Self::try_start(root, count, options) {
                Err(error) if error.kind() == io::ErrorKind::AddrInUse => {}
                other => return other,
            }
        }
        Self::try_start(root, count, options)
    }

    fn try_start(root: &Path, count: usize, options: ConsulOptions) -> io::Result<Vec<Self>> {
        let agents = (1..=count).map(|index| Agent::new(&format!("c{index}"))).collect::<io::Result<Vec<_>>>()?;
        let token = options.acl.then(|| TOKEN.to_owned());
        let cluster = Cluster { agents: agents.clone(), token, tls: options.tls };
        let mut all = Vec::new();
        for agent in agents {
            // From here on dropping the handle removes the directory, whichever way this function ends.
            let mut consul =
                Self { root: root.to_owned(), dir: fresh_dir("consul")?, agent, cluster: cluster.clone(), child: None };
            if options.tls {
                consul.make_certificates()?;
            }
            cluster.write(&consul.dir, &consul.agent)?;
            consul.launch()?;
            all.push(consul);
        }
        all.iter_mut().try_for_each(Self::wait_ready)?;
        Ok(all)
    }

    /// Where its HTTP API is. The same for the handle's whole life, restarts included.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.agent.http
    }

    /// Where its HTTPS API is, if it has one.
    #[must_use]
    pub fn https_addr(&self) -> Option<SocketAddr> {
        self.cluster.tls.then_some(self.agent.https)
    }

    /// What it calls itself.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.agent.name
    }

    /// The token that may do everything, where access control is on.
    #[must_use]
    pub fn token(&self) -> Option<&str> {
        self.cluster.token.as_deref()
    }

    /// A file of the certificates it was started with: `"ca"`, and for clients `"client"` and `"client-key"`.
    ///
    /// # Errors
    /// When there is no such file.
    pub fn tls_file(&self, what: &str) -> io::Result<PathBuf> {
        let path = self.dir.join(match what {
            "ca" => "consul-agent-ca.pem",
            "client" => "dc1-client-consul-0.pem",
            _ => "dc1-client-consul-0-key.pem",
        });
        path.metadata().map(|_| path)
    }

    /// The server's process id, or `None` while it is stopped.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    /// A request to its HTTP API with the token that may do everything: the status and the text that came back.
    ///
    /// # Errors
    /// When it does not answer.
    pub fn request(&self, method: &str, path: &str, body: &str) -> io::Result<(u16, String)> {
        http::request(self.addr(), method, path, &[("X-Consul-Token", self.token().unwrap_or_default())], body)
    }

    /// `PUT`s a text.
    ///
    /// # Errors
    /// When it does not answer, or answers with anything but 200.
    pub fn put(&self, path: &str, body: &str) -> io::Result<String> {
        match self.request("PUT", path, body)? {
            (200, text) => Ok(text),
            (status, text) => Err(io::Error::other(format!("PUT {path}: {status} {text}"))),
        }
    }

    /// Registers an endpoint of `service` at 127.0.0.1 that passes its checks for as long as nobody says otherwise.
    ///
    /// # Errors
    /// As [`put`](Self::put).
    pub fn register(&self, service: &str, id: &str, port: u16) -> io::Result<()> {
        let body = format!(r#"{{ "ID": "{id}", "Name": "{service}", "Address": "127.0.0.1", "Port": {port} }}"#);
        self.put("/v1/agent/service/register", &body).map(drop)
    }

    /// Removes what was registered under this id.
    ///
    /// # Errors
    /// As [`put`](Self::put).
    pub fn deregister(&self, id: &str) -> io::Result<()> {
        self.put(&format!("/v1/agent/service/deregister/{id}"), "").map(drop)
    }

    /// Freezes the server: connections stay, nothing is answered.
    ///
    /// # Errors
    /// When the server is stopped.
    pub fn pause(&self) -> io::Result<()> {
        process::signal(self.running()?, "STOP")
    }

    /// Thaws a frozen server.
    ///
    /// # Errors
    /// When the server is stopped.
    pub fn resume(&self) -> io::Result<()> {
        process::signal(self.running()?, "CONT")
    }

    /// SIGKILL. Returns when the process is gone; does nothing if it is already.
    ///
    /// # Errors
    /// When the process cannot be waited for.
    pub fn kill(&mut self) -> io::Result<()> {
        let Some(mut child) = self.child.take() else { return Ok(()) };
        child.kill()?;
        child.wait().map(drop)
    }

    /// Starts a killed server again, on the same ports with the data it had, and waits until it is ready.
    ///
    /// # Errors
    /// As [`start`](Self::start), and when it is running.
    pub fn restart(&mut self) -> io::Result<()> {
        if let Some(pid) = self.pid() {
            return Err(io::Error::other(format!("consul is running as process {pid}: kill it first")));
        }
        self.launch()?;
        self.wait_ready()
    }

    /// Kills the server and removes everything it knows; its next start is that of a new one.
    ///
    /// # Errors
    /// When the process cannot be waited for, or its data not be removed.
    pub fn wipe(&mut self) -> io::Result<()> {
        self.kill()?;
        fs::remove_dir_all(self.dir.join("data"))
    }

    fn launch(&mut self) -> io::Result<()> {
        let log = File::create(self.log())?;
        let mut command = consul_files::agent(&self.root, &self.dir);
        self.child = Some(command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).spawn()?);
        Ok(())
    }

    fn wait_ready(&mut self) -> io::Result<()> {
        let deadline = Instant::now() + READY_WITHIN;
        while !self.ready() {
            if let Some(status) = self.child.as_mut().map_or(Ok(None), Child::try_wait)? {
                let in_use = fs::read_to_string(self.log())?.contains("address already in use");
                let kind = if in_use { io::ErrorKind::AddrInUse } else { io::ErrorKind::Other };
                return Err(self.failure(kind, &format!("ended with {status}")));
            }
            if Instant::now() > deadline {
                return Err(self.failure(io::ErrorKind::TimedOut, "was not ready within 40 s"));
            }
            std::thread::sleep(PROBE_EVERY);
        }
        Ok(())
    }

    /// Whether there is a leader, and the server is in its own catalogue; with access control, whether that is set up too.
    fn ready(&self) -> bool {
        let says = |path: &str, word: &str| matches!(self.request("GET", path, ""), Ok((200, text)) if text.contains(word));
        let name = format!("\"{}\"", self.agent.name);
        says("/v1/status/leader", ":")
            && says("/v1/catalog/nodes", &name)
            && (self.cluster.token.is_none() || says("/v1/acl/tokens", "AccessorID"))
    }

    fn make_certificates(&self) -> io::Result<()> {
        for args in
            [&["ca", "create"][..], &["cert", "create", "-server", "-dc", "dc1"], &["cert", "create", "-client", "-dc", "dc1"]]
        {
            let output = consul_files::program(&self.root, &self.dir).arg("tls").args(args).output()?;
            if !output.status.success() {
                return Err(io::Error::other(format!("consul tls {args:?}: {}", String::from_utf8_lossy(&output.stderr))));
            }
        }
        Ok(())
    }

    fn failure(&self, kind: io::ErrorKind, what: &str) -> io::Error {
        let log = fs::read_to_string(self.log()).unwrap_or_default();
        io::Error::new(kind, format!("consul at {} {what}; its log:\n{log}", self.addr()))
    }

    fn log(&self) -> PathBuf {
        self.dir.join("log")
    }

    fn running(&self) -> io::Result<u32> {
        self.pid().ok_or_else(|| io::Error::other(format!("consul at {} is stopped", self.addr())))
    }
}

impl Drop for Consul {
    fn drop(&mut self) {
        // Nothing sensible is left to do with an error here, and a panic in drop would hide the test's own.
        let _ = self.kill();
        let _ = fs::remove_dir_all(&self.dir);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::services::require;

    #[test]
    fn it_keeps_what_it_knows_until_it_is_wiped() {
        let Some(root) = require("consul") else { return };
        let mut consul = Consul::start(&root).unwrap();
        consul.register("greeter", "s1", 50051).unwrap();
        let known = |consul: &Consul| consul.request("GET", "/v1/health/service/greeter", "").unwrap().1.contains("50051");
        assert!(known(&consul));
        consul.kill().unwrap();
        assert!(consul.request("GET", "/v1/status/leader", "").is_err() && consul.pause().is_err());
        consul.restart().unwrap();
        assert!(known(&consul) && consul.restart().is_err());
        consul.wipe().unwrap();
        consul.restart().unwrap();
        assert!(!known(&consul));
        let (pid, dir) = (consul.pid().unwrap(), consul.dir.clone());
        drop(consul);
        assert!(!dir.exists() && !Path::new(&format!("/proc/{pid}")).exists(), "something is left");
    }

    #[test]
    fn three_of_them_lose_their_leader_with_two() {
        let Some(root) = require("consul") else { return };
        let mut consuls = Consul::start_cluster(&root, 3).unwrap();
        let (status, peers) = consuls[0].request("GET", "/v1/status/peers", "").unwrap();
        assert!(status == 200 && peers.matches(':').count() == 3, "{peers}");
        consuls[1].kill().unwrap();
        consuls[2].kill().unwrap();
        let (status, _) = consuls[0].request("GET", "/v1/health/service/greeter?stale", "").unwrap();
        assert_eq!(status, 200);
    }

    #[test]
    fn with_access_control_and_tls() {
        let Some(root) = require("consul") else { return };
        let consul = Consul::start_with(&root, ConsulOptions { acl: true, tls: true }).unwrap();
        let anonymous = http::request(consul.addr(), "GET", "/v1/agent/self", &[], "").unwrap();
        assert_eq!(anonymous.0, 403);
        assert_eq!(consul.request("GET", "/v1/agent/self", "").unwrap().0, 200);
        assert!(consul.https_addr().is_some() && ["ca", "client", "client-key"].iter().all(|what| consul.tls_file(what).is_ok()));
    }
}
