//! The last good set on disk, for starts while the registry is down.
//!
//! A channel keeps its endpoints while its registry is down, but a process that starts then has none to keep. This resolver writes
//! what its source says to a file, and reads it back when the source fails or is silent at the start. Opt in, because what a file says
//! may be out of date: such endpoints may be gone, or somebody else's.
//!
//! - The file is used at most once per stream, and only if the source's first word is an error or the source says nothing
//!   for the start-up time. The set's note says where it comes from and how old it is. The error follows it, so that the channel knows that its
//!   set is stale. The source's first set replaces it.
//! - A file that is damaged, foreign (another format, version or target, or one that others than its owner may write), too large, too old or
//!   from the future is ignored, with a line in the log that says why.
//! - It is written at once when the first set comes, then at most once a second, and again from time to time while the source does not
//!   fail, because what still holds does not age.
//! - Written to a temporary file beside it (mode 0600), synced, renamed over it, and the directory synced: readers see the old
//!   file or the new one, whoever else writes, and after a power cut too.
//! - Reading and writing happen on threads of their own, one at a time. A disk that hangs costs such a thread; a disk that fails costs a
//!   line in the log. Neither is ever waited for.
//!
//! Not kept: a service config that could not be read, notes, and addresses that are not UTF-8.
//!
//! When not: where an out-of-date endpoint is worse than none.

mod file;
mod flow;
mod writer;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use lb_core::ResolveError;
use lb_core::ResolveNow;
use lb_core::Resolver;
use lb_core::ResolverStream;
use lb_core::Target;

use crate::running::stream_of;
use crate::source::Source;
use file::CacheFile;

/// A day: over night somebody notices that the registry is down, and most fleets are not renewed altogether meanwhile.
const MAX_AGE: Duration = Duration::from_secs(24 * 60 * 60);

/// A registry that is well answers within it, and a program that starts can wait that long.
const START_UP: Duration = Duration::from_secs(3);

/// Resolves by its source, and by the last good set on disk if the source cannot answer at the start.
///
/// The file holds addresses and attributes as the source gave them, so it is as confidential as the registry. Several processes may
/// share it; the last to write wins. Its directory must exist. Streams need a tokio runtime with time enabled.
#[derive(Debug, Clone)]
pub struct CachedResolver {
    schemes: [&'static str; 1],
    source: Source,
    path: PathBuf,
    max_age: Duration,
    start_up: Duration,
}

impl CachedResolver {
    /// A resolver for this scheme (lower case) that keeps the last good set of the source in this file.
    pub fn new(scheme: &'static str, source: Source, path: impl Into<PathBuf>) -> Self {
        Self { schemes: [scheme], source, path: path.into(), max_age: MAX_AGE, start_up: START_UP }
    }

    /// Sets the age above which the file is not used; default 24 h.
    #[must_use]
    pub fn with_max_age(self, max_age: Duration) -> Self {
        Self { max_age, ..self }
    }

    /// Sets how long the source may be silent at the start before the file is used; default 3 s. An error of the source does not wait.
    #[must_use]
    pub fn with_start_up(self, start_up: Duration) -> Self {
        Self { start_up, ..self }
    }
}

impl Resolver for CachedResolver {
    fn schemes(&self) -> &[&'static str] {
        &self.schemes
    }

    fn validate(&self, _target: &Target) -> Result<(), ResolveError> {
        self.source.validate()
    }

    fn resolve(&self, _target: &Target, again: ResolveNow) -> ResolverStream {
        let file = CacheFile { path: self.path.clone(), target: self.source.target().as_str().to_owned(), max_age: self.max_age };
        stream_of(flow::Cached::start(&self.source, Arc::new(file), self.start_up, again))
    }

    fn authority(&self, target: &Target) -> Option<String> {
        self.source.authority(target)
    }
}

#[cfg(fuzzing)]
pub use file::fuzz;

#[cfg(test)]
mod tests;
