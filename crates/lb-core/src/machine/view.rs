//! What stages edit and policies see, and the rows that are published of it.
//!
//! There may be a hundred thousand rows, and all of them are made anew for every change. So what is only needed when somebody is hidden is
//! only made then, and found by slot index rather than searched for.

use std::collections::BTreeMap;
use std::time::Instant;

use crate::policy::{Plan, Stage, SubchannelView};
use crate::slot::Slot;
use crate::snapshot::Row;

use super::subchannel::Subchannel;
use super::table::Table;

/// A subchannel no policy may use, and why.
#[derive(Debug)]
pub(super) struct Hidden {
    pub(super) slot: Slot,
    pub(super) reason: &'static str,
}

/// What stages edit.
#[derive(Debug)]
pub(super) struct View<'t> {
    table: &'t Table,
    pub(super) visible: Vec<SubchannelView>,
    pub(super) hidden: Vec<Hidden>,
}

impl<'t> View<'t> {
    /// Everybody, and nobody hidden.
    pub(super) fn of(table: &'t Table) -> Self {
        Self { table, visible: table.iter().map(Subchannel::view).collect(), hidden: Vec::new() }
    }

    /// Lets a stage edit the view, and notes what it hides.
    pub(super) fn run(&mut self, stage: &mut dyn Stage, now: Instant, plan: &mut Plan) {
        let before = self.visible.len();
        stage.apply(now, &mut self.visible, plan);
        if self.visible.len() < before {
            let reason = stage.name();
            let gone = self.unaccounted();
            self.hidden.extend(gone.into_iter().map(|slot| Hidden { slot, reason }));
        }
    }

    /// Who is neither visible nor known to be hidden.
    fn unaccounted(&self) -> Vec<Slot> {
        let mut known = vec![false; self.table.places()];
        let slots = self.visible.iter().map(|row| row.slot).chain(self.hidden.iter().map(|hidden| hidden.slot));
        slots.for_each(|slot| known.get_mut(slot.index()).into_iter().for_each(|known| *known = true));
        let slots = self.table.iter().map(|subchannel| subchannel.slot);
        slots.filter(|slot| !known[slot.index()]).collect()
    }
}

/// Whether these are in the resolver's order.
pub(super) fn is_in_order(table: &Table, view: &[SubchannelView]) -> bool {
    let mut expected = table.iter().map(|subchannel| subchannel.slot);
    view.iter().all(|row| expected.any(|slot| slot == row.slot))
}

/// Undoes what a stage did to the resolver's order.
fn restore_order(table: &Table, view: &mut [SubchannelView]) {
    let ranks: BTreeMap<Slot, usize> = table.iter().map(|subchannel| subchannel.slot).zip(0..).collect();
    view.sort_by_key(|row| ranks.get(&row.slot).copied());
}

/// Every subchannel in the resolver's order: those the policies saw as they saw them, the others with the reason.
pub(super) fn rows(table: &Table, mut visible: Vec<SubchannelView>, in_order: bool, hidden: &[Hidden]) -> Box<[Row]> {
    if !in_order {
        restore_order(table, &mut visible);
    }
    if hidden.is_empty() {
        return visible.into_iter().map(|view| Row { view, excluded: None }).collect();
    }
    let mut reasons = vec![None; table.places()];
    hidden.iter().for_each(|hidden| reasons[hidden.slot.index()] = Some(hidden.reason));
    let mut visible = visible.into_iter().peekable();
    let row = |subchannel: &Subchannel| {
        let view = visible.next_if(|view| view.slot == subchannel.slot);
        Row { view: view.unwrap_or_else(|| subchannel.view()), excluded: reasons[subchannel.slot.index()] }
    };
    table.iter().map(row).collect()
}

pub(super) fn describe_empty(hidden: &[Hidden]) -> String {
    if hidden.is_empty() {
        return "the target resolved to no endpoints".into();
    }
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for hidden in hidden {
        *counts.entry(hidden.reason).or_default() += 1;
    }
    let counts: Vec<String> = counts.iter().map(|(reason, count)| format!("{count} {reason}")).collect();
    format!("no endpoint may be used, of {}: {}", hidden.len(), counts.join(", "))
}
