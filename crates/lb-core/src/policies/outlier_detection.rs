//! `outlier_detection_experimental`: another policy over those endpoints whose calls go as well as the others'.
//!
//! The [`OutlierStage`] as a policy, so that a service config can turn it on as gRPC's do: it contains a `childPolicy`, which sees
//! ejected endpoints as failing. A channel that is built with the stage itself ejects for all its policies, and lets priorities fail
//! over; this one serves its child alone.
//!
//! **A new configuration** at run time keeps what the old one found: ejections go on, the interval that is being counted ends when the
//! new length has passed since it began, and another child sees who is ejected. One without a measure lets everybody back at once.
//!
//! The child is asked only when there is news for it, so a sweep that finds nobody publishes nothing.
//!
//! **Bound, and when not.** The stage's: [`stages::OutlierStage`](crate::stages::OutlierStage) has the essay.
//!
//! ```
//! use lb_core::PolicyRegistry;
//! use serde_json::json;
//!
//! let config = json!({"failurePercentageEjection": {"threshold": 50}, "childPolicy": [{"round_robin": {}}]});
//! let policy = PolicyRegistry::default().build("outlier_detection_experimental", &config)?;
//! # Ok::<(), lb_core::ConfigError>(())
//! ```
//!
//! Source: gRFC A50.

use std::any::Any;
use std::time::Instant;

use serde_json::Value;

use super::children::ChildPolicy;
use crate::load::LoadReports;
use crate::policy::{ConfigError, LbState, Plan, Policy, Stage, SubchannelView};
use crate::registry::PolicyRegistry;
use crate::slot::Slot;
use crate::stages::{OutlierConfig, OutlierStage};

/// Another policy without the endpoints whose calls go wrong. See the [module table](super) for when to use it.
#[derive(Debug)]
pub struct OutlierDetection {
    stage: OutlierStage,
    child: Box<dyn Policy>,
    told: Option<Told>,
}

/// What the child saw last, and what it made of it.
#[derive(Debug)]
struct Told {
    view: Vec<SubchannelView>,
    state: LbState,
    connect: Vec<Slot>,
    load_reports: LoadReports,
    wake_at: Option<Instant>,
}

impl Told {
    fn new(view: Vec<SubchannelView>, state: &LbState, plan: &Plan) -> Self {
        let connect = plan.connect.clone();
        Self { view, state: state.clone(), connect, load_reports: plan.load_reports, wake_at: plan.wake_at }
    }

    /// Whether the child need not be asked: it would see the same, and did not ask for this time.
    fn holds(&self, now: Instant, view: &[SubchannelView]) -> bool {
        let same = self.view.iter().zip(view).all(|(one, other)| one.is_same(other));
        same && self.view.len() == view.len() && self.wake_at.is_none_or(|at| at > now)
    }

    /// What it wanted then, but for what it wanted closed: that is done.
    fn again(&self, plan: &mut Plan) -> LbState {
        plan.connect.extend(&self.connect);
        plan.load_reports.merge(self.load_reports);
        self.wake_at.into_iter().for_each(|at| plan.wake_at(at));
        self.state.clone()
    }
}

impl OutlierDetection {
    /// Its name in service configs.
    pub const NAME: &'static str = "outlier_detection_experimental";

    /// This policy around `child`.
    pub fn new(config: OutlierConfig, child: Box<dyn Policy>) -> Self {
        Self { stage: OutlierStage::new(config), child, told: None }
    }

    /// From its configuration: the fields of [`OutlierConfig::from_json`] and `childPolicy`, a list as in a service config.
    ///
    /// # Errors
    /// A field is wrong, or the list is missing or names no known policy.
    pub fn from_config(config: &Value, registry: &PolicyRegistry) -> Result<Self, ConfigError> {
        let child = ChildPolicy::from_config(Self::NAME, config, registry)?.build()?;
        Ok(Self::new(OutlierConfig::from_json(config)?, child))
    }
}

impl Policy for OutlierDetection {
    fn rebuild(&mut self, now: Instant, view: &[SubchannelView], plan: &mut Plan) -> LbState {
        let mut view = view.to_vec();
        // A lazy child decides itself whom it connects; the stage keeps those that are.
        self.stage.apply(now, &mut view, plan);
        if let Some(told) = self.told.as_ref().filter(|told| plan.only_time && told.holds(now, &view)) {
            return told.again(plan);
        }
        let mut wishes = Plan::new(plan.entropy).with_signal(&plan.signal);
        wishes.only_time = plan.only_time;
        let state = self.child.rebuild(now, &view, &mut wishes);
        self.told = Some(Told::new(view, &state, &wishes));
        plan.merge(wishes);
        state
    }

    fn spans_priorities(&self) -> bool {
        self.child.spans_priorities()
    }

