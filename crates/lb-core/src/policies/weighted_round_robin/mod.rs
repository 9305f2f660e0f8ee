//! `weighted_round_robin`: every READY endpoint in turn, as often as its weight says.
//!
//! **Weights by load.** Servers say in [load reports](crate::LoadReport) how many calls they get and how busy that makes them; an
//! endpoint's weight is calls a second ÷ (utilisation + share of errors × penalty), so that all end up equally busy. Reports come
//! with the trailers of calls, or out of band if `enableOobLoadReport` is set; never both. A weight counts once its endpoint has
//! reported for the blackout period since it became READY, and until the expiration period after its last report. Weights are
//! looked at on every change and every update period. They belong to the endpoint as long as the policy sees it, whatever happens
//! to its connection.
//!
//! **Weights of the view** are used while fewer than two READY endpoints have a usable weight by load: the resolver's, as stages
//! changed them. Once two have one, the resolver's weights no longer matter, but for two things: endpoints of weight 0 stay
//! connected and take nothing, unless every READY endpoint has weight 0; and what a stage makes of a weight applies to the measured
//! one as well. Endpoints without a usable weight then count as the mean of the others.
//!
//! **Bound.** Picks follow the static stride scheduler: over a full cycle each endpoint gets exactly its share, and in between it
//! is at most a few picks off; weights are cut at 10 times and lifted to 1 % of the mean. A channel clone made per call takes its
//! turns from the shared sequence and balances as exactly as one that is kept. Cost: at most `n` turns per pick, on average
//! below 10 for weights within an order of magnitude.
//!
//! **When not.** Servers that report nothing with weights that nobody maintains: [`least_request`](super::LeastRequest) finds out
//! by itself. Reports are seconds old: what happens within a second, such as a pause of one server, is not seen.
//!
//! ```
//! use lb_core::{PolicyRegistry, policies::WeightedRoundRobin};
//!
//! let typed = WeightedRoundRobin::default();
//! let json = serde_json::json!({"enableOobLoadReport": true, "oobReportingPeriod": "5s"});
//! let from_json = PolicyRegistry::default().build("weighted_round_robin", &json)?;
//! # Ok::<(), lb_core::ConfigError>(())
//! ```
//!
//! Source: gRFC A58, A114; weights from the resolver in place of plain round robin are ours.

mod measured;
mod scheduler;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::Value;

use self::measured::{Known, Learner, Metric, Rule, Usable};
use self::scheduler::{Scheduler, Weighted};
use super::config;
use super::petiole;
use crate::connectivity::ConnectivityState;
use crate::feedback::Feedback;
use crate::load::LoadReports;
use crate::observer::Measurement;
use crate::policy::{ConfigError, LbState, Plan, Policy, SubchannelView};
use crate::scratch::Sequence;
use crate::slot::Slot;

/// More often is taken as this (gRFC A58): each update looks at every endpoint.
const SHORTEST_UPDATE: Duration = Duration::from_millis(100);

/// Every READY endpoint in turn, as often as its weight says. See the [module table](super) for when to use it.
#[derive(Debug)]
pub struct WeightedRoundRobin {
    rule: Arc<Rule>,
    update: Duration,
    sequence: Option<Arc<Sequence>>,
    /// By index of the slot. What was hidden or removed stays until its index is used again, so there are never more than slots.
    endpoints: Vec<Option<Known>>,
    /// Counts them.
    rebuilds: u64,
    /// Knows all these endpoints.
    learner: Option<Arc<Learner>>,
}

impl Default for WeightedRoundRobin {
    /// Reports with calls, blackout 10 s, expiration 3 minutes, update 1 s, penalty 1.
    fn default() -> Self {
        let rule = Rule {
            out_of_band: None,
            blackout: Duration::from_secs(10),
            expiration: Duration::from_secs(180),
            penalty: 1.0,
            metrics: Vec::new(),
        };
        Self {
            rule: Arc::new(rule),
            update: Duration::from_secs(1),
            sequence: None,
            endpoints: Vec::new(),
            rebuilds: 0,
            learner: None,
        }
    }
}

impl WeightedRoundRobin {
    /// Its name in service configs.
    pub const NAME: &'static str = "weighted_round_robin";

