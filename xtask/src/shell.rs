//! Running other programs: what is run is printed, how it failed is said, and nothing waits for a keyboard.

use std::ffi::OsString;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use crate::error::{Context as _, Error, Result};
use crate::workspace;

/// How often a program with a time limit is looked at: often enough for a table of seconds, seldom enough to cost nothing.
const LOOK: Duration = Duration::from_millis(20);

/// Cargo, in the workspace's root, as if the user had called it.
///
/// `cargo run` describes the package it runs in the environment. Build scripts that watch those variables (ring's does) would
/// run again each time a person and `xtask` take turns, so they are taken out.
pub(crate) fn cargo() -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo")));
    command.current_dir(workspace::root()).stdin(Stdio::null());
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("CARGO_PKG_") || text.starts_with("CARGO_MANIFEST_") {
            command.env_remove(&name);
        }
    }
    command
}

/// Runs to the end with output passed through; an unsuccessful end is an error.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    announce(command);
    let status = command.status().context(format_args!("cannot run {}", name(command)))?;
    succeeded(command, status)
}

/// Like [`run`], but kills the program when `limit` is over.
pub(crate) fn run_within(command: &mut Command, limit: Duration) -> Result<()> {
    announce(command);
    let mut child = command.spawn().context(format_args!("cannot run {}", name(command)))?;
    match wait_within(&mut child, limit).context(name(command))? {
        Some(status) => succeeded(command, status),
        None => Err(Error::new(format!("{} had not ended after {} s and was killed", name(command), limit.as_secs()))),
    }
}

/// Runs to the end and returns what was printed on standard output; standard error is passed through.
pub(crate) fn capture(command: &mut Command) -> Result<String> {
    announce(command);
    let child = command.stdout(Stdio::piped()).spawn().context(format_args!("cannot run {}", name(command)))?;
    let output = child.wait_with_output().context(name(command))?;
    succeeded(command, output.status)?;
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Runs quietly and returns what was printed on standard output; an unsuccessful end is an error with the last lines of standard error.
pub(crate) fn output(command: &mut Command) -> Result<String> {
    let output = command.stdin(Stdio::null()).output().context(format_args!("cannot run {}", name(command)))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let lines: Vec<&str> = said.lines().rev().take(5).collect();
    let tail: Vec<&str> = lines.into_iter().rev().collect();
    Err(Error::new(format!("{} ended with {}: {}", name(command), output.status, tail.join(" / "))))
}

/// Whether the program can be run and says yes; for "is this tool here?".
pub(crate) fn works(command: &mut Command) -> bool {
    output(command).is_ok()
}

fn wait_within(child: &mut Child, limit: Duration) -> std::io::Result<Option<ExitStatus>> {
    let deadline = Instant::now() + limit;
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        if Instant::now() >= deadline {
            child.kill()?;
            child.wait()?;
            return Ok(None);
        }
        std::thread::sleep(LOOK);
    }
}

fn succeeded(command: &Command, status: ExitStatus) -> Result<()> {
    if status.success() { Ok(()) } else { Err(Error::new(format!("{} ended with {status}", name(command)))) }
}

fn announce(command: &Command) {
    let args: Vec<_> = command.get_args().map(|arg| arg.to_string_lossy()).collect();
    println!("    $ {} {}", file_name(command), args.join(" "));
}

/// Program and subcommand: enough to tell which one failed, without a screenful of feature names.
fn name(command: &Command) -> String {
    let words = command.get_args().map(|arg| arg.to_string_lossy().into_owned());
    let first = words.into_iter().find(|word| !word.starts_with('-')).unwrap_or_default();
    format!("`{}`", format!("{} {first}", file_name(command)).trim())
}

fn file_name(command: &Command) -> String {
    std::path::Path::new(command.get_program()).file_name().unwrap_or_default().to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_that_fails_is_named_with_its_last_words() {
        let error = output(Command::new("sh").args(["-c", "echo because >&2; exit 3"])).unwrap_err().to_string();
        assert!(error.contains("`sh ") && error.contains('3') && error.contains("because"), "{error}");
    }

    #[test]
    fn a_program_that_hangs_is_killed_at_its_limit() {
        let started = Instant::now();
        let error = run_within(Command::new("sleep").arg("60"), Duration::from_millis(100)).unwrap_err();
        assert!(error.to_string().contains("killed"), "{error}");
        assert!(started.elapsed() < Duration::from_secs(30));
    }

    #[test]
    fn a_missing_program_is_an_error() {
        assert!(run(&mut Command::new("no-such-program-here")).is_err());
        assert!(!works(&mut Command::new("no-such-program-here")));
    }
}
