//! Telling calls and observers what changed.

use std::sync::Arc;
use std::time::Instant;

use crate::connectivity::ConnectivityState;
use crate::event::LbEvent;
use crate::gate::posts;
use crate::share::Shares;
use crate::slot::Slot;
use crate::snapshot::{NamedPicker, Row, Snapshot};
use crate::wishes::Derived;

use super::Machine;
use super::balancer::Outcome;
use super::event::Effect;

/// What calls and observers were told last.
#[derive(Debug, Default)]
pub(super) struct Published {
    generation: u64,
    /// The last one.
    pub(super) snapshot: Option<Arc<Snapshot>>,
    pub(super) state: ConnectivityState,
    /// The state each subchannel was last shown in, by slot index.
    shown: Vec<Option<(Slot, ConnectivityState)>>,
    shares: Option<Arc<Shares>>,
}

impl Machine {
    pub(super) fn publish(&mut self, now: Instant, outcome: Outcome, effects: &mut Vec<Effect>) {
        for row in &outcome.rows {
            self.events.extend(self.published.note(row));
        }
        self.emit_channel_state(outcome.state);
        self.published.generation += 1;
        self.published.shares = Shares::of(now, &outcome.rows, self.published.shares.as_deref(), outcome.plan.entropy);
        let snapshot = Arc::new(Snapshot {
            generation: self.published.generation,
            state: outcome.state,
            pickers: outcome.pickers,
            posts: posts(&outcome.rows),
            rows: outcome.rows,
            recovering: outcome.recovering,
            shares: self.published.shares.clone(),
            load_reports: outcome.plan.load_reports,
            failover: outcome.failover,
            promotions: outcome.promotions,
            panic: outcome.panic,
            ejections: outcome.ejections,
            derived: Derived::default(),
        });
        self.published.snapshot = Some(Arc::clone(&snapshot));
        effects.push(Effect::Publish(snapshot));
    }
}

impl Published {
    /// Whether calls and observers were told all of this. Pickers are the same if they are the very same ones.
    pub(super) fn shows(&self, outcome: &Outcome) -> bool {
        let Some(shown) = &self.snapshot else { return false };
        let rows = |(one, other): (&Row, &Row)| one.excluded == other.excluded && one.view.is_same(&other.view);
        let pickers =
            |(one, other): (&NamedPicker, &NamedPicker)| one.name == other.name && Arc::ptr_eq(&one.picker, &other.picker);
        (shown.state, shown.load_reports, shown.ejections) == (outcome.state, outcome.plan.load_reports, outcome.ejections)
            && (&shown.failover, &shown.panic) == (&outcome.failover, &outcome.panic)
            && (&shown.promotions, &shown.recovering) == (&outcome.promotions, &outcome.recovering)
            && shown.shares.is_none()
            && (shown.pickers.len(), shown.rows.len()) == (outcome.pickers.len(), outcome.rows.len())
            && shown.pickers.iter().zip(&outcome.pickers).all(pickers)
            && shown.rows.iter().zip(&outcome.rows).all(rows)
    }

    /// Remembers a subchannel's state, and says so if it is news.
    fn note(&mut self, row: &Row) -> Option<LbEvent> {
        let (slot, to) = (row.view.slot, row.view.state);
        if self.shown.len() <= slot.index() {
            self.shown.resize(slot.index() + 1, None);
        }
        let from = match self.shown[slot.index()].replace((slot, to)) {
            Some((shown, state)) if shown == slot => state,
            _ => ConnectivityState::Idle,
        };
        (from != to).then(|| LbEvent::SubchannelState {
            endpoint: row.view.endpoint.key().clone(),
            from,
            to,
            reason: row.view.error.clone(),
        })
    }
}
