//! The memory of calls.
//!
//! tonic moves a call's future, and then its response's body, a dozen times from one place to the next. What it moves here is one pointer; what
//! that points to stays where it is from the request to the trailers, in memory that calls on the same thread hand on to each other. A box for
//! each call would cost an allocation.

use std::cell::RefCell;

use super::calling::Calling;
use super::response_body::Answering;

/// Places per thread that are kept for calls to come, of some hundreds of bytes each; more calls than that at once on one thread allocate.
const MAX_SPARE: usize = 256;

thread_local! {
    #[expect(clippy::vec_box, reason = "the boxes are what is handed on")]
    static SPARE: RefCell<Vec<Box<Stage>>> = const { RefCell::new(Vec::new()) };
}

/// What a call is at present.
#[expect(clippy::large_enum_variant, reason = "in memory that is there for the larger one")]
enum Stage {
    /// None.
    Spare,
    Calling(Calling),
    Answering(Answering),
}

/// The place of one call; given back, and what is in it dropped, when this is dropped.
#[derive(Default)]
pub(super) struct Leased(Option<Box<Stage>>);

impl Leased {
    #[inline]
    pub(super) fn new(calling: Calling) -> Self {
        let spare = SPARE.try_with(|spare| spare.try_borrow_mut().ok().and_then(|mut spare| spare.pop())).ok().flatten();
        let mut place = spare.unwrap_or_else(|| Box::new(Stage::Spare));
        *place = Stage::Calling(calling);
        Self(Some(place))
    }

    /// The call, until it is answered.
    #[inline]
    pub(super) fn calling(&mut self) -> Option<&mut Calling> {
        match self.0.as_deref_mut() {
            Some(Stage::Calling(calling)) => Some(calling),
            _ => None,
        }
    }

    /// It is answered: what only the question needed is dropped.
    #[inline]
    pub(super) fn answered(&mut self) -> Self {
        let mut place = self.0.take();
        if let Some(place) = &mut place
            && let Stage::Calling(calling) = &mut **place
        {
            let answering = calling.answer();
            **place = Stage::Answering(answering);
        }
        Self(place)
    }

    /// Its response, from then on.
    #[inline]
    pub(super) fn answering(&mut self) -> Option<&mut Answering> {
        match self.0.as_deref_mut() {
            Some(Stage::Answering(answering)) => Some(answering),
            _ => None,
        }
    }

    pub(super) fn look(&self) -> (Option<&Calling>, Option<&Answering>) {
        match self.0.as_deref() {
            Some(Stage::Calling(calling)) => (Some(calling), None),
            Some(Stage::Answering(answering)) => (None, Some(answering)),
            Some(Stage::Spare) | None => (None, None),
        }
    }
}

impl Drop for Leased {
    #[inline]
    fn drop(&mut self) {
        let Some(mut place) = self.0.take() else { return };
        *place = Stage::Spare;
        // At the end of a thread its places may be gone before its calls.
        let _ = SPARE.try_with(|spare| {
            if let Ok(mut spare) = spare.try_borrow_mut()
                && spare.len() < MAX_SPARE
            {
                spare.push(place);
            }
        });
    }
}
