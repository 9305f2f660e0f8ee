//! The stages and policies of a channel, and the graceful switch from one policy to the next.
//!
//! The channel's own policy is *current*; after a switch the new one is *pending* until it reports anything but CONNECTING, or
//! the current one is not READY. Both see every view meanwhile and both get the connections they ask for, so that the old policy
//! serves until the new one can. Further policies are kept for calls that ask for them by name.

mod glance;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Instant;

use crate::connectivity::ConnectivityState;
use crate::event::LbEvent;
use crate::gate::GateSignal;
use crate::pick::Always;
use crate::policy::{LbState, Plan, Stage, SubchannelView};
use crate::recovery::{DegradedConfig, RampConfig, Recovering, RecoveryStage};
use crate::slot::Slot;
use crate::snapshot::{NamedPicker, Row};
use crate::stages::{
    DisableStage, DrainStage, EjectionCounts, FailoverConfig, FailoverState, OutlierConfig, OutlierStage, PanicConfig, PanicRule,
    PanicState, PriorityStage, Promotion, RegistryDisableStage, RegistryHealthStage, ReplicaConfig, ReplicaStage,
};

use self::glance::Looked;
use super::event::NamedPolicy;
use super::table::Table;
use super::view::{self, Hidden, View};

#[derive(Debug)]
pub(super) struct Balancer {
    /// Endpoints an operator has taken out.
    pub(super) drain: DrainStage,
    registry_health: RegistryHealthStage,
    /// Endpoints an operator has disabled.
    pub(super) disable: DisableStage,
    registry_disable: RegistryDisableStage,
    /// Before the priorities: a group whose endpoints are ejected is one that fails.
    outliers: OutlierStage,
    /// After the stages that take endpoints out, before those that keep some for later.
    pub(super) recovery: RecoveryStage,
    /// Before the priorities: a group serves while its replicas do.
    replicas: ReplicaStage,
    priority: PriorityStage,
    /// After the priorities: failing over comes before panicking.
    panic: PanicRule,
    /// Wakes the channel.
    signal: GateSignal,
    /// Custom ones.
    stages: Vec<Box<dyn Stage>>,
    pub(super) current: NamedPolicy,
    pending: Option<NamedPolicy>,
    further: Vec<NamedPolicy>,
    looked: Looked,
    /// What stages that looked alone want closed.
    to_close: Vec<Slot>,
}

/// What the stages of a channel are made with.
#[derive(Debug)]
pub(super) struct StageConfigs {
    pub(super) outliers: OutlierConfig,
    pub(super) replicas: ReplicaConfig,
    pub(super) recovery: Option<RampConfig>,
    pub(super) degraded: DegradedConfig,
    pub(super) failover: FailoverConfig,
    pub(super) panic: PanicConfig,
    pub(super) custom: Vec<Box<dyn Stage>>,
    pub(super) signal: GateSignal,
}

/// Why and with which dice stages and policies look.
#[derive(Debug, Clone, Copy)]
pub(super) struct Look {
    pub(super) entropy: u64,
    /// Whether nothing but time has passed since the last look.
    pub(super) only_time: bool,
}

/// What stages and policies make of the subchannels.
#[derive(Debug)]
pub(super) struct Outcome {
    pub(super) state: ConnectivityState,
    pub(super) pickers: Box<[NamedPicker]>,
    pub(super) rows: Box<[Row]>,
    pub(super) failover: Option<FailoverState>,
    pub(super) promotions: Box<[Promotion]>,
    pub(super) recovering: Box<[Recovering]>,
    pub(super) panic: Option<PanicState>,
    pub(super) ejections: EjectionCounts,
    pub(super) plan: Plan,
}

impl Balancer {
    /// The built-in stages, then the custom ones, then `policy`.
    pub(super) fn new(config: StageConfigs, policy: NamedPolicy) -> Self {
        Self {
            drain: DrainStage::default(),
            registry_health: RegistryHealthStage,
            disable: DisableStage::default(),
            registry_disable: RegistryDisableStage,
            outliers: OutlierStage::new(config.outliers),
            replicas: ReplicaStage::new(config.replicas),
            recovery: RecoveryStage::new(config.recovery, config.degraded),
            priority: PriorityStage::new(config.failover),
            panic: PanicRule::new(config.panic),
            signal: config.signal,
            stages: config.custom,
            current: policy,
            pending: None,
            further: Vec::new(),
            looked: Looked::default(),
            to_close: Vec::new(),
        }
    }

    /// Begins a graceful switch; a switch that has not finished is given up for it.
    pub(super) fn switch(&mut self, mut policy: NamedPolicy) {
        policy.policy.inherit(&*self.current.policy);
        self.pending = Some(policy);
    }

    /// Keeps a policy for calls that ask for it.
    pub(super) fn keep(&mut self, mut policy: NamedPolicy) {
        let named = |name: &Arc<str>| self.further.iter().find(|other| other.name == *name);
        if let Some(before) = named(&policy.name).or_else(|| named(policy.follows.as_ref()?)) {
            policy.policy.inherit(&*before.policy);
        }
        self.further.retain(|other| other.name != policy.name);
        self.further.push(policy);
    }

    /// Puts a group in front, or returns to where calls would rather be: to the best group, and from replicas to their primaries.
    pub(super) fn force_group(&mut self, priority: Option<u32>) {
        self.priority.force(priority);
        if priority.is_none() {
            self.replicas.hand_back();
        }
    }

