//! The box that a call and its attempt are observed by.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::time::Instant;

use crate::observe::{AttemptKind, AttemptStart, CallTrace};
use crate::snapshot::Connected;

use super::attempt::AttemptWatch;
use super::few::Few;
use super::{CallGuard, CallWatch, Ledger, Moment, Observers, SharedCall};

/// An attempt, and the call it is of; or a call that has none yet.
pub(super) struct Watch {
    of: Of,
    attempt: Option<AttemptWatch>,
}

/// Whose attempt it is.
enum Of {
    /// A call's that nobody else knows of, and that has had no other.
    Alone(CallWatch),
    /// A shared call's; and whether its end is the call's.
    Shared(Arc<SharedCall>, bool),
}

impl Watch {
    /// A call that begins.
    pub(super) fn new(observers: &Arc<Observers>, traces: Few<dyn CallTrace>) -> Box<Self> {
        let call = CallWatch { observers: Arc::clone(observers), traces, started: None };
        Box::new(Self { of: Of::Alone(call), attempt: None })
    }

    #[cold]
    fn give_up(&mut self) {
        self.end(&Moment::without(Instant::now()));
    }

    /// Tells the end of the attempt, and the call's if it is that too.
    fn end(&mut self, moment: &Moment<'_>) {
        let Self { of, attempt } = self;
        let (call, ledger, ends_call) = match of {
            Of::Alone(call) => (&*call, Ledger { attempts: attempt.is_some().into(), ..Ledger::default() }, true),
            Of::Shared(shared, answers) => (&shared.call, shared.ledger().end(moment.now), *answers),
        };
        let given_up = ledger.given_up();
        let (code, message) = attempt.as_mut().map_or((given_up, ""), |attempt| attempt.end(call, moment, given_up));
        if ends_call {
            call.end(&ledger, code, message, moment);
        }
    }
}

/// Ends an attempt for its observers when it is dropped, and its call with it if nobody else knows of that or it is the one that answered.
pub(crate) struct Watched(Option<Box<Watch>>);

impl Watched {
    pub(super) fn new(watch: Box<Watch>) -> Self {
        Self(Some(watch))
    }

    /// An attempt of a shared call.
    pub(super) fn attempt_of(call: &Arc<SharedCall>, kind: AttemptKind, previous: u32, started: Instant) -> Self {
        let start = AttemptStart::new(kind, previous, call.ledger().begin(kind, started));
        let attempt = AttemptWatch::begin(&call.call, &start, started);
        Self::new(Box::new(Watch { of: Of::Shared(Arc::clone(call), false), attempt: Some(attempt) }))
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
            *attempt = Some(AttemptWatch::begin(call, &AttemptStart::new(AttemptKind::First, 0, Duration::ZERO), started));
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
            Of::Alone(call) => call,
            Of::Shared(shared, _) => &shared.call,
        };
        Some((call, attempt.as_mut()?))
    }

    /// Lets others know of the call too; `None` if they do.
    pub(super) fn share(&mut self) -> Option<Arc<SharedCall>> {
        let alone = self.0.take_if(|watch| matches!(watch.of, Of::Alone(_)))?;
        let Watch { of: Of::Alone(call), attempt } = *alone else { return None };
        let begun = u32::from(attempt.is_some());
        let ledger = Mutex::new(Ledger { attempts: begun, active: begun, ..Ledger::default() });
        let shared = Arc::new(SharedCall { call, ledger });
        self.0 = attempt.is_some().then(|| Box::new(Watch { of: Of::Shared(Arc::clone(&shared), false), attempt }));
        Some(shared)
    }

    /// The attempt has answered: its end is the call's, whose own guard is `call` if others know of it.
    pub(crate) fn answers(&mut self, call: Option<CallGuard>) {
        if let (Some(Watch { of: Of::Shared(_, answers), .. }), Some(mut call)) = (self.0.as_deref_mut(), call) {
            *answers = true;
            call.0 = None;
        }
    }

    /// Ends it now, `took` after `started`; it was there.
    #[inline]
    pub(crate) fn end(mut self, now: Instant, started: Instant, took: Duration, connected: &Arc<Connected>) {
        if let Some(mut watch) = self.0.take() {
            watch.end(&Moment { now, known: (started, took), connected: Some(connected) });
        }
    }
}

impl Drop for Watched {
    #[inline]
    fn drop(&mut self) {
        // Where somebody still knows of it, it has been given up.
        if let Some(watch) = &mut self.0 {
            watch.give_up();
        }
    }
}

impl std::fmt::Debug for Watched {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Watched")
    }
}
