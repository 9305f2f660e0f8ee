//! Signals by process id, for processes we started ourselves.

use std::io;
use std::process::{Command, Stdio};

/// Sends `signal` (`"STOP"`, `"CONT"`, `"TERM"`) to the process `pid`.
///
/// Through the shell's own `kill`: the standard library can only kill, and a library for the rest would need `unsafe` or a dependency.
///
/// # Errors
/// When the shell cannot be run, or says that the process is gone.
pub(crate) fn signal(pid: u32, signal: &str) -> io::Result<()> {
    let script = format!("kill -{signal} {pid}");
    let output = Command::new("sh").args(["-c", &script]).stdin(Stdio::null()).output()?;
    if output.status.success() {
        return Ok(());
    }
    Err(io::Error::other(format!("`{script}` failed: {}", String::from_utf8_lossy(&output.stderr).trim())))
}
