//! A look of the stages alone, when nothing but time has passed.
//!
//! Stages that judge by time ask to look again: outlier detection once an interval, others when a deadline comes. Mostly they find
//! everything as it was. Then the policies need not be asked and nothing is published: a publication has every policy build a picker over
//! all endpoints, and every call with wishes derive another one from it.
//!
//! **Same** is what policies and calls could see: the rows, who is hidden and why, what the stages want connected and reported, and what is
//! counted beside. A policy that asked for this time itself is asked, whatever the stages find.

use std::sync::Arc;
use std::time::Instant;

use crate::load::LoadReports;
use crate::machine::subchannel::Subchannel;
use crate::machine::table::Table;
use crate::machine::view::{View, is_in_order};
use crate::policy::{Plan, SubchannelView};
use crate::slot::Slot;
use crate::snapshot::{Row, Snapshot};

use super::Balancer;

/// What is remembered of the last look of all.
#[derive(Debug, Default)]
pub(super) struct Looked {
    /// What the stages want; it holds until they want something else.
    connect: Vec<Slot>,
    load_reports: LoadReports,
    /// When they want to look again.
    stages: Option<Instant>,
    /// When the policies want to.
    policies: Option<Instant>,
    /// Whether the policies saw the resolver's order, which rows do not tell.
    pub(super) in_order: bool,
}

/// What the stages found.
#[derive(Debug)]
pub(in crate::machine) struct Glance {
    /// Whether it is what is published.
    pub(in crate::machine) same: bool,
    /// What is to be done even so, and when to look again.
    pub(in crate::machine) plan: Plan,
}

impl Looked {
    /// Notes what the stages want, and takes their time out of the plan, so that the policies' own can be told from it.
    pub(super) fn of_stages(plan: &mut Plan) -> Self {
        Self {
            connect: plan.connect.clone(),
            load_reports: plan.load_reports,
            stages: plan.wake_at.take(),
            policies: None,
            in_order: false,
        }
    }

    /// Notes when the policies want to look again, and puts the stages' time back.
    pub(super) fn policies(&mut self, table: &Table, visible: &[SubchannelView], plan: &mut Plan) {
        (self.policies, self.in_order) = (plan.wake_at, is_in_order(table, visible));
        self.stages.into_iter().for_each(|at| plan.wake_at(at));
    }

    /// Whether the stages want what they wanted then. A wish to close is told once.
    fn wants(&self, plan: &Plan) -> bool {
        self.connect == plan.connect && plan.disconnect.is_empty() && self.load_reports == plan.load_reports
    }
}

impl Balancer {
    /// Lets the stages look alone. `None` if somebody else wants to, or something moves with every look: then all of them must.
    pub(in crate::machine) fn glance(
        &mut self,
        now: Instant,
        table: &Table,
        entropy: impl FnOnce() -> u64,
        shown: &Snapshot,
    ) -> Option<Glance> {
        let asked = self.looked.policies.is_some_and(|at| at <= now);
        if asked || self.pending.is_some() || shown.shares.is_some() {
            return None;
        }
        let mut plan = Plan::new(entropy()).with_signal(&self.signal);
        let view = self.stage(now, table, &mut plan);
        let same = self.looked.in_order && self.looked.wants(&plan) && self.is_shown(&view, table, shown);
        self.looked.policies.into_iter().for_each(|at| plan.wake_at(at));
        self.to_close.append(&mut plan.disconnect);
        Some(Glance { same, plan })
    }

    /// All must look at the next occasion.
    pub(in crate::machine) fn ask_all(&mut self, now: Instant) {
        self.looked.policies = Some(now);
    }

    fn is_shown(&self, view: &View<'_>, table: &Table, shown: &Snapshot) -> bool {
        let beside = shown.failover == self.failover()
            && shown.panic == self.panic.state()
            && shown.ejections == self.outliers.counts()
            && shown.promotions.iter().eq(self.replicas.promotions())
            && shown.recovering == self.recovery.recovering();
        beside && self.are_shown(view, table, &shown.rows)
    }

    fn are_shown(&self, view: &View<'_>, table: &Table, rows: &[Row]) -> bool {
        let mut reasons = vec![None; table.places()];
        view.hidden.iter().for_each(|hidden| reasons[hidden.slot.index()] = Some(hidden.reason));
        let mut visible = view.visible.iter().peekable();
        let same = |(subchannel, row): (&Subchannel, &Row)| match visible.next_if(|view| view.slot == subchannel.slot) {
            Some(view) => row.excluded.is_none() && view.is_same(&row.view),
            None => {
                let mut view = subchannel.view();
                view.ejected = self.outliers.ejection(view.endpoint.key()).map(Arc::clone);
                row.excluded.is_some() && row.excluded == reasons[subchannel.slot.index()] && view.is_same(&row.view)
            }
        };
        table.len() == rows.len() && table.iter().zip(rows).all(same) && visible.next().is_none()
    }
}
