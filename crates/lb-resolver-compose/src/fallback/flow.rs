//! The stream of a fallback.

use lb_core::ResolveError;
use lb_core::ResolveNow;
use lb_core::ResolverUpdate;
use tokio::time::Instant;

use super::Pace;
use crate::Answer;
use crate::running::Flow;
use crate::running::Running;
use crate::running::until;
use crate::source::Source;

/// See the module's essay. At most one answer of the primary is kept back.
pub(super) struct Fallback {
    primary: Running,
    again: ResolveNow,
    pace: Pace,
    standby: Source,
    secondary: Option<Running>,
    /// Since when the primary has had nothing good to say; `None` while it is fit.
    unfit_since: Option<Instant>,
    /// The newest answer of a primary that is fit again but still has to prove itself, and since when.
    held: Option<(Instant, ResolverUpdate)>,
    /// Whether the set passed on last is of the secondary.
    stands_in: bool,
    /// Whether the set passed on last has endpoints.
    has_endpoints: bool,
    /// The primary's newest answer, if it is empty and counts as unfit.
    empty: Option<ResolverUpdate>,
}

enum Input {
    LookAgain,
    Primary(Answer),
    Secondary(Answer),
    Time,
}

impl Fallback {
    pub(super) fn start(primary: &Source, secondary: &Source, pace: Pace, again: ResolveNow) -> Self {
        Self {
            primary: Running::start(primary.clone()),
            again,
            pace,
            standby: secondary.clone(),
            secondary: None,
            unfit_since: Some(Instant::now()),
            held: None,
            stands_in: false,
            has_endpoints: false,
            empty: None,
        }
    }

    fn take(&mut self, input: Input) -> Option<Answer> {
        match input {
            Input::LookAgain => {
                self.primary.look_again();
                self.secondary.iter().for_each(Running::look_again);
                None
            }
            Input::Primary(Ok(update)) if self.pace.when_empty && update.endpoints.is_empty() => self.primary_empty(update),
            Input::Primary(Ok(update)) => self.primary_fit(update),
            Input::Primary(Err(error)) => self.primary_failed(error),
            Input::Secondary(Ok(update)) => self.secondary_answered(update),
            Input::Secondary(Err(error)) => Some(Err(error)),
            Input::Time => self.time(),
        }
    }

    fn primary_fit(&mut self, update: ResolverUpdate) -> Option<Answer> {
        self.unfit_since = None;
        self.empty = None;
        if !self.stands_in || self.pace.hold.is_zero() {
            return Some(self.back(update));
        }
        let since = self.held.take().map_or_else(Instant::now, |(since, _)| since);
        self.held = Some((since, update));
        None
    }

    /// Passed on at once only where it takes nothing away.
    fn primary_empty(&mut self, update: ResolverUpdate) -> Option<Answer> {
        self.unfit();
        if self.stands_in || self.has_endpoints {
            self.empty = Some(update);
            return None;
        }
        Some(Ok(update))
    }

    fn primary_failed(&mut self, error: ResolveError) -> Option<Answer> {
        self.unfit();
        (!self.stands_in).then_some(Err(error))
    }

    fn unfit(&mut self) {
        self.unfit_since.get_or_insert_with(Instant::now);
        self.held = None;
    }

    fn secondary_answered(&mut self, update: ResolverUpdate) -> Option<Answer> {
        let takes_away = update.endpoints.is_empty() && self.has_endpoints && !self.stands_in;
        if takes_away && self.empty.is_none() {
            tracing::warn!(primary = %self.primary.source(), secondary = %self.standby, "the secondary has no endpoints; those of the primary stay");
            return None;
        }
        if !self.stands_in {
            tracing::warn!(primary = %self.primary.source(), secondary = %self.standby, "the secondary stands in for the primary");
        }
        self.stands_in = true;
        self.has_endpoints = !update.endpoints.is_empty();
        let word = format!("{} stands in for {}", self.standby, self.primary.source());
        let note = update.note.as_deref().map_or_else(|| word.clone(), |note| format!("{word}; {note}"));
        Some(Ok(update.with_note(note)))
    }

    fn time(&mut self) -> Option<Answer> {
        if self.secondary.is_none() {
            self.secondary = Some(Running::start(self.standby.clone()));
            return None;
        }
        let (_, update) = self.held.take()?;
        Some(self.back(update))
    }

    fn back(&mut self, update: ResolverUpdate) -> Answer {
        if self.stands_in {
            tracing::info!(primary = %self.primary.source(), secondary = %self.standby, "the primary answers again");
        }
        self.secondary = None;
        self.stands_in = false;
        self.held = None;
        self.has_endpoints = !update.endpoints.is_empty();
        Ok(update)
    }

    /// When time alone changes something. A time beyond what the clock can say is never.
    fn deadline(&self) -> Option<Instant> {
        match (&self.secondary, &self.held) {
            (None, _) => self.unfit_since?.checked_add(self.pace.after),
            (Some(_), Some((since, _))) => since.checked_add(self.pace.hold),
            (Some(_), None) => None,
        }
    }
}

impl Flow for Fallback {
    async fn next(&mut self) -> Answer {
        loop {
            tokio::task::coop::consume_budget().await;
            let deadline = self.deadline();
            let input = tokio::select! {
                () = self.again.fired() => Input::LookAgain,
                answer = self.primary.next() => Input::Primary(answer),
                answer = next_of(&mut self.secondary) => Input::Secondary(answer),
                () = until(deadline) => Input::Time,
            };
            if let Some(answer) = self.take(input) {
                return answer;
            }
        }
    }
}

async fn next_of(running: &mut Option<Running>) -> Answer {
    match running {
        Some(running) => running.next().await,
        None => std::future::pending().await,
    }
}