    /// From its configuration: the fields of gRFC A58 and A114. Durations below 0 count as 0.
    pub fn from_config(config: &Value) -> Result<Self, ConfigError> {
        let default = Self::default();
        let duration = |field, default| config::duration(Self::NAME, config, field, default);
        let period = duration("oobReportingPeriod", Duration::from_secs(10))?;
        let metrics = config::texts(Self::NAME, config, "metricNamesForComputingUtilization")?;
        let rule = Rule {
            out_of_band: config::flag(Self::NAME, config, "enableOobLoadReport")?.then_some(period),
            blackout: duration("blackoutPeriod", default.rule.blackout)?,
            expiration: duration("weightExpirationPeriod", default.rule.expiration)?,
            penalty: config::not_negative(Self::NAME, config, "errorUtilizationPenalty", default.rule.penalty)?,
            metrics: metrics.into_iter().filter_map(Metric::parse).collect(),
        };
        let update = duration("weightUpdatePeriod", default.update)?.max(SHORTEST_UPDATE);
        Ok(Self { rule: Arc::new(rule), update, ..default })
    }

    /// Notes who is READY, and makes a new learner if there are endpoints the old one does not know.
    fn observe(&mut self, view: &[SubchannelView]) -> Arc<dyn Feedback> {
        self.rebuilds += 1;
        let rebuilds = self.rebuilds;
        for row in view {
            let ready = row.state == ConnectivityState::Ready;
            let known = self.known(row.slot);
            if ready && known.last_ready + 1 != rebuilds {
                known.measured.restart();
            }
            known.last_ready = if ready { rebuilds } else { known.last_ready };
        }
        let learner = || Learner { rule: Arc::clone(&self.rule), endpoints: self.endpoints.as_slice().into() };
        Arc::clone(self.learner.get_or_insert_with(|| Arc::new(learner()))) as Arc<dyn Feedback>
    }

    fn known(&mut self, slot: Slot) -> &mut Known {
        if self.endpoints.len() <= slot.index() {
            self.endpoints.resize_with(slot.index() + 1, || None);
        }
        let place = &mut self.endpoints[slot.index()];
        if place.as_ref().is_none_or(|known| known.slot != slot) {
            self.learner = None;
            *place = None;
        }
        place.get_or_insert_with(|| Known { slot, measured: Arc::default(), last_ready: 0 })
    }

    fn weigh(&self, now: Instant, row: &SubchannelView) -> Weighted {
        let known = self.endpoints.get(row.slot.index()).and_then(Option::as_ref);
        let usable = known.map_or(Usable::NotYet, |known| known.measured.usable(&self.rule, now));
        let measured = if let Usable::Weight(weight) = usable { Some(weight) } else { None };
        // What stages made of the resolver's weight.
        let staged = f64::from(row.weight) / f64::from(row.endpoint.attributes.weight.max(1));
        let measured = measured.map(|measured| if row.weight == 0 { measured } else { measured * staged });
        Weighted { slot: row.slot, weight: row.weight, measured, stale: usable == Usable::Stale }
    }
}

impl Policy for WeightedRoundRobin {
    fn rebuild(&mut self, now: Instant, view: &[SubchannelView], plan: &mut Plan) -> LbState {
        let sequence = Arc::clone(self.sequence.get_or_insert_with(|| petiole::sequence(plan)));
        let learner = self.observe(view);
        let out_of_band = self.rule.out_of_band;
        plan.load_reports.merge(LoadReports { per_call: out_of_band.is_none(), out_of_band });
        let several = view.iter().filter(|row| row.state == ConnectivityState::Ready).take(2).count() == 2;
        if let (true, Some(at)) = (several, now.checked_add(self.update)) {
            plan.wake_at(at);
        }
        let mut weights = None;
        let state = petiole::spread(view, plan, |ready, others| {
            let rows = ready.iter().map(|row| self.weigh(now, row)).collect();
            let scheduler = Scheduler::new(rows, sequence, others, learner);
            weights = Some(scheduler.weights());
            Arc::new(scheduler)
        });
        plan.measurements.extend(weights.map(Measurement::Schedule));
        state
    }
}
