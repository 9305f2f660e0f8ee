//! A source, and another one for when it cannot answer.
//!
//! The primary is asked all the time. The secondary is asked only once the primary has been unfit for a time: it never answered, or
//! has done nothing but fail (or, by choice, lists no endpoints). As soon as the primary answers again the channel is back on it and
//! the secondary is let go; a hold time makes that wait until the primary has been fit for so long.
//!
//! ```text
//! primary --unfit for `after`--> asking the secondary --it answers--> secondary stands in
//!    ^----------primary answers----------'                                   |
//!    '----------primary answers and stays fit for `hold`---------------------'
//! ```
//!
//! What must not happen: a secondary that knows nothing of the service wipes out what the primary said before it failed. So an empty
//! answer of the secondary never replaces endpoints of the primary, unless the primary's own last answer is empty.
//!
//! When not: to use both at once there is [`MergedResolver`](crate::MergedResolver); for a start while the registry is down
//! [`CachedResolver`](crate::CachedResolver) needs no second registry.

use std::time::Duration;

use lb_core::ResolveError;
use lb_core::ResolveNow;
use lb_core::Resolver;
use lb_core::ResolverStream;
use lb_core::Target;

use crate::running::stream_of;
use crate::source::Source;

mod flow;

/// Long enough for a registry to elect a leader or restart, short enough for a deploy to notice nothing.
const AFTER: Duration = Duration::from_secs(10);

/// Resolves by the primary source, and by the secondary while the primary cannot answer.
///
/// The primary is asked all the time, the secondary only after [`with_after`](Self::with_after) without an answer of the primary and until
/// the primary answers again. Until the secondary has endpoints the channel keeps those of the primary. Sets from the secondary say
/// so in their note. While the secondary stands in, errors of the primary are not passed on.
///
/// Streams need a tokio runtime with time enabled.
#[derive(Debug, Clone)]
pub struct FallbackResolver {
    schemes: [&'static str; 1],
    primary: Source,
    secondary: Source,
    pace: Pace,
}

/// When to change over.
#[derive(Debug, Clone, Copy)]
struct Pace {
    after: Duration,
    hold: Duration,
    when_empty: bool,
}

impl FallbackResolver {
    /// A resolver for this scheme (lower case).
    pub fn new(scheme: &'static str, primary: Source, secondary: Source) -> Self {
        let pace = Pace { after: AFTER, hold: Duration::ZERO, when_empty: false };
        Self { schemes: [scheme], primary, secondary, pace }
    }

    /// Sets how long the primary must have been without an answer, or failing without a break, before the secondary is asked; default
    /// 10 s.
    #[must_use]
    pub fn with_after(mut self, after: Duration) -> Self {
        self.pace.after = after;
        self
    }

    /// Sets how long the primary must have been answering before the channel goes back to it; default zero, which is at once. Against a
    /// registry that comes and goes.
    #[must_use]
    pub fn with_hold(mut self, hold: Duration) -> Self {
        self.pace.hold = hold;
        self
    }

    /// Takes a primary that lists no endpoints for one that fails; default no, because an empty answer is an answer. Endpoints it listed before
    /// are kept until the secondary has answered.
    #[must_use]
    pub fn when_empty(mut self) -> Self {
        self.pace.when_empty = true;
        self
    }
}

impl Resolver for FallbackResolver {
    fn schemes(&self) -> &[&'static str] {
        &self.schemes
    }

    fn validate(&self, _target: &Target) -> Result<(), ResolveError> {
        self.primary.validate()?;
        self.secondary.validate()
    }

    fn resolve(&self, _target: &Target, again: ResolveNow) -> ResolverStream {
        stream_of(flow::Fallback::start(&self.primary, &self.secondary, self.pace, again))
    }

    fn authority(&self, target: &Target) -> Option<String> {
        self.primary.authority(target)
    }
}

#[cfg(test)]
mod tests;
