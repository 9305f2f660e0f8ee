//! Which attempts a category drops: tried before anything is done for them. See [`lb_core::drops`].

use lb_core::drops::Dropper;
use lb_core::{ConnectivityState, Scratch};

use crate::error::CallError;
use crate::snapshot::ChannelSnapshot;

use super::Head;
use super::exchange::{Exchange, State};

impl Head {
    /// Tries the attempt, if it has not been tried and the channel is READY: what waits for a connection is not to fail instead.
    ///
    /// # Errors
    /// It is dropped.
    #[inline]
    pub(crate) fn survive(&mut self, snapshot: &ChannelSnapshot, scratch: &mut Scratch) -> Result<(), CallError> {
        match &snapshot.rules.drops {
            None => Ok(()),
            Some(_) if self.spared || snapshot.core.state != ConnectivityState::Ready => Ok(()),
            Some(dropper) => self.try_once(dropper, scratch),
        }
    }

    fn try_once(&mut self, dropper: &Dropper, scratch: &mut Scratch) -> Result<(), CallError> {
        // It may have to look for an endpoint many times, and is not to be tried each time.
        self.spared = true;
        match dropper.decide(scratch) {
            None => Ok(()),
            Some(drop) => Err(CallError::DroppedByCategory { drop: drop.clone() }),
        }
    }
}

impl Exchange {
    /// It is over before it begins.
    #[cold]
    pub(crate) fn refuse(&mut self, error: CallError) {
        self.state = State::Refused(error.into());
    }

    /// Its first attempt is dropped before an endpoint was sought. Who observes it has an attempt that failed, as of any other pick.
    #[cold]
    pub(crate) fn dropped(&mut self, error: CallError) {
        if let Some(question) = &mut self.question {
            question.share(None);
            question.head.follow.seeks(|| true);
            question.head.follow.not_placed(&error);
            question.handle.shared().pick_failed(&error);
        }
        self.refuse(error);
    }
}
