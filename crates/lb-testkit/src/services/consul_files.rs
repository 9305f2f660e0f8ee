//! What a private Consul needs: its ports, its configuration, and the command that runs one agent.
//!
//! Included by `xtask` too, so that a server started by hand (`cargo xtask services start consul`) is the one the tests get.

use std::fs;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::path::Path;
use std::process::Command;

/// How often a set of ports is drawn of which one is taken for the other protocol.
const TRIES: u32 = 20;

/// One server of a cluster: its name and its ports on 127.0.0.1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Agent {
    pub(crate) name: String,
    pub(crate) http: SocketAddr,
    pub(crate) https: SocketAddr,
    /// Gossip: UDP and TCP.
    pub(crate) serf: SocketAddr,
    /// Raft and requests among servers.
    pub(crate) server: SocketAddr,
}

/// A cluster's agents, and what they have in common.
#[derive(Debug, Clone)]
pub(crate) struct Cluster {
    pub(crate) agents: Vec<Agent>,
    /// With a token, access control is on, denies by default, and this token may do everything.
    pub(crate) token: Option<String>,
    /// Whether HTTPS is served, to clients with a certificate of the CA in the agent's directory only.
    pub(crate) tls: bool,
}

impl Agent {
    /// An agent on free ports.
    pub(crate) fn new(name: &str) -> io::Result<Self> {
        let mut held = Vec::new();
        let mut draw = || -> io::Result<SocketAddr> {
            let (addr, sockets) = free_addr()?;
            held.push(sockets);
            Ok(addr)
        };
        Ok(Self { name: name.to_owned(), http: draw()?, https: draw()?, serf: draw()?, server: draw()? })
    }

    /// The same agent with its HTTP API there.
    #[allow(dead_code, reason = "for servers started by hand")]
    pub(crate) fn with_http(self, http: SocketAddr) -> Self {
        Self { http, ..self }
    }
}

impl Cluster {
    /// One agent without access control and TLS.
    #[allow(dead_code, reason = "for servers started by hand")]
    pub(crate) fn alone(agent: Agent) -> Self {
        Self { agents: vec![agent], token: None, tls: false }
    }

    /// Writes the agent's configuration into `dir`, which must exist.
    pub(crate) fn write(&self, dir: &Path, agent: &Agent) -> io::Result<()> {
        fs::create_dir_all(dir.join("conf"))?;
        fs::write(dir.join("conf/agent.json"), self.text(dir, agent))
    }

    /// Elections and answers as fast as they go; no port is used but the agent's four, and nothing outside of the machine is asked.
    fn text(&self, dir: &Path, agent: &Agent) -> String {
        let Agent { name, http, https, serf, server } = agent;
        let others = self.agents.iter().filter(|other| other.name != *name);
        let join: Vec<_> = others.map(|other| format!("\"{}\"", other.serf)).collect();
        let (http, serf, server, join, count) = (http.port(), serf.port(), server.port(), join.join(", "), self.agents.len());
        let https = if self.tls { i32::from(https.port()) } else { -1 };
        let (tls, acl, dir) = (self.tls_text(dir), self.acl_text(), dir.display());
        format!(
            r#"{{
  "server": true, "bootstrap_expect": {count}, "node_name": "{name}", "data_dir": "{dir}/data",
  "bind_addr": "127.0.0.1", "client_addr": "127.0.0.1",
  "ports": {{ "http": {http}, "https": {https}, "dns": -1, "grpc": -1, "serf_lan": {serf}, "serf_wan": -1, "server": {server} }},
  "retry_join": [{join}], "retry_interval": "1s", "log_level": "warn",
  "disable_update_check": true, "check_update_interval": "0s", "performance": {{ "raft_multiplier": 1 }}{acl}{tls}
}}
"#
        )
    }

    fn acl_text(&self) -> String {
        let text = |token| {
            format!(
                r#", "acl": {{ "enabled": true, "default_policy": "deny", "tokens": {{ "master": "{token}", "agent": "{token}" }} }}"#
            )
        };
        self.token.as_ref().map_or_else(String::new, text)
    }

    fn tls_text(&self, dir: &Path) -> String {
        let dir = dir.display();
        let text = || {
            format!(
                r#", "ca_file": "{dir}/consul-agent-ca.pem", "cert_file": "{dir}/dc1-server-consul-0.pem",
  "key_file": "{dir}/dc1-server-consul-0-key.pem", "verify_incoming_https": true"#
            )
        };
        if self.tls { text() } else { String::new() }
    }
}

/// The command that runs the agent of `dir`; it stays in the foreground and logs to standard output.
pub(crate) fn agent(root: &Path, dir: &Path) -> Command {
    let mut command = program(root, dir);
    command.args(["agent", "-config-dir"]).arg(dir.join("conf"));
    command
}

/// Consul's program, to be run in `dir`, deaf to the user's own settings.
pub(crate) fn program(root: &Path, dir: &Path) -> Command {
    let mut command = Command::new(root.join("usr/bin/consul"));
    command.current_dir(dir).env_clear();
    command
}

/// A port that is free for both UDP and TCP, and the sockets that keep it so.
fn free_addr() -> io::Result<(SocketAddr, (UdpSocket, TcpListener))> {
    let mut last = None;
    for _ in 0..TRIES {
        let udp = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
        let addr = udp.local_addr()?;
        match TcpListener::bind(addr) {
            Ok(tcp) => return Ok((addr, (udp, tcp))),
            Err(error) => last = Some(error),
        }
    }
    Err(last.unwrap_or_else(|| io::ErrorKind::AddrInUse.into()))
}
