//! When to write, and that at most one thread does.

use std::io;
use std::sync::Arc;
use std::time::Duration;
use std::time::SystemTime;

use lb_core::ResolverUpdate;
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::file::CacheFile;
use crate::running::until;

/// A set that changes all the time need not be on disk at every moment.
const DEBOUNCE: Duration = Duration::from_secs(1);

/// How soon a disk that failed is tried again.
const AFTER_FAILURE: Duration = Duration::from_secs(60);

/// What holds is written again after this share of the maximum age, so that it is never near its end.
const REFRESH_SHARE: u32 = 4;

/// The bounds of that time: a short maximum age must not wear out a disk, and a long one still leaves a recent date.
const SHORTEST_REFRESH: Duration = Duration::from_secs(10);
const LONGEST_REFRESH: Duration = Duration::from_secs(60 * 60);

/// Holds the newest set until it is on disk, and for the refresh after that.
#[derive(Debug)]
pub(super) struct Writer {
    file: Arc<CacheFile>,
    newest: Option<ResolverUpdate>,
    /// Whether the newest set is not on disk, nor on its way there.
    unsaved: bool,
    /// Whether the source stands by the newest set.
    holds: bool,
    writing: Option<oneshot::Receiver<io::Result<()>>>,
    started: Option<Instant>,
    failed: bool,
}

impl Writer {
    pub(super) fn new(file: Arc<CacheFile>) -> Self {
        Self { file, newest: None, unsaved: false, holds: false, writing: None, started: None, failed: false }
    }

    pub(super) fn offer(&mut self, update: &ResolverUpdate) {
        self.holds = true;
        if self
            .newest
            .as_ref()
            .is_none_or(|known| (&known.endpoints, &known.service_config) != (&update.endpoints, &update.service_config))
        {
            self.newest = Some(update.clone());
            self.unsaved = true;
        }
    }

    /// The source failed: what it said last is no longer known to hold.
    pub(super) fn source_failed(&mut self) {
        self.holds = false;
    }

    /// Writes whenever it is time to, for ever. Cancel safe.
    pub(super) async fn work(&mut self) {
        loop {
            if let Some(writing) = &mut self.writing {
                let result = writing.await.unwrap_or_else(|_| Err(io::Error::other("the thread that wrote it ended")));
                self.writing = None;
                self.finished(result);
            }
            until(self.due()).await;
            self.start();
        }
    }

    fn due(&self) -> Option<Instant> {
        let pause = match (self.unsaved, self.failed) {
            (true, false) => DEBOUNCE,
            (true, true) => AFTER_FAILURE,
            (false, _) if self.holds => (self.file.max_age / REFRESH_SHARE).clamp(SHORTEST_REFRESH, LONGEST_REFRESH),
            (false, _) => return None,
        };
        self.newest.as_ref()?;
        Some(self.started.map_or_else(Instant::now, |started| started + pause))
    }

    fn start(&mut self) {
        let Some(update) = self.newest.clone() else { return };
        self.started = Some(Instant::now());
        self.unsaved = false;
        let file = Arc::clone(&self.file);
        match on_thread(move || file.write(&update, SystemTime::now())) {
            Ok(writing) => self.writing = Some(writing),
            Err(error) => self.finished(Err(error)),
        }
    }

    /// One line per change for the worse or the better.
    fn finished(&mut self, result: io::Result<()>) {
        let path = self.file.path.display();
        match &result {
            Err(error) if !self.failed => tracing::warn!(file = %path, %error, "the endpoint cache cannot be written"),
            Ok(()) if self.failed => tracing::info!(file = %path, "the endpoint cache is written again"),
            _ => {}
        }
        self.failed = result.is_err();
        self.unsaved |= self.failed;
    }
}

/// Runs this on a thread of its own, which nobody ever waits for: one that hangs on a disk does not keep a runtime from ending.
pub(super) fn on_thread<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> io::Result<oneshot::Receiver<T>> {
    let (done, result) = oneshot::channel();
    let run = move || drop(done.send(work()));
    std::thread::Builder::new().name("endpoint-cache".to_owned()).spawn(run)?;
    Ok(result)
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::testing::endpoints;

    #[tokio::test(start_paused = true)]
    async fn when_it_is_time_to_write() {
        let max_age = Duration::from_secs(3600);
        let file = CacheFile { path: PathBuf::new(), target: String::new(), max_age };
        let mut writer = Writer::new(Arc::new(file));
        let set = |texts: &[&str]| ResolverUpdate::new(endpoints(texts));
        let now = Instant::now();
        assert_eq!(writer.due(), None, "nothing to write");
        writer.offer(&set(&["10.0.0.1:1"]));
        assert_eq!(writer.due(), Some(now), "the first set at once");
        (writer.started, writer.unsaved) = (Some(now), false);
        assert_eq!(writer.due(), Some(now + max_age / 4), "what holds is refreshed");
        writer.source_failed();
        assert_eq!(writer.due(), None, "what may not hold is not");
        writer.offer(&set(&["10.0.0.1:1"]).with_note("the same set"));
        assert_eq!(writer.due(), Some(now + max_age / 4));
        writer.offer(&set(&["10.0.0.2:1"]));
        assert_eq!(writer.due(), Some(now + DEBOUNCE));
        writer.source_failed();
        assert_eq!(writer.due(), Some(now + DEBOUNCE), "the last good set is written all the same");
        writer.unsaved = false;
        writer.finished(Err(io::Error::other("full")));
        assert_eq!(writer.due(), Some(now + AFTER_FAILURE), "again, but not in a hurry");
        writer.unsaved = false;
        writer.finished(Ok(()));
        assert_eq!(writer.due(), None);
    }
}
