//! The box that a call and its attempt are observed by. Like the calls themselves, boxes are handed on by the calls of a thread.

use std::cell::RefCell;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::time::Instant;

use crate::observe::{AttemptKind, AttemptStart, CallTrace};
use crate::snapshot::Connected;

use super::attempt::AttemptWatch;
use super::few::Few;
use super::{CallGuard, CallWatch, Ledger, Moment, Observers, SharedCall};

/// Boxes per thread that are kept for calls to come, of some 200 bytes each: as many as places of calls.
const MAX_SPARE: usize = 256;

thread_local! {
    #[expect(clippy::vec_box, reason = "the boxes are what is handed on")]
    static SPARE: RefCell<Vec<Box<Watch>>> = const { RefCell::new(Vec::new()) };
}

/// An attempt, and the call it is of; or a call that has none yet.
pub(super) struct Watch {
    of: Of,
    attempt: Option<AttemptWatch>,
}

/// Whose attempt it is.
enum Of {
    /// Nobody's: it is spare.
    Nobody,
    /// A call's that nobody else knows of, and that has had no other.
    Alone(CallWatch),
    /// A shared call's; and whether its end is the call's.
    Shared(Arc<SharedCall>, bool),
}

impl Watch {
    /// A box of this thread that nobody has, or a new one.
    #[inline]
    fn spare() -> Box<Self> {
        let spare = SPARE.try_with(|spare| spare.try_borrow_mut().ok().and_then(|mut spare| spare.pop())).ok().flatten();
        spare.unwrap_or_else(|| Box::new(Self { of: Of::Nobody, attempt: None }))
    }

    /// Drops what is in it, and hands it on.
    #[inline]
    fn give_back(mut self: Box<Self>) {
        self.of = Of::Nobody;
        self.attempt = None;
        // At the end of a thread its boxes may be gone before its calls.
        let _ = SPARE.try_with(|spare| {
            if let Ok(mut spare) = spare.try_borrow_mut()
                && spare.len() < MAX_SPARE
            {
                spare.push(self);
            }
        });
    }

    #[cold]
    fn give_up(mut self: Box<Self>) {
        self.end(&Moment::without(Instant::now()));
        self.give_back();
    }

    /// Tells the end of the attempt, and the call's if it is that too.
    fn end(&mut self, moment: &Moment<'_>) {
        let Self { of: Of::Alone(call), attempt } = self else { return self.end_shared(moment) };
        let ledger = Ledger { attempts: attempt.is_some().into(), ..Ledger::default() };
        let given_up = ledger.given_up();
        let (code, message) = attempt.as_mut().map_or((given_up, ""), |attempt| attempt.end(call, moment, given_up));
        call.end(&ledger, code, message, moment);
    }

    /// The same of a shared call's.
    #[inline(never)]
    fn end_shared(&mut self, moment: &Moment<'_>) {
        let Self { of: Of::Shared(shared, answers), attempt: Some(attempt) } = self else { return };
        let ledger = shared.ledger().end(moment.now);
        let (code, message) = attempt.end(&shared.call, moment, ledger.given_up());
        if *answers {
            shared.call.end(&ledger, code, message, moment);
        }
    }
}

/// Ends an attempt for its observers when it is dropped, and its call with it if nobody else knows of that or it is the one that answered.
pub(crate) struct Watched(Option<Box<Watch>>);

impl Watched {
    /// A call that begins.
    #[inline]
    pub(super) fn new(observers: &Arc<Observers>, traces: Few<dyn CallTrace>) -> Self {
        let mut watch = Watch::spare();
        watch.of = Of::Alone(CallWatch { observers: Arc::clone(observers), traces, started: None });
        Self(Some(watch))
    }

    /// An attempt of a shared call.
    pub(super) fn attempt_of(call: &Arc<SharedCall>, kind: AttemptKind, previous: u32, started: Instant) -> Self {
        let start = AttemptStart::new(kind, previous, call.ledger().begin(kind, started));
        let mut watch = Watch::spare();
        watch.attempt.insert(AttemptWatch::new(started)).begin(&call.call, &start);
        watch.of = Of::Shared(Arc::clone(call), false);
        Self(Some(watch))
    }

    /// The call began then.
    pub(super) fn began(&mut self, at: Instant) {
        if let Some(Watch { of: Of::Alone(call), .. }) = self.0.as_deref_mut() {
            call.started = Some(at);
        }
    }

    /// The first attempt of a call that nobody else knows of begins.
    pub(super) fn begin_attempt(&mut self, started: Instant) {
        if let Some(Watch { of: Of::Alone(call), attempt }) = self.0.as_deref_mut() {
            let start = AttemptStart::new(AttemptKind::First, 0, Duration::ZERO);
            attempt.insert(AttemptWatch::new(started)).begin(call, &start);
        }
    }

    /// For those who tell more of the attempt.
    pub(crate) fn attempt(&mut self) -> Option<&mut AttemptWatch> {
        self.0.as_mut()?.attempt.as_mut()
    }

    /// The attempt, and what is known of its call.
    pub(super) fn parts(&mut self) -> Option<(&CallWatch, &mut AttemptWatch)> {
        let Watch { of, attempt } = self.0.as_deref_mut()?;
        let call = match of {
            Of::Nobody => return None,
            Of::Alone(call) => call,
            Of::Shared(shared, _) => &shared.call,
        };
        Some((call, attempt.as_mut()?))
    }

    /// Lets others know of the call too; `None` if they do.
    pub(super) fn share(&mut self) -> Option<Arc<SharedCall>> {
        let watch = self.0.as_deref_mut()?;
        let call = match std::mem::replace(&mut watch.of, Of::Nobody) {
            Of::Alone(call) => call,
            other => {
                watch.of = other;
                return None;
            }
        };
        let begun = u32::from(watch.attempt.is_some());
        let ledger = Mutex::new(Ledger { attempts: begun, active: begun, ..Ledger::default() });
        let shared = Arc::new(SharedCall { call, ledger });
        if watch.attempt.is_some() {
            watch.of = Of::Shared(Arc::clone(&shared), false);
        }
        Some(shared)
    }

    /// The attempt has answered: its end is the call's, whose own guard is `call` if others know of it.
    #[inline]
    pub(crate) fn answers(&mut self, call: Option<CallGuard>) {
        if let Some(call) = call {
            self.answers_shared(call);
        }
    }

    fn answers_shared(&mut self, mut call: CallGuard) {
        if let Some(Watch { of: Of::Shared(_, answers), .. }) = self.0.as_deref_mut() {
            *answers = true;
            call.0 = None;
        }
    }

    /// Ends it now, `took` after `started`; it was there.
    #[inline]
    pub(crate) fn end(mut self, now: Instant, started: Instant, took: Duration, connected: &Arc<Connected>) {
        if let Some(mut watch) = self.0.take() {
            watch.end(&Moment { now, known: (started, took), connected: Some(connected) });
            watch.give_back();
        }
    }
}

impl Drop for Watched {
    #[inline]
    fn drop(&mut self) {
        // Where somebody still knows of it, it has been given up.
        if let Some(watch) = self.0.take() {
            watch.give_up();
        }
    }
}

impl std::fmt::Debug for Watched {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Watched")
    }
}