    fn inherit(&mut self, from: &dyn Policy) {
        if let Some(from) = (from as &dyn Any).downcast_ref::<Self>() {
            self.stage.inherit(&from.stage);
            self.child.inherit(&*from.child);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::json;

    use super::*;
    use crate::feedback::Done;
    use crate::policies::testing::{Caller, ready, slot};
    use crate::stats::Outcome;

    fn build(config: Value) -> Result<Box<dyn Policy>, ConfigError> {
        PolicyRegistry::default().build(OutlierDetection::NAME, &config)
    }

    #[test]
    fn the_child_is_required_and_checked() {
        for config in [json!({}), json!({"childPolicy": []}), json!({"childPolicy": [{"not_yet_invented": {}}]})] {
            let error = build(config).unwrap_err();
            assert!(error.field.starts_with("outlier_detection_experimental.childPolicy"), "{error}");
        }
        assert!(build(json!({"childPolicy": [{"not_yet_invented": {}}, {"round_robin": {}}]})).is_ok());
    }

    #[test]
    fn the_child_passes_over_an_ejected_endpoint_until_it_is_back() {
        let config = json!({"failurePercentageEjection": {"minimumHosts": 1}, "childPolicy": [{"round_robin": {}}]});
        let (mut policy, view, mut caller) = (build(config).unwrap(), ready(3), Caller::new(1));
        let mut now = caller.now;
        policy.rebuild(now, &view, &mut Plan::default());
        for _ in 0..100 {
            view[1].stats.begin();
            view[1].stats.finish(&Done::new(slot(1), now, Duration::from_millis(1), Outcome::Failure));
        }
        now += Duration::from_secs(10);
        let mut plan = Plan::default();
        let picker = policy.rebuild(now, &view, &mut plan).picker;
        assert_eq!(caller.count(&*picker, 3, 100), [50, 0, 50]);
        assert_eq!(plan.wake_at, Some(now + Duration::from_secs(10)));
        for _ in 0..4 {
            now += Duration::from_secs(10);
            policy.rebuild(now, &view, &mut Plan::default());
        }
        let picker = policy.rebuild(now, &view, &mut Plan::default()).picker;
        assert!(caller.count(&*picker, 3, 99).iter().all(|count| *count == 33));
    }

    fn fail(view: &[SubchannelView], index: usize, now: Instant) {
        for _ in 0..100 {
            view[index].stats.begin();
            view[index].stats.finish(&Done::new(view[index].slot, now, Duration::from_millis(1), Outcome::Failure));
        }
    }

    #[test]
    fn another_child_sees_who_is_ejected() {
        let config = |child: &str| json!({"failurePercentageEjection": {"minimumHosts": 1}, "childPolicy": [{child: {}}]});
        let (mut policy, view, mut caller) = (build(config("round_robin")).unwrap(), ready(3), Caller::new(1));
        let mut now = caller.now;
        policy.rebuild(now, &view, &mut Plan::default());
        fail(&view, 1, now);
        now += Duration::from_secs(10);
        policy.rebuild(now, &view, &mut Plan::default());
        for child in ["random", "least_request", "weighted_round_robin", "round_robin"] {
            let mut next = build(config(child)).unwrap();
            next.inherit(&*policy);
            let picker = next.rebuild(now, &view, &mut Plan::default()).picker;
            let counts = caller.count(&*picker, 3, 300);
            assert!(counts[1] == 0 && counts.iter().sum::<usize>() == 300, "{child}: {counts:?}");
            policy = next;
        }
        // A policy of another kind has nothing to hand on, and takes nothing.
        let mut other = PolicyRegistry::default().build("round_robin", &json!({})).unwrap();
        other.inherit(&*policy);
        let mut fresh = build(config("round_robin")).unwrap();
        fresh.inherit(&*other);
        let picker = fresh.rebuild(now, &view, &mut Plan::default()).picker;
        assert_eq!(caller.count(&*picker, 3, 300), [100; 3]);
    }

    #[test]
    fn the_childs_picks_are_its_own() {
        let measure = json!({"failurePercentageEjection": {"minimumHosts": 1}, "childPolicy": [{"adaptive": {}}]});
        let (mut policy, view, mut caller) = (build(measure).unwrap(), ready(3), Caller::new(1));
        let mut alone = PolicyRegistry::default().build("adaptive", &json!({})).unwrap();
        let (wrapped, plain) = (
            policy.rebuild(caller.now, &view, &mut Plan::new(3)).picker,
            alone.rebuild(caller.now, &view, &mut Plan::new(3)).picker,
        );
        assert!(wrapped.feedback().is_some() && plain.feedback().is_some(), "who learns is told");
        let mut other = Caller::new(1);
        for _ in 0..100 {
            assert_eq!(caller.token(&*wrapped), other.token(&*plain), "the same pick with the same token");
        }
        assert_eq!(caller.explain(&*wrapped), other.explain(&*plain));
    }
}
