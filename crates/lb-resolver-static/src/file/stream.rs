//! The stream of one watched file: wait for a reason to look, look on a blocking thread, yield what is made of what is new.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures_util::stream;
use futures_util::stream::BoxStream;
use lb_core::ResolveErrorKind;
use lb_core::ResolveNow;
use lb_core::Trigger;
use lb_core::Triggered;
use tokio::task::JoinError;
use tokio::time::sleep;

use super::read;
use super::read::Look;
use super::read::Make;
use super::watch::Watch;

/// A directory that is never quiet is read after so many debounce times.
const MOST_DEBOUNCES: u32 = 20;

/// Owns everything the stream needs, so that dropping the stream drops it all.
pub(super) struct FileStream<T> {
    path: PathBuf,
    most_bytes: u64,
    make: Arc<Make<T>>,
    debounce: Duration,
    poll: Duration,
    again: ResolveNow,
    bell: Trigger,
    rung: Triggered,
    watch: Option<Watch>,
    /// Of what was last yielded.
    known: Option<u64>,
    /// Why to look next; `None` until there is one.
    reason: Option<Reason>,
}

/// Why the file is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reason {
    /// It is the first time, or a long time passed: the watch may be on a directory that is gone.
    Time,
    /// Something changed, or somebody asked.
    Heard,
}

impl<T: Send + 'static> FileStream<T> {
    pub(super) fn new(path: PathBuf, most_bytes: u64, again: ResolveNow, make: Arc<Make<T>>) -> Self {
        let (bell, rung) = Trigger::pair();
        let (debounce, poll) = (Duration::ZERO, Duration::MAX);
        Self { path, most_bytes, make, debounce, poll, again, bell, rung, watch: None, known: None, reason: Some(Reason::Time) }
    }

    pub(super) fn with_pace(self, debounce: Duration, poll: Duration) -> Self {
        Self { debounce, poll, ..self }
    }

    pub(super) fn run(self) -> BoxStream<'static, T> {
        Box::pin(stream::unfold(self, |mut this| async move {
            let item = this.next().await;
            Some((item, this))
        }))
    }

    async fn next(&mut self) -> T {
        loop {
            let reason = match self.reason.take() {
                Some(reason) => reason,
                None => self.wait().await,
            };
            if let Some(look) = self.look(reason).await {
                self.known = Some(look.digest);
                return look.outcome;
            }
        }
    }

    /// Looks at the file, after making sure that a change from now on is heard.
    async fn look(&mut self, reason: Reason) -> Option<Look<T>> {
        let (path, make, most_bytes, known) = (self.path.clone(), Arc::clone(&self.make), self.most_bytes, self.known);
        let (watch, bell) = (self.watch.take(), self.bell.clone());
        let work = tokio::task::spawn_blocking(move || {
            let watch = match reason {
                Reason::Time => Watch::start(&path, &bell),
                Reason::Heard => Watch::keep_or_start(watch, &path, &bell),
            };
            (watch, read::look(&path, most_bytes, known, &*make))
        });
        match work.await {
            Ok((watch, look)) => {
                self.watch = watch;
                look
            }
            Err(error) => self.not_looked(&error),
        }
    }

    /// The runtime is shutting down, or reading panicked; the next look may do better.
    fn not_looked(&self, error: &JoinError) -> Option<Look<T>> {
        let problem = (ResolveErrorKind::Unavailable, format!("reading it was cut off: {error}"));
        let digest = u64::MAX;
        (self.known != Some(digest)).then(|| Look { outcome: (self.make)(Err(problem)), digest })
    }

    async fn wait(&mut self) -> Reason {
        tokio::select! {
            () = self.again.fired() => Reason::Heard,
            () = self.rung.fired() => {
                self.settle().await;
                Reason::Heard
            }
            () = sleep(self.poll) => Reason::Time,
        }
    }

    /// Waits until nothing was heard for a while.
    async fn settle(&mut self) {
        for _ in 0..MOST_DEBOUNCES {
            tokio::select! {
                () = sleep(self.debounce) => return,
                () = self.rung.fired() => {}
            }
        }
    }
}

impl<T> fmt::Debug for FileStream<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FileStream").field("path", &self.path).finish_non_exhaustive()
    }
}
