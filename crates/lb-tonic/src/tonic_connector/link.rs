//! What the parts of one connection share: its calls, its socket and its owner.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwapOption;
use lb_transport::CloseReason;
use tokio::sync::oneshot;
use tonic::transport::Channel;

/// One connection. Whoever learns first that it takes no more calls says so here.
pub(super) struct Link {
    /// `None` before it is made and once it takes no more calls. tonic's tasks live as long as a clone of it, and end when
    /// the calls in progress have ended too.
    channel: ArcSwapOption<Channel>,
    closed: Mutex<Option<oneshot::Sender<CloseReason>>>,
    /// Dropped to make the socket fail.
    cut: Mutex<Option<oneshot::Sender<()>>>,
}

/// The other ends of a link.
pub(super) struct Ends {
    /// Resolves when the connection takes no more calls.
    pub(super) closed: oneshot::Receiver<CloseReason>,
    /// Resolves when the socket shall fail.
    pub(super) cut: oneshot::Receiver<()>,
}

impl Link {
    pub(super) fn new() -> (Arc<Self>, Ends) {
        let (say_closed, closed) = oneshot::channel();
        let (keep, cut) = oneshot::channel();
        let link = Self { channel: ArcSwapOption::empty(), closed: Mutex::new(Some(say_closed)), cut: Mutex::new(Some(keep)) };
        (Arc::new(link), Ends { closed, cut })
    }

    /// The connection takes calls from now on.
    pub(super) fn open(&self, channel: Channel) {
        self.channel.store(Some(Arc::new(channel)));
    }

    pub(super) fn channel(&self) -> Option<Channel> {
        self.channel.load().as_deref().cloned()
    }

    /// Takes no more calls; those in progress go on.
    pub(super) fn retire(&self, reason: CloseReason) {
        self.channel.store(None);
        if let Some(closed) = take(&self.closed) {
            // Whoever does not listen any more has closed it.
            let _ = closed.send(reason);
        }
    }

    /// What the handle of the connection does.
    pub(super) fn close(&self, now: bool) {
        self.retire(CloseReason::Closed);
        if now {
            self.cut();
        }
    }

    /// Makes the socket fail, and with it every call.
    fn cut(&self) {
        drop(take(&self.cut));
    }
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Link").field("takes_calls", &self.channel.load().is_some()).finish_non_exhaustive()
    }
}

fn take<T>(place: &Mutex<Option<T>>) -> Option<T> {
    place.lock().unwrap_or_else(PoisonError::into_inner).take()
}

/// Ends tonic's tasks at once if the attempt they belong to is given up.
pub(super) struct CutUnlessMade(Option<Arc<Link>>);

impl CutUnlessMade {
    pub(super) fn new(link: &Arc<Link>) -> Self {
        Self(Some(Arc::clone(link)))
    }

    pub(super) fn made(mut self) {
        self.0 = None;
    }
}

impl Drop for CutUnlessMade {
    fn drop(&mut self) {
        if let Some(link) = self.0.take() {
            link.cut();
        }
    }
}
