//! What a watch says in the log: one line when its state changes, none while it does not.

use lb_core::ResolveErrorKind;

/// What the last request brought.
#[derive(Debug, Default)]
pub(crate) enum State {
    /// None has ended.
    #[default]
    Starting,
    /// A set.
    Known,
    /// Word that there is no such service.
    Absent,
    /// Nothing, for a reason of this kind.
    Failing(ResolveErrorKind),
}

impl State {
    /// Whether the last request was answered, be it with nothing.
    pub(crate) fn is_answered(&self) -> bool {
        matches!(self, Self::Known | Self::Absent)
    }

    /// Changes the state, and says so if it is another one.
    pub(crate) fn turn(&mut self, to: Self, what: &str) {
        let same = match (&*self, &to) {
            (Self::Failing(before), Self::Failing(now)) => before == now,
            (before, now) => std::mem::discriminant(before) == std::mem::discriminant(now),
        };
        if same {
            return;
        }
        match to {
            Self::Known => tracing::info!("Consul answers: {what}"),
            Self::Absent => tracing::warn!("{what}; what was known stands"),
            Self::Failing(_) => tracing::warn!("{what}; what was known stands"),
            Self::Starting => {}
        }
        *self = to;
    }
}

/// What was last complained of, so that a bad value that stays is told once.
#[derive(Debug, Default)]
pub(crate) struct Complaints(Vec<String>);

impl Complaints {
    pub(crate) fn tell(&mut self, complaints: &[String]) {
        if self.0 != complaints {
            complaints.iter().for_each(|complaint| tracing::warn!("left out: {complaint}"));
            self.0 = complaints.to_vec();
        }
    }
}
