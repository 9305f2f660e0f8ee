//! The beginning of a call, on its caller's task.

use std::sync::Arc;

use http::Request;
use tonic::body::Body;

use crate::call::{Call, Calling, Guard, Picked, Watched, pick_first};
use crate::error::CallError;
use crate::limits::Arrival;

use super::LbChannel;

impl LbChannel {
    /// Made where the caller wants it, and not moved: a call is some hundreds of bytes.
    pub(super) fn begin(&mut self, request: Request<Body>, arrival: Arrival, begun: Option<Watched>) -> Call {
        let mut call = Call::new(Arc::clone(&self.handle), request);
        if let Some(calling) = call.calling() {
            self.look(calling, arrival, begun);
        }
        call
    }

    #[inline]
    fn look(&mut self, call: &mut Calling, arrival: Arrival, begun: Option<Watched>) {
        let placed = match self.handle.shared().limits.admit(arrival, &call.head) {
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
    fn place(&mut self, call: &mut Calling) -> Result<(), CallError> {
        if let Some(sessions) = self.handle.sessions() {
            sessions.prepare(&mut call.head);
        }
        let snapshot = self.snapshot.load();
        call.head.survive(snapshot, &mut self.scratch)?;
        call.head.configure(&snapshot.rules);
        call.prepare();
        let began = self.picks.begin();
        // Anything else is decided, or waited for, by the call itself.
        if let Picked::Connected(placement) = pick_first(&self.handle, snapshot, &call.head, &mut self.scratch) {
            placement.connect.into_iter().for_each(|slot| self.handle.shared().inbox.connect(slot));
            call.guard = Some(Guard::new(placement));
            self.picks.picked(began, &self.handle.shared().selection);
        }
        Ok(())
    }
}
