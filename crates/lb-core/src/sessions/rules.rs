//! What becomes of a session whose endpoint cannot take its call.

use serde::{Deserialize, Serialize};

/// How the endpoint of a session stands towards one call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Standing {
    /// READY, and policies may use it.
    Serving,
    /// READY, but drained by an operator or in the registry: it finishes what it has.
    Draining,
    /// READY, but hidden by another stage: ejected, unhealthy in the registry, in a group that is not in use.
    Hidden,
    /// READY, but this call may not go there: it excludes the endpoint, pins another, needs what this one has not, or finds it too busy.
    Unfit,
    /// Not connected, and likely to be soon: IDLE or CONNECTING.
    Coming,
    /// In TRANSIENT_FAILURE, or connecting for too long.
    Failing,
    /// No longer listed.
    Gone,
}

/// What becomes of a session whose endpoint is not serving.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SessionFate {
    /// It stays. Its calls go there as long as there is a connection; else they fail, or wait if they wait for ready.
    Keep,
    /// Another endpoint, the same one each time, takes its calls until its own can again.
    Lend,
    /// Another endpoint has it from now on.
    Move,
}

/// One fate for each way of not serving. An endpoint that is IDLE or CONNECTING is always waited for, for a time that the channel
/// limits; after it the endpoint counts as failing.
///
/// ```
/// # use lb_core::sessions::{SessionFate, SessionRules};
/// let mut strict = SessionRules::default();
/// strict.failing = SessionFate::Keep;
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct SessionRules {
    /// Drained. Default [`Keep`](SessionFate::Keep): the sessions it has stay until they end, and no new ones come, because policies
    /// do not see it.
    pub draining: SessionFate,
    /// Hidden by a stage, such as an ejection. Default [`Lend`](SessionFate::Lend): an ejection is a guess from statistics and is
    /// taken back after a while; what the endpoint holds of the session is most likely still there.
    pub hidden: SessionFate,
    /// Not allowed by this call's own wishes. Default [`Lend`](SessionFate::Lend): other calls of the session still are.
    pub unfit: SessionFate,
    /// Failing. Default [`Move`](SessionFate::Move): it was connected and now cannot be, so what it held in memory is most likely
    /// gone. [`Lend`](SessionFate::Lend) if it keeps sessions on disk.
    pub failing: SessionFate,
    /// No longer listed. Default [`Move`](SessionFate::Move). [`Lend`](SessionFate::Lend) if several channels share a table and do not
    /// list the same endpoints: gone for one of them is not gone for all.
    pub gone: SessionFate,
}

impl Default for SessionRules {
    fn default() -> Self {
        Self {
            draining: SessionFate::Keep,
            hidden: SessionFate::Lend,
            unfit: SessionFate::Lend,
            failing: SessionFate::Move,
            gone: SessionFate::Move,
        }
    }
}

/// What a call of a session does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SessionVerdict {
    /// Go to the session's endpoint.
    Use,
    /// Wait for it.
    Wait,
    /// Fail, because it cannot take the call and the session may not leave it.
    Fail,
    /// Go to a guest; the session stays.
    Lend,
    /// Go elsewhere with the session.
    Move,
}

impl SessionRules {
    /// What a call does whose session's endpoint stands like this towards it.
    pub fn verdict(&self, standing: Standing) -> SessionVerdict {
        let (fate, connected) = match standing {
            Standing::Serving => return SessionVerdict::Use,
            Standing::Coming => return SessionVerdict::Wait,
            Standing::Draining => (self.draining, true),
            Standing::Hidden => (self.hidden, true),
            // Connected or not, this call may not go there.
            Standing::Unfit => (self.unfit, false),
            Standing::Failing => (self.failing, false),
            Standing::Gone => (self.gone, false),
        };
        match fate {
            SessionFate::Keep if connected => SessionVerdict::Use,
            SessionFate::Keep => SessionVerdict::Fail,
            SessionFate::Lend => SessionVerdict::Lend,
            SessionFate::Move => SessionVerdict::Move,
        }
    }
}
