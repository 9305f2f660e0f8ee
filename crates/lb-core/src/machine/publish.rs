//! Telling calls and observers what changed.

use std::sync::Arc;
use std::time::Instant;

use crate::connectivity::ConnectivityState;
use crate::event::LbEvent;
use crate::gate::posts;
use crate::share::Shares;
use crate::slot::Slot;
use crate::snapshot::{Row, Snapshot};
use crate::wishes::Derived;

use super::Machine;
use super::balancer::Outcome;
use super::event::Effect;

/// What calls and observers were told last.
#[derive(Debug, Default)]
pub(super) struct Published {
    generation: u64,
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
        effects.push(Effect::Publish(Arc::new(Snapshot {
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
        })));
    }
}

impl Published {
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
