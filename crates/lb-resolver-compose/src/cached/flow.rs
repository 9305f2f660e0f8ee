//! The stream of a cached source.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;
use std::time::SystemTime;

use lb_core::ResolveError;
use lb_core::ResolveErrorKind;
use lb_core::ResolveNow;
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::file::CacheFile;
use super::file::Loaded;
use super::writer::Writer;
use super::writer::on_thread;
use crate::Answer;
use crate::running::Flow;
use crate::running::Running;
use crate::running::until;
use crate::source::Source;

type Read = Result<Option<Loaded>, String>;

/// See the module's essay.
pub(super) struct Cached {
    inner: Running,
    again: ResolveNow,
    file: Arc<CacheFile>,
    writer: Writer,
    /// Of the start, until the source has a set, or the file was used or is of no use.
    start: Option<Start>,
    /// At most a set from the file and the error that led to it.
    out: VecDeque<Answer>,
}

struct Start {
    reading: Option<oneshot::Receiver<Read>>,
    loaded: Option<Loaded>,
    /// When waiting for the source, or for the disk after an error of the source, ends; `None` once it has.
    patience: Option<Instant>,
    /// The newest error, and whether it waits for the file.
    error: Option<(ResolveError, bool)>,
}

enum Input {
    LookAgain,
    Inner(Answer),
    Read(Read),
    Late,
}

impl Cached {
    pub(super) fn start(source: &Source, file: Arc<CacheFile>, start_up: Duration, again: ResolveNow) -> Self {
        let reader = Arc::clone(&file);
        // Without a thread there is no file to fall back to, and that is all.
        let reading = on_thread(move || reader.read(SystemTime::now())).ok();
        // A time beyond what the clock can say is for ever, that is long past the end of anything.
        let patience = Instant::now().checked_add(start_up);
        let start = Some(Start { reading, loaded: None, patience, error: None });
        let writer = Writer::new(Arc::clone(&file));
        Self { inner: Running::start(source.clone()), again, file, writer, start, out: VecDeque::new() }
    }

    fn take(&mut self, input: Input) {
        match input {
            Input::LookAgain => self.inner.look_again(),
            Input::Inner(Ok(update)) => {
                self.start = None;
                self.out.clear();
                self.writer.offer(&update);
                self.out.push_back(Ok(update));
            }
            Input::Inner(Err(error)) => self.failed(error),
            Input::Read(read) => self.read(read),
            Input::Late => self.late(),
        }
    }

    /// What waits for the file waits no longer than the start-up time.
    fn failed(&mut self, error: ResolveError) {
        self.writer.source_failed();
        if error.kind() == ResolveErrorKind::InvalidTarget {
            // Nothing was ever there.
            self.start = None;
        }
        let waits = self.start.as_ref().is_some_and(|start| start.reading.is_some() && start.patience.is_some());
        if !waits && self.start.as_ref().is_none_or(|start| start.loaded.is_none()) {
            self.out.push_back(Err(error.clone()));
        }
        if let Some(start) = &mut self.start {
            start.error = Some((error, waits));
        }
        self.use_file();
    }

    fn read(&mut self, read: Read) {
        let Some(start) = &mut self.start else { return };
        start.reading = None;
        match read {
            Ok(Some(loaded)) => start.loaded = Some(loaded),
            Ok(None) => tracing::debug!(file = %self.file.path.display(), "there is no endpoint cache yet"),
            Err(reason) => tracing::warn!(file = %self.file.path.display(), %reason, "the endpoint cache is ignored"),
        }
        if start.loaded.is_some() {
            return self.use_file();
        }
        if let Some(Start { error: Some((error, true)), .. }) = self.start.take() {
            self.out.push_back(Err(error));
        }
    }

    fn late(&mut self) {
        let Some(start) = &mut self.start else { return };
        start.patience = None;
        if let Some((error, waits)) = &mut start.error
            && std::mem::take(waits)
        {
            self.out.push_back(Err(error.clone()));
        }
        self.use_file();
    }

    /// Uses the file if it is read and there is reason to.
    fn use_file(&mut self) {
        let Some(start) = self.start.take_if(|start| start.loaded.is_some() && (start.error.is_some() || start.patience.is_none()))
        else {
            return;
        };
        let Some(Loaded { update, age }) = start.loaded else { return };
        let error = start.error.map(|(error, _)| error);
        let source = self.inner.source();
        let reason = error.as_ref().map_or_else(|| format!("{source} has not answered yet"), |error| error.message().to_owned());
        let path = self.file.path.display();
        tracing::warn!(file = %path, ?age, %reason, endpoints = update.endpoints.len(), "endpoints come from the cache");
        self.out.push_back(Ok(update.with_note(format!("from the cache {path}, saved {} ago, because: {reason}", people(age)))));
        self.out.extend(error.map(Err));
    }
}

impl Flow for Cached {
    async fn next(&mut self) -> Answer {
        loop {
            if let Some(answer) = self.out.pop_front() {
                return answer;
            }
            tokio::task::coop::consume_budget().await;
            let patience = self.start.as_ref().and_then(|start| start.patience);
            let input = tokio::select! {
                () = self.again.fired() => Input::LookAgain,
                answer = self.inner.next() => Input::Inner(answer),
                read = finished(&mut self.start) => Input::Read(read),
                () = until(patience) => Input::Late,
                () = self.writer.work() => continue,
            };
            self.take(input);
        }
    }
}

async fn finished(start: &mut Option<Start>) -> Read {
    match start.as_mut().and_then(|start| start.reading.as_mut()) {
        Some(reading) => reading.await.unwrap_or_else(|_| Err("the thread that read it ended".to_owned())),
        None => std::future::pending().await,
    }
}

/// `2h 5m`, `3m 10s`, `12s`.
fn people(age: Duration) -> String {
    match age.as_secs() {
        seconds @ 0..60 => format!("{seconds}s"),
        seconds @ 60..3600 => format!("{}m {}s", seconds / 60, seconds % 60),
        seconds => format!("{}h {}m", seconds / 3600, seconds % 3600 / 60),
    }
}
