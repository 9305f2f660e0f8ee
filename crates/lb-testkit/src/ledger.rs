//! Which calls servers have executed, written down where it survives them.
//!
//! A server that gets SIGKILL takes its counters along. A line in a file is the kernel's from the moment it is written, so what a killed
//! process did is known all the same. Several servers, in this process and in others, write into one file: lines are appended in one
//! write each, which the kernel does not tear.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

/// The request header that names a call in a [`Ledger`].
pub const CALL_ID: &str = "call-id";

/// A file in which servers note the calls they begin to execute, by the value of their [`CALL_ID`] header. Removed when it is dropped.
#[derive(Debug)]
pub struct Ledger {
    path: PathBuf,
}

/// The end of a ledger that a server writes to.
#[derive(Debug)]
pub(crate) struct Pen(File);

impl Ledger {
    /// A new one, empty, in the directory for temporary files.
    pub fn new() -> io::Result<Self> {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let name = format!("evenkeel-ledger-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let ledger = Self { path: std::env::temp_dir().join(name) };
        File::create(&ledger.path)?;
        Ok(ledger)
    }

    /// What [`EchoServerBuilder::ledger`](crate::EchoServerBuilder::ledger) and `--ledger` of the server's binary take.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// How often each call was executed so far.
    pub fn executed(&self) -> io::Result<BTreeMap<String, u32>> {
        let mut executed = BTreeMap::new();
        for id in std::fs::read_to_string(&self.path)?.lines() {
            *executed.entry(id.to_owned()).or_default() += 1;
        }
        Ok(executed)
    }
}

impl Drop for Ledger {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

impl Pen {
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        OpenOptions::new().append(true).open(path).map(Self)
    }

    /// Notes one execution.
    pub(crate) fn note(&self, id: &str) {
        // A full disk would make a test fail by what it then misses, and not here.
        let _ = (&self.0).write_all(format!("{id}\n").as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn several_pens_write_into_one_ledger_and_the_file_goes_with_it() {
        let ledger = Ledger::new().unwrap();
        let pens = [Pen::open(ledger.path()).unwrap(), Pen::open(ledger.path()).unwrap()];
        for (pen, id) in pens.iter().chain(&pens).zip(["a", "b", "b", "c"]) {
            pen.note(id);
        }
        let counts: Vec<_> = ledger.executed().unwrap().into_iter().collect();
        assert_eq!(counts, [("a".to_owned(), 1), ("b".to_owned(), 2), ("c".to_owned(), 1)]);
        let path = ledger.path().to_owned();
        drop(ledger);
        assert!(!path.exists());
    }
}
