//! How the browser is run from a private copy.
//!
//! Included by `xtask` too, so that one started by hand (`cargo xtask services start chromium`) is the one the tests get.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use super::knot_files::libraries;

/// What every run needs: no window, no sandbox (a test may run as root, and opens only pages of its own), no first-run chores, no calls
/// home, and a profile below `dir`.
const FLAGS: &[&str] = &[
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--hide-scrollbars",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-features=Translate,OptimizationHints,MediaRouter",
    "--force-color-profile=srgb",
];

/// The browser, steered through its file descriptors 3 and 4. A shell moves standard input and output there, because the standard library
/// can hand a child no others; what the browser prints goes to standard error.
#[allow(dead_code, reason = "for tests")]
pub(crate) fn piped(root: &Path, dir: &Path) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", "exec 3<&0 4>&1 1>&2 0</dev/null; exec \"$@\"", "sh"]).arg(program(root));
    finish(command, root, dir, "--remote-debugging-pipe")
}

/// The same, steered over a port: for people.
#[allow(dead_code, reason = "for xtask")]
pub(crate) fn listening(root: &Path, dir: &Path, addr: SocketAddr) -> Command {
    finish(Command::new(program(root)), root, dir, &format!("--remote-debugging-port={}", addr.port()))
}

fn program(root: &Path) -> std::path::PathBuf {
    root.join("usr/lib/chromium/chromium")
}

fn finish(mut command: Command, root: &Path, dir: &Path, steering: &str) -> Command {
    let profile = format!("--user-data-dir={}", dir.join("profile").display());
    // It looks for a bus of the desktop, and a machine without one need not hear of it.
    command.args(FLAGS).args([steering, &profile, "about:blank"]).env("LD_LIBRARY_PATH", libraries(root));
    command.env("DBUS_SESSION_BUS_ADDRESS", "disabled:").env("HOME", dir);
    command
}
