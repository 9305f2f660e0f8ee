//! Why an attempt failed, as far as it matters for what to do next.

use std::error::Error;
use std::time::Duration;

use lb_core::{ResolveError, ResolveErrorKind};

/// What went wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Failure {
    pub(crate) kind: ResolveErrorKind,
    pub(crate) message: String,
    /// The server no longer has the history that was asked for (410).
    pub(crate) gone: bool,
    /// How long the server wants to be left alone.
    pub(crate) retry_after: Option<Duration>,
}

impl Failure {
    pub(crate) fn new(kind: ResolveErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), gone: false, retry_after: None }
    }

    pub(crate) fn unavailable(message: impl Into<String>) -> Self {
        Self::new(ResolveErrorKind::Unavailable, message)
    }

    pub(crate) fn malformed(message: impl Into<String>) -> Self {
        Self::new(ResolveErrorKind::Malformed, message)
    }

    /// The history that was asked for is not there any more; a new list is.
    pub(crate) fn gone(message: impl Into<String>) -> Self {
        Self { gone: true, ..Self::unavailable(message) }
    }

    /// The error as the channel gets it; `stale` is how old what it keeps is.
    pub(crate) fn into_error(self, stale: Option<Duration>) -> ResolveError {
        let message = match stale {
            Some(age) => format!("{}; the endpoints known are of {} s ago", self.message, age.as_secs()),
            None => self.message,
        };
        ResolveError::new(self.kind, message)
    }
}

/// An error with everything that caused it, outermost first; causes that only repeat what was said are left out.
pub(crate) fn chain(error: &(dyn Error + 'static)) -> String {
    /// A cause may be its own cause.
    const DEEPEST: usize = 16;
    let (mut text, mut next) = (error.to_string(), error.source());
    for _ in 0..DEEPEST {
        let Some(cause) = next else { break };
        let said = cause.to_string();
        if !text.contains(&said) {
            text = format!("{text}: {said}");
        }
        next = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_and_how_old_it_is_stands_in_the_error() {
        let failure = Failure::unavailable("no answer");
        assert_eq!(failure.clone().into_error(None).to_string(), "could not resolve: no answer");
        let stale = failure.into_error(Some(Duration::from_millis(2900)));
        assert_eq!(stale.to_string(), "could not resolve: no answer; the endpoints known are of 2 s ago");
        assert!(Failure::gone("410").gone);
    }

    #[test]
    fn causes_follow_and_do_not_repeat() {
        let inner = ResolveError::new(ResolveErrorKind::Unavailable, "refused");
        let outer = ResolveError::new(ResolveErrorKind::Unavailable, "no connection").with_source(inner);
        assert_eq!(chain(&outer), "could not resolve: no connection: could not resolve: refused");
    }
}
