//! What is got once and kept below the user's cache directory: unpacked or built aside, tried, and renamed into place as the last act, so that
//! half of a thing is never used.
//!
//! Two that want the same at once are serialised by a lock on a file, which the system releases even if its holder is killed.

pub(crate) mod apt;
pub(crate) mod go;
pub(crate) mod python;

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use crate::error::{Context as _, Result};

/// Where something is kept.
pub(crate) struct Kept<'a> {
    /// The directory of its kind, which also has the lock and the half-done.
    pub(crate) home: PathBuf,
    /// What it is called there, whatever its version.
    pub(crate) name: &'a str,
    /// The directory it has when it is done, within `home`.
    pub(crate) place: PathBuf,
}

impl Kept<'_> {
    /// Makes sure that it is here and works; `get` makes it if not, in the directory it is given, and says which directory to keep.
    pub(crate) fn ensure(&self, works: impl Fn(&Path) -> bool, get: impl FnOnce(&Path) -> Result<PathBuf>) -> Result<()> {
        let here = || self.place.is_dir() && works(&self.place);
        if here() {
            return Ok(());
        }
        fs::create_dir_all(&self.home).context(self.home.display())?;
        let lock = File::create(self.home.join(format!("{}.lock", self.name))).context("the lock file")?;
        lock.lock().context("the lock file")?;
        if here() {
            return Ok(());
        }
        self.clear();
        let work = self.home.join(format!("{}{}", self.partial(), std::process::id()));
        let result = fs::create_dir_all(&work).context(work.display()).and_then(|()| get(&work)).and_then(|done| self.keep(&done));
        self.clear();
        result
    }

    fn keep(&self, done: &Path) -> Result<()> {
        // Only a broken one can be in the way: a working one ended this before it began.
        remove(&self.place)?;
        fs::rename(done, &self.place).context(self.place.display())
    }

    /// What the directory of one that is not done is called, but for the process id at its end. Each has its own: an `apt-get` may outlive
    /// the one that started it.
    fn partial(&self) -> String {
        format!("{}.partial-", self.name)
    }

    /// Removes what was left by those that were killed; whoever holds the lock is the only one at work. What cannot be removed is in nobody's way.
    fn clear(&self) {
        for entry in fs::read_dir(&self.home).into_iter().flatten().flatten() {
            if entry.file_name().to_string_lossy().starts_with(&self.partial()) {
                let _ = fs::remove_dir_all(entry.path());
            }
        }
    }
}

pub(crate) fn remove(path: &Path) -> Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error).context(path.display()),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Error;

    fn kept(test: &str) -> Kept<'static> {
        let home = std::env::temp_dir().join(format!("xtask-{test}-{}", std::process::id()));
        Kept { place: home.join("thing-1"), home, name: "thing" }
    }

    #[test]
    fn what_is_done_is_kept_and_what_was_in_between_is_gone() {
        let kept = kept("kept");
        let get = |work: &Path| {
            fs::create_dir(work.join("done")).context("done")?;
            fs::write(work.join("debris"), "").context("debris")?;
            Ok(work.join("done"))
        };
        kept.ensure(|_| true, get).unwrap();
        let mut names: Vec<_> = fs::read_dir(&kept.home).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        assert_eq!(names, ["thing-1", "thing.lock"]);
        kept.ensure(|_| true, |_| panic!("it is here already")).unwrap();
        kept.ensure(|_| false, get).unwrap();
        fs::remove_dir_all(&kept.home).unwrap();
    }

    #[test]
    fn what_fails_leaves_nothing_but_the_lock() {
        let kept = kept("failed");
        let failed = kept
            .ensure(|_| true, |work| fs::write(work.join("debris"), "").context("debris").and_then(|()| Err(Error::new("broken"))));
        assert_eq!(failed.unwrap_err().to_string(), "broken");
        assert_eq!(fs::read_dir(&kept.home).unwrap().count(), 1);
        fs::remove_dir_all(&kept.home).unwrap();
    }
}
