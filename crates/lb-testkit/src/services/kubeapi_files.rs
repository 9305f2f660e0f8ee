//! What a private Kubernetes API server needs: the tokens it knows, and the command that runs it.
//!
//! Included by `xtask` too, so that a server started by hand (`cargo xtask services start kubeapi`) is the one the tests get.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{fs, io};

/// Token, user and group of everybody the server knows; the group says what is refused (see `xtask/kubeapi/access.go`).
const TOKENS: [(&str, &str, &str); 6] = [
    ("admin-token", "admin", "system:masters"),
    ("reader-token", "reader", "readonly"),
    ("denied-token", "denied", "denied"),
    ("no-watch-token", "no-watch", "no-watch"),
    ("no-get-token", "no-get", "no-get"),
    ("no-configmaps-token", "no-configmaps", "no-configmaps"),
];

/// Writes the file of tokens into `dir`, which must exist.
pub(crate) fn write(dir: &Path) -> io::Result<()> {
    let line = |(token, user, group): (&str, &str, &str)| format!("{token},{user},{user},\"{group}\"\n");
    fs::write(tokens(dir), TOKENS.map(line).concat())
}

/// The command that runs the server with its data in `etcd`; it stays in the foreground and logs to standard error. On its first start it
/// makes a certificate for `localhost` and 127.0.0.1, `certs/apiserver.crt`, which vouches for itself.
pub(crate) fn command(root: &Path, dir: &Path, addr: SocketAddr, etcd: SocketAddr) -> Command {
    let mut command = Command::new(root.join("kubeapi"));
    command.arg(format!("--etcd-servers=http://{etcd}"));
    command.arg(format!("--bind-address={}", addr.ip())).arg(format!("--secure-port={}", addr.port()));
    command.arg("--cert-dir").arg(dir.join("certs")).arg("--token-auth-file").arg(tokens(dir));
    command
}

fn tokens(dir: &Path) -> PathBuf {
    dir.join("tokens.csv")
}
