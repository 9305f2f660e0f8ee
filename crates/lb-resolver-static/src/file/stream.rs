//! The stream of one watched file: wait for a reason to look, look on a blocking thread, yield what is new.

use std::path::PathBuf;
use std::time::Duration;

use futures_util::stream;
use lb_core::ResolveError;
use lb_core::ResolveErrorKind;
use lb_core::ResolveNow;
use lb_core::ResolverStream;
use lb_core::ResolverUpdate;
use lb_core::Trigger;
use lb_core::Triggered;
use tokio::task::JoinError;
use tokio::time::sleep;

use super::read;
use super::read::Limits;
use super::read::Look;
use super::schema::Format;
use super::watch::Watch;

/// A directory that is never quiet is read after so many debounce times.
const MOST_DEBOUNCES: u32 = 20;

/// Owns everything the stream needs, so that dropping the stream drops it all.
#[derive(Debug)]
pub(super) struct FileStream {
    path: PathBuf,
    format: Format,
    limits: Limits,
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

impl FileStream {
    pub(super) fn new(path: PathBuf, format: Format, limits: Limits, again: ResolveNow) -> Self {
        let (bell, rung) = Trigger::pair();
        let (debounce, poll) = (Duration::ZERO, Duration::MAX);
        Self { path, format, limits, debounce, poll, again, bell, rung, watch: None, known: None, reason: Some(Reason::Time) }
    }

    pub(super) fn with_pace(self, debounce: Duration, poll: Duration) -> Self {
        Self { debounce, poll, ..self }
    }

    pub(super) fn run(self) -> ResolverStream {
        Box::pin(stream::unfold(self, |mut this| async move {
            let item = this.next().await;
            Some((item, this))
        }))
    }

    async fn next(&mut self) -> Result<ResolverUpdate, ResolveError> {
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
    async fn look(&mut self, reason: Reason) -> Option<Look> {
        let (path, format, limits, known) = (self.path.clone(), self.format, self.limits, self.known);
        let (watch, bell) = (self.watch.take(), self.bell.clone());
        let work = tokio::task::spawn_blocking(move || {
            let watch = match reason {
                Reason::Time => Watch::start(&path, &bell),
                Reason::Heard => Watch::keep_or_start(watch, &path, &bell),
            };
            (watch, read::look(&path, format, limits, known))
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
    fn not_looked(&self, error: &JoinError) -> Option<Look> {
        let message = format!("file {}: reading it was cut off: {error}", self.path.display());
        let digest = u64::MAX;
        (self.known != Some(digest))
            .then(|| Look { outcome: Err(ResolveError::new(ResolveErrorKind::Unavailable, message)), digest })
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