    /// Gives up a policy kept for calls that ask for it.
    pub(super) fn forget(&mut self, name: &str) {
        self.further.retain(|other| *other.name != *name);
    }

    /// Looks at the subchannels. `events` gets a finished switch.
    pub(super) fn rebuild(&mut self, now: Instant, table: &Table, look: Look, events: &mut Vec<LbEvent>) -> Outcome {
        let mut plan = Plan::new(look.entropy).with_signal(&self.signal);
        plan.only_time = look.only_time && self.pending.is_none();
        let View { visible, hidden, .. } = self.stage(now, table, &mut plan);
        self.looked = Looked::of_stages(&mut plan);
        plan.disconnect.append(&mut self.to_close);
        let state = self.decide(now, &visible, &mut plan, events);
        let mut pickers = vec![NamedPicker { name: Arc::clone(&self.current.name), picker: state.picker }];
        for further in &mut self.further {
            let LbState { picker, .. } = further.policy.rebuild(now, &visible, &mut plan);
            pickers.push(NamedPicker { name: Arc::clone(&further.name), picker });
        }
        if visible.is_empty() {
            let failing = Always::fail(view::describe_empty(&hidden));
            pickers.iter_mut().for_each(|named| named.picker = Arc::clone(&failing));
        }
        events.append(&mut plan.events);
        self.looked.policies(table, &visible, &mut plan);
        let failover = self.failover();
        let (mut rows, promotions) =
            (view::rows(table, visible, self.looked.in_order, &hidden), self.replicas.promotions().cloned().collect());
        if !hidden.is_empty() {
            for row in rows.iter_mut().filter(|row| row.excluded.is_some()) {
                row.view.ejected = self.outliers.ejection(row.view.endpoint.key()).cloned();
            }
        }
        let (recovering, panic) = (self.recovery.recovering(), self.panic.state());
        let ejections = self.outliers.counts();
        Outcome { state: state.state, pickers: pickers.into(), rows, failover, promotions, recovering, panic, ejections, plan }
    }

    fn failover(&self) -> Option<FailoverState> {
        if self.current.policy.spans_priorities() { None } else { self.priority.state() }
    }

    /// The names of the policies, and no opinion of theirs.
    pub(super) fn unasked(&self) -> Outcome {
        let names = std::iter::once(&self.current).chain(&self.further).map(|policy| &policy.name);
        let pickers = names.map(|name| NamedPicker { name: Arc::clone(name), picker: Always::queue() }).collect();
        Outcome {
            state: ConnectivityState::Idle,
            pickers,
            rows: Box::default(),
            failover: None,
            promotions: Box::default(),
            recovering: Box::default(),
            panic: None,
            ejections: self.outliers.counts(),
            plan: Plan::default(),
        }
    }

    /// Runs the stages, and notes which one hid each subchannel that is hidden.
    fn stage<'t>(&mut self, now: Instant, table: &'t Table, plan: &mut Plan) -> View<'t> {
        let mut view = View::of(table);
        let spans = self.current.policy.spans_priorities();
        self.replicas.list(&view.visible);
        // What is disabled is let go, even if it is drained as well.
        let able: [&mut dyn Stage; 3] = [&mut self.disable, &mut self.registry_disable, &mut self.drain];
        able.into_iter().for_each(|stage| view.run(stage, now, plan));
        let offered = (self.panic.is_on() && !spans).then(|| view.visible.clone());
        let judges: [&mut dyn Stage; 2] = [&mut self.registry_health, &mut self.outliers];
        judges.into_iter().for_each(|stage| view.run(stage, now, plan));
        let listed = table.iter().map(|subchannel| (subchannel.slot, subchannel.endpoint.key()));
        self.recovery.apply(now, listed, &mut view.visible, plan);
        view.run(&mut self.replicas, now, plan);
        if !spans {
            view.run(&mut self.priority, now, plan);
        }
        if let Some(offered) = offered {
            self.panic(now, &offered, &mut view, plan);
        }
        self.stages.iter_mut().for_each(|stage| view.run(&mut **stage, now, plan));
        view
    }

    /// Lets a group panic, and notes who is hidden no longer or now.
    fn panic(&mut self, now: Instant, offered: &[SubchannelView], view: &mut View<'_>, plan: &mut Plan) {
        let View { visible, hidden, .. } = view;
        let standing_by = hidden.iter().filter(|hidden| hidden.reason == self.replicas.name());
        let standing_by: BTreeSet<Slot> = standing_by.map(|hidden| hidden.slot).collect();
        let before: Vec<Slot> = visible.iter().map(|row| row.slot).collect();
        self.panic.apply(now, offered, &|slot| standing_by.contains(&slot), visible, plan);
        if self.panic.state().is_some() {
            let shown: BTreeSet<Slot> = visible.iter().map(|row| row.slot).collect();
            hidden.retain(|hidden| !shown.contains(&hidden.slot));
            let gone = before.into_iter().filter(|slot| !shown.contains(slot));
            hidden.extend(gone.map(|slot| Hidden { slot, reason: self.priority.name() }));
        }
    }

    /// Asks the current policy and, during a switch, the pending one.
    fn decide(&mut self, now: Instant, visible: &[SubchannelView], plan: &mut Plan, events: &mut Vec<LbEvent>) -> LbState {
        let Some(pending) = &mut self.pending else { return self.current.policy.rebuild(now, visible, plan) };
        let next = pending.policy.rebuild(now, visible, plan);
        let mut current_plan = Plan::new(plan.entropy).with_signal(&self.signal);
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
