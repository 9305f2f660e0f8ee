//! Running the command and reading what it says.

use std::fs;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use tokio::io::AsyncBufReadExt;
use tokio::io::BufReader;
use tokio::io::Lines;
use tokio::process::Child;
use tokio::process::ChildStdout;
use tokio::process::Command;

/// Longer than anything takes here.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) struct Ended {
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
}

pub(crate) fn evenkeel(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_evenkeel"));
    command.args(args).stdin(Stdio::null()).kill_on_drop(true);
    command
}

/// Runs it to its end.
pub(crate) async fn run(args: &[&str]) -> Ended {
    let output = tokio::time::timeout(PATIENCE, evenkeel(args).output()).await.expect("it ends").unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Ended { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
}

/// The command running, its standard output being read.
pub(crate) struct Running {
    child: Child,
    pub(crate) lines: Lines<BufReader<ChildStdout>>,
}

impl Running {
    pub(crate) fn start(args: &[&str]) -> Self {
        let mut child = evenkeel(args).stdout(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { child, lines }
    }

    pub(crate) async fn line(&mut self) -> String {
        tokio::time::timeout(PATIENCE, self.lines.next_line()).await.expect("a line").unwrap().expect("a line, not the end")
    }

    pub(crate) fn signal(&self, name: &str) {
        let id = self.child.id().unwrap().to_string();
        assert!(std::process::Command::new("kill").args(["-s", name, &id]).status().unwrap().success());
    }

    /// Waits until the process catches SIGINT, which the system tells in a mask of caught signals.
    pub(crate) async fn listens_for_interrupts(&self) {
        let path = format!("/proc/{}/status", self.child.id().unwrap());
        let caught = || {
            let status = fs::read_to_string(&path).unwrap_or_default();
            let mask = status.lines().find_map(|line| line.strip_prefix("SigCgt:")).unwrap_or("0").trim().to_owned();
            u64::from_str_radix(&mask, 16).unwrap_or_default() & 0b10 != 0
        };
        let listens = async {
            while !caught() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(PATIENCE, listens).await.expect("it listens");
    }

    /// Stops reading, as `head` does.
    pub(crate) fn close(self) -> Child {
        self.child
    }

    pub(crate) async fn code(mut self) -> Option<i32> {
        code(&mut self.child).await
    }
}

pub(crate) async fn code(child: &mut Child) -> Option<i32> {
    tokio::time::timeout(PATIENCE, child.wait()).await.expect("it ends").unwrap().code()
}

/// A file of its own in a directory of its own, gone with it.
pub(crate) struct Scratch(PathBuf);

impl Scratch {
    pub(crate) fn new() -> Self {
        use std::hash::BuildHasher;
        let path = std::env::temp_dir().join(format!("evenkeel-cli-{:016x}", std::hash::RandomState::new().hash_one(0)));
        fs::create_dir(&path).unwrap();
        Self(path)
    }

    /// Replaces a file at once, as a careful editor does.
    pub(crate) fn write(&self, name: &str, text: &str) -> String {
        let (path, draft) = (self.0.join(name), self.0.join("draft"));
        fs::write(&draft, text).unwrap();
        fs::rename(&draft, &path).unwrap();
        path.to_str().unwrap().to_owned()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.0));
    }
}
