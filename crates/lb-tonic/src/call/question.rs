//! What a call is until it is answered.

use std::sync::Arc;

use crate::deadline::Deadline;
use crate::error::{CallError, WaitingFor};
use crate::inspect::Tally;
use crate::repeats::Repeat;
use crate::shared::Handle;

use super::guard::Guard;
use super::head::Head;
use super::request_body::Content;
use super::seek::Seek;
use super::trace::CallGuard;

/// What is dropped when a call is answered.
pub(crate) struct Question {
    /// Lent to a search for an endpoint and to attempts beside each other, as is `content`.
    pub(crate) head: Head,
    /// Empty until the request has been looked at.
    pub(super) content: Content,
    /// Tells who observes the call how it ends, if more than its attempt know of it. Dropped after everything that belongs to an attempt.
    pub(super) watch: Option<CallGuard>,
    /// Counts the call, if its channel does.
    pub(super) tally: Option<Tally>,
    pub(super) handle: Arc<Handle>,
}

impl Question {
    /// How this call is repeated, if it is.
    #[inline]
    pub(super) fn repeat(&self) -> Option<Repeat<'_>> {
        self.handle.config().repeats.of(self.head.configured.method())
    }

    /// Lets others know of the call than its attempt, whose guard this is if it has an endpoint: before that ends without the call, or the
    /// call is lent. Nothing to do if nobody observes it.
    #[cold]
    pub(super) fn share(&mut self, guard: Option<&mut Guard>) {
        if self.watch.is_none() {
            self.watch = self.head.follow.share(guard.and_then(|guard| guard.watch.as_mut()));
        }
    }

    /// Gives away what the call is, to be [given back](Self::take_back).
    pub(super) fn lend(&mut self) -> Seek {
        self.share(None);
        Seek::new(std::mem::take(&mut self.head), std::mem::take(&mut self.content))
    }

    pub(super) fn take_back(&mut self, head: Head, content: Content) {
        self.head = head;
        self.content = content;
    }

    /// The deadline has passed before there was an attempt to send.
    #[cold]
    pub(super) fn too_late(&self) -> CallError {
        self.tell_late();
        CallError::DeadlineExceeded { waiting_for: WaitingFor::Endpoint(None) }
    }

    /// Attempts that are given up from now on are so because of the deadline.
    pub(super) fn tell_late(&self) {
        if let Some(watch) = &self.watch {
            watch.is_late();
        }
    }

    /// Follows what the service config says that came while the call was waiting for it.
    pub(super) fn follow_config(&self, deadline: &mut Option<Deadline>) -> Result<(), CallError> {
        let at = self.head.configured.until();
        if let Some(at) = at.filter(|at| deadline.as_ref().is_none_or(|deadline| *at < deadline.at)) {
            *deadline = Some(Deadline::new(at, false));
        }
        let limit = self.head.configured.max_request(self.handle.config().max_request);
        limit.map_or(Ok(()), |limit| self.content.limit(limit))
    }
}
