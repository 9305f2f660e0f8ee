//! What a private etcd needs: the command that runs one member.
//!
//! Included by `xtask` too, so that a server started by hand (`cargo xtask services start etcd`) is the one the tests get.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

/// One member of a cluster: its name and where it listens for clients and for the other members.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Member {
    pub(crate) name: String,
    pub(crate) client: SocketAddr,
    pub(crate) peer: SocketAddr,
}

/// The command that runs `member` of a cluster of `all`, with its data in `dir`; it stays in the foreground and logs to standard error.
///
/// An election takes half a second instead of one and more, and writes are not forced to the disk: a killed process loses nothing by
/// that, only a killed machine would.
pub(crate) fn command(root: &Path, dir: &Path, scheme: &str, member: &Member, all: &[Member]) -> Command {
    let client = format!("{scheme}://{}", member.client);
    let peer = |member: &Member| format!("http://{}", member.peer);
    let cluster: Vec<_> = all.iter().map(|member| format!("{}={}", member.name, peer(member))).collect();
    let mut command = Command::new(root.join("usr/bin/etcd"));
    command.arg("--data-dir").arg(dir.join("data"));
    command.args(["--name", &member.name, "--listen-client-urls", &client, "--advertise-client-urls", &client]);
    command.args(["--listen-peer-urls", &peer(member), "--initial-advertise-peer-urls", &peer(member)]);
    command.args(["--initial-cluster", &cluster.join(","), "--heartbeat-interval", "50", "--election-timeout", "500"]);
    command.args(["--unsafe-no-fsync", "--log-level", "warn"]);
    command
}
