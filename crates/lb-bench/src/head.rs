//! What a figure must not be seen without: machine, compiler, commit, date, command.

use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

/// Where and how the figures came about. What cannot be found out is `unknown`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    /// The processor's model and how many cores this process may use.
    pub machine: String,
    /// The operating system and its version.
    pub system: String,
    /// The compiler's version.
    pub rustc: String,
    /// The commit, with `, changed` where files differ from it.
    pub commit: String,
    /// In UTC, `2026-11-21 13:05`.
    pub date: String,
    /// What to type for the same again.
    pub command: String,
    /// How busy the machine was over the last minute, before the measurement: processes that ran or wanted to.
    pub load: String,
}

impl Head {
    /// Of this process, which measures `suite`.
    #[must_use]
    pub fn new(suite: &str) -> Self {
        let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
        let dashes = if arguments.is_empty() { "" } else { " -- " };
        Self {
            machine: machine(&read("/proc/cpuinfo")),
            system: system(),
            rustc: said(Command::new("rustc").arg("-V")),
            commit: commit(),
            date: said(Command::new("date").args(["-u", "+%Y-%m-%d %H:%M"])),
            command: format!("cargo xtask bench {suite}{dashes}{}", arguments.join(" ")),
            load: read("/proc/loadavg").split_whitespace().next().unwrap_or(UNKNOWN).to_owned(),
        }
    }

    pub(crate) fn markdown(&self) -> String {
        let Self { machine, system, rustc, commit, date, command, load } = self;
        format!("{date} UTC, commit {commit}: `{command}`\n\n{machine}, {system}; {rustc}; load {load} when it began.\n")
    }

    pub(crate) fn json(&self) -> Value {
        json!({
            "machine": self.machine,
            "system": self.system,
            "rustc": self.rustc,
            "commit": self.commit,
            "date": self.date,
            "command": self.command,
            "load": self.load,
        })
    }
}

const UNKNOWN: &str = "unknown";

fn machine(cpuinfo: &str) -> String {
    let model = cpuinfo.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": ")).map(|(_, model)| model.trim());
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    format!("{}, {cores} cores", model.unwrap_or(UNKNOWN))
}

fn system() -> String {
    let release = read("/proc/sys/kernel/osrelease");
    format!("{} {}", std::env::consts::OS, release.trim())
}

fn commit() -> String {
    let git = |arguments: &[&str]| said(Command::new("git").args(arguments).current_dir(root()));
    let commit = git(&["rev-parse", "--short", "HEAD"]);
    // Quiet and successful, so `unknown`, where nothing differs.
    match git(&["status", "--porcelain", "--untracked-files=no"]).as_str() {
        UNKNOWN => commit,
        _ => format!("{commit}, changed"),
    }
}

/// The workspace's.
pub(crate) fn root() -> &'static Path {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    package.ancestors().nth(2).unwrap_or(package)
}

fn read(path: &str) -> String {
    std::fs::read_to_string(path).unwrap_or_default()
}

/// The last line of what a program prints.
fn said(command: &mut Command) -> String {
    let output = command.output().ok().filter(|output| output.status.success());
    let text = output.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned()).unwrap_or_default();
    text.lines().next_back().unwrap_or(UNKNOWN).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_is_said() {
        let head = Head::new("pick");
        assert!(head.command.starts_with("cargo xtask bench pick"), "{head:?}");
        assert!(head.rustc.starts_with("rustc "), "{head:?}");
        assert_eq!(head.date.len(), "2026-11-21 13:05".len(), "{head:?}");
        let text = head.markdown();
        assert!([&head.machine, &head.system, &head.commit].iter().all(|part| text.contains(part.as_str())), "{text}");
    }

    #[test]
    fn the_model_of_the_processor() {
        assert!(machine("processor\t: 0\nmodel name\t: Fast One 3\n").starts_with("Fast One 3, "));
        assert!(machine("").starts_with("unknown, "));
    }
}
