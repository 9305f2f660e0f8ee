//! Several sources as one set.
//!
//! Made for moving from one registry to another: as long as both know a part of the service, or the whole of it, the channel sees
//! the union. When not: for a registry that is only to be asked in need there is [`FallbackResolver`](crate::FallbackResolver).
//!
//! - An endpoint that several sources list is one endpoint, with the attributes of the *first* of them, health included. So put the
//!   source you trust most first.
//! - The service config is that of the first source that has one, readable or not.
//! - A source that fails keeps its last good part. One that lists no endpoints removes its own part and nothing else.
//! - Nothing is passed on before each source has spoken once or the grace period is over, so that a start does not put all calls on
//!   the registry that answers first.
//! - An error is passed on when it is news, and always while no source ever answered. A set that is passed on while a source fails says so in its
//!   note.

use std::future::poll_fn;
use std::task::Context;
use std::task::Poll;
use std::time::Duration;

use lb_core::ResolveError;
use lb_core::ResolveErrorKind;
use lb_core::ResolveNow;
use lb_core::Resolver;
use lb_core::ResolverStream;
use lb_core::Target;
use tokio::time::Instant;

use crate::Answer;
use crate::merge::Merge;
use crate::running::Flow;
use crate::running::Running;
use crate::running::stream_of;
use crate::running::until;
use crate::source::Source;

/// Registries on the same network answer within milliseconds, and DNS gives up after seconds; calls that wait should not wait longer than that.
const GRACE: Duration = Duration::from_secs(5);

/// Resolves to the union of several sources. See the list below for what counts when they disagree.
///
/// - An endpoint that several sources list has the attributes the first of them gives it, and the service config is that of the first that
///   has one.
/// - A source that fails keeps its last good part; one that lists no endpoints removes its own part only.
/// - Nothing is passed on before each source has spoken once or the grace period is over.
/// - An error is passed on when it is news, and always while no source ever answered.
///
/// Streams need a tokio runtime with time enabled.
#[derive(Debug, Clone)]
pub struct MergedResolver {
    schemes: [&'static str; 1],
    sources: Vec<Source>,
    grace: Duration,
}

impl MergedResolver {
    /// A resolver for this scheme (lower case), the source trusted most first. No sources at all is an error when a channel is built.
    pub fn new(scheme: &'static str, sources: impl IntoIterator<Item = Source>) -> Self {
        Self { schemes: [scheme], sources: sources.into_iter().collect(), grace: GRACE }
    }

    /// Sets how long the first set may wait for sources that have not spoken; default 5 s, zero waits for none.
    #[must_use]
    pub fn with_grace(self, grace: Duration) -> Self {
        Self { grace, ..self }
    }
}

impl Resolver for MergedResolver {
    fn schemes(&self) -> &[&'static str] {
        &self.schemes
    }

    fn validate(&self, target: &Target) -> Result<(), ResolveError> {
        if self.sources.is_empty() {
            let message = format!("target {:?}: nothing to merge; give one source or more", target.as_str());
            return Err(ResolveError::new(ResolveErrorKind::InvalidTarget, message));
        }
        self.sources.iter().try_for_each(Source::validate)
    }

    fn resolve(&self, _target: &Target, again: ResolveNow) -> ResolverStream {
        let sources: Vec<Running> = self.sources.iter().cloned().map(Running::start).collect();
        let merge = Merge::new(self.sources.iter().map(Source::to_string));
        // A grace longer than the clock can say is for ever.
        stream_of(Merging { sources, merge, again, grace_over: Instant::now().checked_add(self.grace), turn: 0 })
    }

    fn authority(&self, target: &Target) -> Option<String> {
        self.sources.first()?.authority(target)
    }
}

struct Merging {
    sources: Vec<Running>,
    merge: Merge,
    again: ResolveNow,
    grace_over: Option<Instant>,
    /// Who is asked first, in turn, so that a source that always has something to say does not silence the others.
    turn: usize,
}

impl Flow for Merging {
    async fn next(&mut self) -> Answer {
        loop {
            if let Some(answer) = self.merge.pop() {
                return answer;
            }
            // Sources that repeat themselves without end must not keep the task to themselves.
            tokio::task::coop::consume_budget().await;
            let grace_over = self.grace_over.filter(|_| !self.merge.is_open());
            let (at, answer) = tokio::select! {
                () = self.again.fired() => {
                    self.sources.iter().for_each(Running::look_again);
                    continue;
                }
                spoken = poll_fn(|cx| poll_sources(&mut self.sources, &mut self.turn, cx)) => spoken,
                () = until(grace_over) => {
                    self.merge.open();
                    continue;
                }
            };
            self.merge.take(at, answer);
        }
    }
}

fn poll_sources(sources: &mut [Running], turn: &mut usize, cx: &mut Context<'_>) -> Poll<(usize, Answer)> {
    for step in 0..sources.len() {
        let at = (*turn + step) % sources.len();
        if let Poll::Ready(answer) = sources[at].poll_next(cx) {
            *turn = at + 1;
            return Poll::Ready((at, answer));
        }
    }
    Poll::Pending
}

#[cfg(test)]
mod tests;
