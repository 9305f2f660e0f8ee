//! The beginning of a call, on its caller's task.

use crate::call::{Exchange, Guard, Picked, Placement, Watched, ask, is_plain, pick_first};
use crate::error::CallError;
use crate::limits::Arrival;
use crate::shared::Handle;

use super::LbChannel;

impl LbChannel {
    #[inline]
    pub(super) fn begin(&mut self, call: &mut Exchange, arrival: Arrival, begun: Option<Watched>) {
        let Some(question) = &call.question else { return };
        let placed = match self.handle.shared().limits.admit(arrival, &question.head) {
            Ok(()) => self.place(call),
            Err(shed) => {
                call.refuse(shed);
                Ok(())
            }
        };
        if let Some(begun) = begun {
            call.observe(begun);
        }
        if let Err(dropped) = placed {
            call.dropped(dropped);
        }
    }

    /// Gives a call what is known of its method, and the endpoint it goes to if there is one at once.
    ///
    /// # Errors
    /// It is dropped.
    #[inline]
    fn place(&mut self, call: &mut Exchange) -> Result<(), CallError> {
        let Some(question) = &mut call.question else { return Ok(()) };
        let (handle, head) = (&self.handle, &mut question.head);
        if let Some(sessions) = handle.sessions() {
            sessions.prepare(head);
        }
        let snapshot = self.snapshot.load();
        head.survive(snapshot, &mut self.scratch)?;
        head.configure(&snapshot.rules);
        call.prepare();
        let Exchange { question: Some(question), guard, .. } = call else { return Ok(()) };
        let began = self.picks.begin();
        // Anything else is decided, or waited for, by the call itself.
        let placed = match is_plain(handle, &question.head) {
            true => ask(snapshot, &question.head, &mut self.scratch, |placement| take(handle, guard, placement), |_| false),
            false => match pick_first(handle, snapshot, &question.head, &mut self.scratch) {
                Picked::Connected(placement) => take(handle, guard, placement),
                _ => false,
            },
        };
        if placed {
            self.picks.picked(began, &handle.shared().selection);
        }
        Ok(())
    }
}

/// The call goes there: its guard, of which it has none yet, is made where it stays.
#[inline]
fn take(handle: &Handle, seat: &mut Option<Guard>, placement: Placement<'_>) -> bool {
    placement.connect.into_iter().for_each(|slot| handle.shared().inbox.connect(slot));
    seat.get_or_insert_with(|| Guard::new(placement));
    true
}
