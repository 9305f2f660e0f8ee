//! Following files.

use std::fmt;
use std::io;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream, SelectAll};
use lb_resolver_static::WatchedFile;
use tokio::sync::broadcast::{self, Receiver, Sender, error::RecvError};
use tokio::task::JoinHandle;

use super::Channels;
use crate::build::ConfigureError;
use crate::diff::Diff;
use crate::format::MOST_BYTES;
use crate::sources::{Content, Sources};

/// How many reloads a reader may be behind before it loses the oldest.
const BACKLOG: usize = 16;

/// A file that was replaced, and the others of the same change: they are read together.
const TOGETHER: Duration = Duration::from_millis(50);

/// What became of a file that changed.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Reload {
    /// The new configuration counts.
    Changed(Diff),
    /// It was refused, and the one before counts: all that is wrong with it, in words.
    Refused(String),
    /// So many reloads were not read here in time.
    Lagged(u64),
}

impl fmt::Display for Reload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Changed(diff) => diff.fmt(f),
            Self::Refused(problems) => write!(f, "refused, the configuration before stands: {problems}"),
            Self::Lagged(lost) => write!(f, "{lost} reloads were not read in time"),
        }
    }
}

/// Follows the files of a configuration until it is dropped.
#[derive(Debug)]
pub struct Watching {
    reloads: Receiver<Reload>,
    task: JoinHandle<()>,
}

impl Watching {
    /// What became of the next change; `None` if the runtime has ended. Need not be called for changes to count. Cancel safe.
    pub async fn next(&mut self) -> Option<Reload> {
        match self.reloads.recv().await {
            Ok(reload) => Some(reload),
            Err(RecvError::Lagged(lost)) => Some(Reload::Lagged(lost)),
            Err(RecvError::Closed) => None,
        }
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Channels {
    /// Follows the files of these sources, which should be those of this configuration, and lets what they hold count as it changes.
    /// Every way of replacing a file is seen, as [`FileResolver`](lb_resolver_static::FileResolver) sees it, the way Kubernetes changes a
    /// ConfigMap too. A file that is gone or wrong changes nothing. Must be called within a tokio runtime.
    #[must_use = "dropping it ends the watch"]
    pub fn watch(&self, sources: Sources) -> Watching {
        let (sender, reloads) = broadcast::channel(BACKLOG);
        let task = tokio::spawn(follow(self.clone(), sources, sender));
        Watching { reloads, task }
    }
}

async fn follow(channels: Channels, sources: Sources, reloads: Sender<Reload>) {
    let files = sources.files();
    let mut contents: SelectAll<BoxStream<'static, (usize, io::Result<Vec<u8>>)>> = files.iter().enumerate().map(watched).collect();
    let mut known: Vec<Option<Content>> = files.iter().map(|_| None).collect();
    while let Some((at, content)) = contents.next().await {
        known[at] = Some(content);
        // One change may be of several files.
        while let Ok(Some((at, content))) = tokio::time::timeout(TOGETHER, contents.next()).await {
            known[at] = Some(content);
        }
        // Before each was looked at once there is nothing whole.
        let Some(held) = known.iter().map(|content| content.as_ref().map(copied)).collect::<Option<Vec<_>>>() else { continue };
        reload(&channels, &sources, held, &reloads).await;
    }
}

fn watched((at, path): (usize, &std::path::PathBuf)) -> BoxStream<'static, (usize, io::Result<Vec<u8>>)> {
    let contents = WatchedFile::new(path).with_max_bytes(MOST_BYTES).contents();
    contents.zip(stream::repeat(at)).map(|(content, at)| (at, content)).boxed()
}

/// Errors of reading are no values to keep; their kind and their words are.
fn copied(content: &Content) -> Content {
    match content {
        Ok(bytes) => Ok(bytes.clone()),
        Err(error) => Err(io::Error::new(error.kind(), error.to_string())),
    }
}

async fn reload(channels: &Channels, sources: &Sources, held: Vec<Content>, reloads: &Sender<Reload>) {
    // A large file takes a while.
    let sources = sources.clone();
    let Ok(loaded) = tokio::task::spawn_blocking(move || sources.load_with(held)).await else { return };
    let told = match loaded {
        Ok(new) if channels.config() == new => return,
        Ok(new) => channels.apply(new).map_or_else(|error| refused(&error), Reload::Changed),
        Err(problems) => {
            channels.refuse(&problems.to_string());
            Reload::Refused(problems.to_string())
        }
    };
    // Nobody need read it.
    drop(reloads.send(told));
}

fn refused(error: &ConfigureError) -> Reload {
    Reload::Refused(error.to_string())
}
