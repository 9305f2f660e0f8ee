//! The stages and policies of a channel, and the graceful switch from one policy to the next.
//!
//! The channel's own policy is *current*; after a switch the new one is *pending* until it reports anything but CONNECTING, or
//! the current one is not READY. Both see every view meanwhile and both get the connections they ask for, so that the old policy
//! serves until the new one can. Further policies are kept for calls that ask for them by name.

use std::sync::Arc;
use std::time::Instant;

use crate::connectivity::ConnectivityState;
use crate::event::LbEvent;
use crate::pick::Always;
use crate::policy::{LbState, Plan, Stage, SubchannelView};
use crate::snapshot::{NamedPicker, Row};
use crate::stages::{DrainStage, PriorityStage, RegistryHealthStage};

use super::event::NamedPolicy;

#[derive(Debug)]
pub(super) struct Balancer {
    /// Endpoints an operator has taken out.
    pub(super) drain: DrainStage,
    stages: Vec<Box<dyn Stage>>,
    current: NamedPolicy,
    pending: Option<NamedPolicy>,
    further: Vec<NamedPolicy>,
}

/// What stages and policies make of the subchannels.
#[derive(Debug)]
pub(super) struct Outcome {
    pub(super) state: ConnectivityState,
    pub(super) pickers: Box<[NamedPicker]>,
    pub(super) rows: Box<[Row]>,
    pub(super) plan: Plan,
}

impl Balancer {
    /// The built-in stages, then `custom`, then `policy`.
    pub(super) fn new(custom: Vec<Box<dyn Stage>>, policy: NamedPolicy) -> Self {
        let mut stages: Vec<Box<dyn Stage>> = vec![Box::new(RegistryHealthStage), Box::new(PriorityStage::default())];
        stages.extend(custom);
        Self { drain: DrainStage::default(), stages, current: policy, pending: None, further: Vec::new() }
    }

    /// Begins a graceful switch; a switch that has not finished is given up for it.
    pub(super) fn switch(&mut self, policy: NamedPolicy) {
        self.pending = Some(policy);
    }

    /// Keeps a policy for calls that ask for it.
    pub(super) fn keep(&mut self, policy: NamedPolicy) {
        self.further.retain(|other| other.name != policy.name);
        self.further.push(policy);
    }

    /// Looks at the subchannels. `events` gets a finished switch.
    pub(super) fn rebuild(&mut self, now: Instant, views: Vec<SubchannelView>, entropy: u64, events: &mut Vec<LbEvent>) -> Outcome {
        let mut plan = Plan::new(entropy);
        let (visible, rows) = self.stage(now, views, &mut plan);
        let state = self.decide(now, &visible, &mut plan, events);
        let mut pickers = vec![NamedPicker { name: Arc::clone(&self.current.name), picker: state.picker }];
        for further in &mut self.further {
            let LbState { picker, .. } = further.policy.rebuild(now, &visible, &mut plan);
            pickers.push(NamedPicker { name: Arc::clone(&further.name), picker });
        }
        if visible.is_empty() {
            let failing = Always::fail(describe_empty(&rows));
            pickers.iter_mut().for_each(|named| named.picker = Arc::clone(&failing));
        }
        Outcome { state: state.state, pickers: pickers.into(), rows, plan }
    }

    /// Runs the stages, and notes which one hid each subchannel.
    fn stage(&mut self, now: Instant, mut visible: Vec<SubchannelView>, plan: &mut Plan) -> (Vec<SubchannelView>, Box<[Row]>) {
        let mut rows: Vec<Row> = visible.iter().map(|view| Row { view: view.clone(), excluded: None }).collect();
        let built_in: [&mut dyn Stage; 1] = [&mut self.drain];
        for stage in built_in.into_iter().chain(self.stages.iter_mut().map(|stage| &mut **stage as &mut dyn Stage)) {
            let before = visible.len();
            stage.apply(now, &mut visible, plan);
            if visible.len() < before {
                note_hidden(&mut rows, &visible, stage.name());
            }
        }
        let mut staged = visible.iter().peekable();
        for row in &mut rows {
            if let Some(view) = staged.next_if(|view| view.slot == row.view.slot) {
                row.view.weight = view.weight;
            }
        }
        (visible, rows.into())
    }

    /// Asks the current policy and, during a switch, the pending one.
    fn decide(&mut self, now: Instant, visible: &[SubchannelView], plan: &mut Plan, events: &mut Vec<LbEvent>) -> LbState {
        let Some(pending) = &mut self.pending else { return self.current.policy.rebuild(now, visible, plan) };
        let next = pending.policy.rebuild(now, visible, plan);
        let mut current_plan = Plan::new(plan.entropy);
        let current = self.current.policy.rebuild(now, visible, &mut current_plan);
        if next.state == ConnectivityState::Connecting && current.state == ConnectivityState::Ready {
            plan.merge(current_plan);
            return current;
        }
        if let Some(pending) = self.pending.take() {
            events.push(LbEvent::PolicyChanged { policy: Arc::clone(&pending.name) });
            self.current = pending;
        }
        next
    }
}

/// Stages keep the order, so one walk finds what is gone.
fn note_hidden(rows: &mut [Row], visible: &[SubchannelView], reason: &'static str) {
    let mut remaining = visible.iter().peekable();
    for row in rows.iter_mut().filter(|row| row.excluded.is_none()) {
        if remaining.next_if(|view| view.slot == row.view.slot).is_none() {
            row.excluded = Some(reason);
        }
    }
}

fn describe_empty(rows: &[Row]) -> String {
    if rows.is_empty() {
        return "the target resolved to no endpoints".into();
    }
    let mut reasons: Vec<(&str, usize)> = Vec::new();
    for reason in rows.iter().filter_map(|row| row.excluded) {
        match reasons.iter_mut().find(|(name, _)| *name == reason) {
            Some((_, count)) => *count += 1,
            None => reasons.push((reason, 1)),
        }
    }
    let reasons: Vec<String> = reasons.iter().map(|(name, count)| format!("{count} {name}")).collect();
    format!("no endpoint may be used, of {}: {}", rows.len(), reasons.join(", "))
}
