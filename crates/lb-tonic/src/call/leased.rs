//! The memory of calls.
//!
//! tonic moves a call's future, and then its response's body, a dozen times from one place to the next. What it moves here is one pointer; what
//! that points to stays where it is from the request to the trailers, in memory that calls on the same thread hand on to each other. A box for
//! each call would cost an allocation.

use std::cell::RefCell;

use super::exchange::Exchange;

/// Rooms per thread that are kept for calls to come, of about a kilobyte each; more calls than that at once on one thread allocate.
const MAX_SPARE: usize = 256;

thread_local! {
    static SPARE: RefCell<Vec<Room>> = const { RefCell::new(Vec::new()) };
}

/// A room that is let to a call; given back, and what is in it dropped, when this is dropped.
#[derive(Default)]
pub(super) struct Leased(Option<Room>);

/// The memory of one call; `None` is nobody.
type Room = Box<Option<Exchange>>;

impl Leased {
    /// An empty room.
    #[inline]
    pub(super) fn new() -> Self {
        let spare = SPARE.try_with(|spare| spare.try_borrow_mut().ok().and_then(|mut spare| spare.pop())).ok().flatten();
        Self(Some(spare.unwrap_or_default()))
    }

    /// Where its call is to be.
    #[inline]
    pub(super) fn seat(&mut self) -> Option<&mut Option<Exchange>> {
        self.0.as_deref_mut()
    }

    /// Its call.
    #[inline]
    pub(super) fn get(&mut self) -> Option<&mut Exchange> {
        self.0.as_deref_mut()?.as_mut()
    }

    #[inline]
    pub(super) fn look(&self) -> Option<&Exchange> {
        self.0.as_deref()?.as_ref()
    }
}

impl Drop for Leased {
    #[inline]
    fn drop(&mut self) {
        let Some(mut room) = self.0.take() else { return };
        *room = None;
        // At the end of a thread its rooms may be gone before its calls.
        let _ = SPARE.try_with(|spare| {
            if let Ok(mut spare) = spare.try_borrow_mut()
                && spare.len() < MAX_SPARE
            {
                spare.push(room);
            }
        });
    }
}

/// What a thread keeps is bounded by this times [`MAX_SPARE`].
const _: () = assert!(size_of::<Option<Exchange>>() <= 1024);
