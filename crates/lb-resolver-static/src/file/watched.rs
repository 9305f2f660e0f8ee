//! A watched file as such, for whoever reads something else from it.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::BoxStream;
use lb_core::ResolveErrorKind;
use lb_core::ResolveNow;

use super::Limits;
use super::SHORTEST;
use super::read::Problem;
use super::stream::FileStream;

/// The content of a file, now and whenever it changes, heard of as [`FileResolver`](super::FileResolver) hears of its own: every way of
/// replacing it is seen, the symbolic link that Kubernetes swaps too, and a file is read whole or not at all.
///
/// ```no_run
/// # async fn example() {
/// use futures_util::StreamExt;
/// use lb_resolver_static::WatchedFile;
///
/// let mut contents = WatchedFile::new("/etc/lb/config.json").contents();
/// while let Some(content) = contents.next().await {
///     println!("{:?}", content.map(|bytes| bytes.len()));
/// }
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct WatchedFile {
    path: PathBuf,
    debounce: Duration,
    poll: Duration,
    most_bytes: u64,
}

impl WatchedFile {
    /// This file, with the times and the limit of a [`FileResolver`](super::FileResolver).
    pub fn new(path: impl Into<PathBuf>) -> Self {
        let resolver = super::FileResolver::default();
        Self { path: path.into(), debounce: resolver.debounce, poll: resolver.poll, most_bytes: Limits::default().bytes }
    }

    /// Sets how long the directory must be quiet before the file is read; default 100 ms, at least 10 ms.
    #[must_use]
    pub fn with_debounce(self, debounce: Duration) -> Self {
        Self { debounce: debounce.max(SHORTEST), ..self }
    }

    /// Sets how often the file is read if nothing is heard of a change; default 30 s, at least 10 ms.
    #[must_use]
    pub fn with_poll_interval(self, poll: Duration) -> Self {
        Self { poll: poll.max(SHORTEST), ..self }
    }

    /// Sets the size in bytes above which a file is an error; default 16 MiB.
    #[must_use]
    pub fn with_max_bytes(self, bytes: u64) -> Self {
        Self { most_bytes: bytes, ..self }
    }

    /// What it holds now, first, and then what it holds each time that is something else; errors too, once each. Never ends. Reads on
    /// tokio's blocking threads; cancel safe. Dropping it ends the watch.
    pub fn contents(self) -> BoxStream<'static, io::Result<Vec<u8>>> {
        let path = std::path::absolute(&self.path).unwrap_or(self.path);
        // Nobody asks it to look again.
        FileStream::new(
            path,
            self.most_bytes,
            ResolveNow::default(),
            Arc::new(|content: Result<Vec<u8>, Problem>| content.map_err(error)),
        )
        .with_pace(self.debounce, self.poll)
        .run()
    }
}

fn error((kind, message): Problem) -> io::Error {
    let kind = match kind {
        ResolveErrorKind::NotFound => io::ErrorKind::NotFound,
        ResolveErrorKind::Refused => io::ErrorKind::PermissionDenied,
        _ => io::ErrorKind::Other,
    };
    io::Error::new(kind, message)
}
