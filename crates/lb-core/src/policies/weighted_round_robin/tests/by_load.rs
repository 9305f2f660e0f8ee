use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::connectivity::ConnectivityState::{Connecting, Ready, TransientFailure};
use crate::endpoint::Endpoint;
use crate::feedback::{Done, Reported};
use crate::load::LoadReport;
use crate::observer::Measurement;
use crate::pick::Picker;
use crate::policies::WeightedRoundRobin;
use crate::policies::testing::{Caller, count_fresh, ready, slot, start, view, weighted};
use crate::policy::{Plan, Policy, SubchannelView};
use crate::slot::Slot;
use crate::stats::Outcome;

const SECOND: Duration = Duration::from_secs(1);

/// A policy, what it sees, and its picker.
struct World {
    policy: WeightedRoundRobin,
    view: Vec<SubchannelView>,
    picker: Arc<dyn Picker>,
    plan: Plan,
    now: Instant,
}

impl World {
    fn new(config: Value, view: Vec<SubchannelView>) -> Self {
        let mut policy = WeightedRoundRobin::from_config(&config).unwrap();
        let (now, mut plan) = (start(), Plan::default());
        let picker = policy.rebuild(now, &view, &mut plan).picker;
        Self { policy, view, picker, plan, now }
    }

    /// Without a blackout.
    fn at_once(endpoints: usize) -> Self {
        Self::new(json!({"blackoutPeriod": "0s"}), ready(endpoints))
    }

    fn rebuild(&mut self) {
        self.plan = Plan::default();
        self.picker = self.policy.rebuild(self.now, &self.view, &mut self.plan).picker;
    }

    /// Lets time pass, with the updates the policy asks for.
    fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        while let Some(at) = self.plan.wake_at.filter(|at| *at <= end) {
            self.now = at;
            self.rebuild();
        }
        self.now = end;
    }

    fn trailers(&self, index: u32, load: &LoadReport) {
        let done = Done::new(slot(index), self.now, SECOND / 10, Outcome::Success).with_load(Some(load));
        self.picker.feedback().unwrap().finished(&done);
    }

    fn out_of_band(&self, index: u32, load: &LoadReport) {
        self.picker.feedback().unwrap().reported(&Reported::out_of_band(slot(index), self.now, load));
    }

    /// Reports every second for this long.
    fn report_for(&mut self, seconds: u32, loads: &[(u32, LoadReport)]) {
        for _ in 0..seconds {
            loads.iter().for_each(|(index, load)| self.trailers(*index, load));
            self.pass(SECOND);
        }
    }

    fn counts(&self, picks: usize) -> Vec<usize> {
        Caller::new(1).count(&*self.picker, self.view.len(), picks)
    }
}

fn load(qps: f64, utilization: f64) -> LoadReport {
    LoadReport { qps, application_utilization: utilization, ..LoadReport::default() }
}

#[test]
fn fields_are_checked_and_have_defaults() {
    let full = json!({
        "enableOobLoadReport": true, "oobReportingPeriod": "5s", "blackoutPeriod": "-1s", "weightExpirationPeriod": "60.5s",
        "weightUpdatePeriod": "0.01s", "errorUtilizationPenalty": 2, "metricNamesForComputingUtilization": ["named_metrics.x", "new"],
    });
    let policy = WeightedRoundRobin::from_config(&full).unwrap();
    let (rule, default) = (&policy.rule, WeightedRoundRobin::default());
    assert_eq!(
        (rule.out_of_band, rule.blackout, rule.expiration),
        (Some(5 * SECOND), Duration::ZERO, Duration::from_millis(60_500))
    );
    assert_eq!((rule.penalty, rule.metrics.len(), policy.update), (2.0, 1, Duration::from_millis(100)));
    for empty in [json!({}), json!({"unknown": [], "blackoutPeriod": null})] {
        let policy = WeightedRoundRobin::from_config(&empty).unwrap();
        assert_eq!((&policy.rule, policy.update), (&default.rule, SECOND));
    }
    for (field, value) in [
        ("enableOobLoadReport", json!("yes")),
        ("oobReportingPeriod", json!("1m")),
        ("blackoutPeriod", json!("10")),
        ("weightExpirationPeriod", json!("")),
        ("weightUpdatePeriod", json!(1)),
        ("errorUtilizationPenalty", json!(-1)),
        ("metricNamesForComputingUtilization", json!([1])),
    ] {
        let error = WeightedRoundRobin::from_config(&json!({field: value})).unwrap_err();
        assert_eq!(error.field, format!("weighted_round_robin.{field}"));
    }
}

#[test]
fn it_asks_for_the_reports_it_uses_and_for_updates_while_there_is_a_choice() {
    let world = World::new(json!({"weightUpdatePeriod": "2s"}), ready(2));
    assert!(world.plan.load_reports.per_call && world.plan.load_reports.out_of_band.is_none());
    assert_eq!(world.plan.wake_at, Some(world.now + 2 * SECOND));
    let world = World::new(json!({"enableOobLoadReport": true}), ready(1));
    assert!(!world.plan.load_reports.per_call && world.plan.load_reports.out_of_band == Some(10 * SECOND));
    assert_eq!((world.plan.wake_at, world.counts(10)), (None, vec![10]), "one endpoint: all calls, no timer");
    let world = World::new(json!({"weightUpdatePeriod": "300000000000s"}), view(&[Ready, Ready, TransientFailure]));
    assert!(world.plan.wake_at.is_none_or(|at| at > world.now));
}

#[test]
fn weights_are_calls_by_utilization_after_the_next_update() {
    let mut world = World::at_once(2);
    world.trailers(0, &load(10.0, 1.0));
    world.trailers(1, &load(10.0, 0.1));
    assert_eq!(world.counts(100), [50, 50], "not before");
    world.pass(SECOND);
    assert_eq!(world.counts(1_100), [100, 1_000]);
    assert_eq!(count_fresh(&*world.picker, 2, 1_100), [100, 1_000]);
    assert_eq!(Caller::new(1).explain(&*world.picker)[1].reason, "weight 100.0 by its load");
}

#[test]
fn each_schedule_is_measured_and_what_is_old_is_not_what_is_new() {
    let told = |world: &World| match &world.plan.measurements[..] {
        [Measurement::Schedule(told)] => (told.fallback, told.not_yet_usable, told.stale, told.weights.to_vec()),
        other => panic!("{other:?}"),
    };
    assert_eq!(told(&World::at_once(1)), (true, 1, 0, vec![0.0]), "one endpoint has nobody to be weighed against");
    let mut world = World::new(json!({"blackoutPeriod": "0s", "weightExpirationPeriod": "10s"}), ready(3));
    assert_eq!(told(&world), (true, 3, 0, vec![0.0; 3]));
    world.trailers(0, &load(10.0, 1.0));
    world.trailers(1, &load(10.0, 0.1));
    world.pass(SECOND);
    assert_eq!(told(&world), (false, 1, 0, vec![10.0, 100.0, 0.0]));
    world.trailers(1, &load(10.0, 0.1));
    world.pass(9 * SECOND);
    assert_eq!(told(&world), (true, 1, 1, vec![0.0, 100.0, 0.0]), "the first is too old");
    assert!(World::new(json!({}), view(&[Connecting])).plan.measurements.is_empty(), "there is no schedule");
    let mut world = World::new(json!({"blackoutPeriod": "5s"}), ready(2));
    world.report_for(3, &[(0, load(10.0, 1.0)), (1, load(10.0, 1.0))]);
    assert_eq!(told(&world), (true, 2, 0, vec![0.0; 2]), "they are in their blackout");
}

#[test]
fn the_application_says_more_than_the_cpu() {
    let mut world = World::at_once(2);
    world.trailers(0, &LoadReport { cpu_utilization: 0.1, ..load(10.0, 1.0) });
    world.trailers(1, &LoadReport { cpu_utilization: 0.5, ..load(10.0, 0.0) });
    world.pass(SECOND);
    assert_eq!(world.counts(300), [100, 200]);
}

#[test]
fn reports_of_the_other_kind_are_ignored() {
    let config = json!({"blackoutPeriod": "0s", "enableOobLoadReport": true});
    for (out_of_band, config) in [(true, config), (false, json!({"blackoutPeriod": "0s"}))] {
        let mut world = World::new(config, ready(2));
        let tell = |world: &World, right: bool, index: u32, load: &LoadReport| {
            if right == out_of_band { world.out_of_band(index, load) } else { world.trailers(index, load) }
        };
        tell(&world, true, 0, &load(10.0, 1.0));
        tell(&world, true, 1, &load(10.0, 0.5));
        tell(&world, false, 1, &load(10.0, 0.001));
        world.pass(SECOND);
        assert_eq!(world.counts(300), [100, 200], "out of band: {out_of_band}");
    }
}

#[test]
fn blackout_counts_from_the_first_report_since_ready() {
    let mut world = World::new(json!({}), ready(2));
    let loads = [(0, load(10.0, 1.0)), (1, load(10.0, 0.5))];
    world.pass(60 * SECOND);
    world.report_for(9, &loads);
    assert_eq!(world.counts(100), [50, 50]);
    world.report_for(1, &loads);
    assert_eq!(world.counts(300), [100, 200]);
    // Another connection: the weights are there, and wait again for reports and ten seconds.
    world.view[1].state = Connecting;
    world.rebuild();
    world.view[1].state = Ready;
    world.rebuild();
    world.pass(20 * SECOND);
    assert_eq!(world.counts(100), [50, 50], "no report since");
    world.report_for(9, &loads);
    assert_eq!(world.counts(100), [50, 50]);
    world.report_for(1, &loads);
    assert_eq!(world.counts(300), [100, 200]);
}

#[test]
fn a_weight_expires_and_its_blackout_begins_again() {
    let mut world = World::new(json!({"weightExpirationPeriod": "30s"}), ready(3));
    let loads = [(0, load(10.0, 1.0)), (1, load(20.0, 1.0)), (2, load(90.0, 1.0))];
    world.report_for(11, &loads);
    assert_eq!(world.counts(1_200), [100, 200, 900]);
    world.report_for(28, &loads[..2]);
    assert_eq!(world.counts(1_200), [100, 200, 900]);
    world.report_for(1, &loads[..2]);
    // 10 : 20 : 15; scaled weights are rounded to 16 bits, so over 900 picks a share may be one off.
    let mean = |counts: Vec<usize>| counts.iter().zip([200, 400, 300_usize]).all(|(count, all)| count.abs_diff(all) <= 1);
    assert!(mean(world.counts(900)), "{:?}", world.counts(900));
    world.report_for(9, &loads);
    assert!(mean(world.counts(900)), "{:?}", world.counts(900));
    world.report_for(1, &loads);
    assert_eq!(world.counts(1_200), [100, 200, 900]);
}

#[test]
fn errors_count_as_utilization() {
    for (penalty, expected) in [(json!(0), 200.0), (json!(null), 100.0), (json!(1), 100.0), (json!(2), 66.7)] {
        let mut world = World::new(json!({"blackoutPeriod": "0s", "errorUtilizationPenalty": penalty}), ready(2));
        world.trailers(0, &LoadReport { eps: 50.0, ..load(100.0, 0.5) });
        world.trailers(1, &LoadReport { eps: -50.0, ..load(100.0, 1.0) });
        world.pass(SECOND);
        let reasons: Vec<String> = Caller::new(1).explain(&*world.picker).into_iter().map(|score| score.reason).collect();
        assert_eq!(reasons, [format!("weight {expected:.1} by its load"), "weight 100.0 by its load".into()], "{penalty}");
    }
}

#[test]
fn what_says_nothing_is_ignored() {
    let mut world = World::at_once(3);
    (0..3).for_each(|index| world.trailers(index, &load(10.0 * f64::from(index + 1), 1.0)));
    for bad in [
        load(0.0, 0.5),
        load(10.0, 0.0),
        load(f64::NAN, 0.5),
        load(10.0, f64::NAN),
        load(10.0, -1.0),
        load(-10.0, 0.5),
        load(f64::INFINITY, 0.5),
        load(f64::MAX, f64::MIN_POSITIVE),
        LoadReport { eps: 5.0, ..load(0.0, 0.5) },
        LoadReport::default(),
    ] {
        world.trailers(0, &bad);
    }
    world.pass(SECOND);
    assert_eq!(world.counts(600), [100, 200, 300]);
    // They do not keep a weight alive either.
    world.pass(170 * SECOND);
    world.trailers(0, &load(0.0, 0.5));
    (1..3).for_each(|index| world.trailers(index, &load(10.0 * f64::from(index + 1), 1.0)));
    world.pass(20 * SECOND);
    assert_eq!(Caller::new(1).explain(&*world.picker)[0].reason, "no usable load reports, counts as the mean");
}

#[test]
fn utilization_by_configured_metrics() {
    let names = json!(["mem_utilization", "named_metrics.queue.depth", "utilization.disk", "cpu_utilization", "unheard_of", "x.y"]);
    let rule = WeightedRoundRobin::from_config(&json!({"metricNamesForComputingUtilization": names})).unwrap().rule;
    let weight = |change: &dyn Fn(&mut LoadReport)| {
        let mut load = load(100.0, 0.5);
        change(&mut load);
        rule.weight(&load)
    };
    assert_eq!(weight(&|_| ()), Some(200.0), "none was said: as without");
    assert_eq!(weight(&|load| load.mem_utilization = 0.25), Some(400.0));
    assert_eq!(weight(&|load| _ = load.named_metrics.insert("queue.depth".into(), 4.0)), Some(25.0), "split at the first dot");
    assert_eq!(weight(&|load| (load.mem_utilization, load.cpu_utilization) = (0.8, 0.2)), Some(125.0), "the largest");
    assert_eq!(weight(&|load| _ = load.utilization.insert("disk".into(), f64::NAN)), Some(200.0));
    assert_eq!(weight(&|load| _ = load.utilization.insert("disk".into(), -1.0)), Some(200.0));
}

#[test]
fn an_endpoint_without_reports_counts_as_the_mean() {
    let mut world = World::at_once(3);
    world.trailers(0, &load(2.0, 1.0));
    world.pass(SECOND);
    assert_eq!(world.counts(300), [100; 3], "one weight says nothing");
    world.trailers(1, &load(4.0, 1.0));
    world.pass(SECOND);
    assert_eq!(world.counts(900), [200, 400, 300]);
}

#[test]
fn weights_of_the_view_until_two_are_measured_and_stages_after() {
    let mut view = weighted(&[1, 3, 0, 4]);
    view.iter_mut().for_each(|row| row.endpoint = Arc::new(Endpoint::clone(&row.endpoint).with_weight(row.weight)));
    let mut world = World::new(json!({"blackoutPeriod": "0s"}), view);
    assert_eq!(world.counts(800), [100, 300, 0, 400]);
    world.trailers(0, &load(10.0, 1.0));
    world.trailers(2, &load(10.0, 1.0));
    world.pass(SECOND);
    assert_eq!(world.counts(800), [100, 300, 0, 400], "of those that take calls only one is measured");
    (0..4).for_each(|index| world.trailers(index, &load(10.0, 1.0)));
    world.pass(SECOND);
    assert_eq!(world.counts(300), [100, 100, 0, 100], "measured alike; weight 0 still takes nothing");
    world.view[3].weight = 2;
    world.rebuild();
    assert_eq!(world.counts(500), [200, 200, 0, 100], "a stage has halved the last one");
}

#[test]
fn weights_follow_the_endpoint_not_its_place() {
    let mut world = World::at_once(3);
    (0..3).for_each(|index| world.trailers(index, &load(10.0 * f64::from(index + 1), 1.0)));
    world.view.reverse();
    world.rebuild();
    assert_eq!(world.counts(600), [100, 200, 300]);
    // Out of the view for a while: kept, but a new endpoint in the same place knows nothing.
    let hidden = world.view.remove(0);
    world.rebuild();
    assert_eq!(world.counts(300)[..2], [100, 200]);
    world.view.push(hidden);
    world.rebuild();
    assert_eq!(world.counts(600), [100, 200, 300]);
    let old = Arc::clone(world.picker.feedback().unwrap());
    world.view[2].slot = Slot::new(2, 1);
    world.rebuild();
    assert_eq!(world.counts(900), [200, 400, 300], "the mean");
    old.finished(&Done::new(slot(2), world.now, SECOND, Outcome::Success).with_load(Some(&load(90.0, 1.0))));
    world
        .picker
        .feedback()
        .unwrap()
        .finished(&Done::new(slot(2), world.now, SECOND, Outcome::Success).with_load(Some(&load(90.0, 1.0))));
    world.picker.feedback().unwrap().finished(&Done::new(slot(77), world.now, SECOND, Outcome::Success));
    world.pass(SECOND);
    assert_eq!(world.counts(900), [200, 400, 300], "a call of the old one ends late");
}

#[test]
fn feedback_is_kept_by_restrictions_and_while_the_endpoints_are_the_same() {
    let mut world = World::at_once(3);
    (0..3).for_each(|index| world.trailers(index, &load(10.0 * f64::from(index + 1), 1.0)));
    let before = Arc::clone(world.picker.feedback().unwrap());
    world.pass(SECOND);
    let restricted = world.picker.restrict(&|s| s != slot(1));
    assert_eq!(Caller::new(1).count(&*restricted, 3, 400), [100, 0, 300]);
    assert!(Arc::ptr_eq(&before, restricted.feedback().unwrap()));
}

#[test]
fn the_sequence_goes_on_across_updates() {
    let mut world = World::at_once(3);
    (0..3).for_each(|index| world.trailers(index, &load(10.0 * f64::from(index + 1), 1.0)));
    world.pass(SECOND);
    let mut caller = Caller::new(1);
    let mut picked = Vec::new();
    for _ in 0..12 {
        picked.push(caller.slot(&*world.picker).index());
        world.rebuild();
    }
    assert_eq!(picked, [1, 2, 2, 0, 1, 2, 1, 2, 2, 0, 1, 2]);
}

#[test]
fn without_ready_endpoints_calls_see_their_errors() {
    let world = World::new(json!({}), view(&[TransientFailure; 2]));
    assert!(Caller::new(1).error(&*world.picker).contains("refused by 0"));
    assert!(world.plan.wake_at.is_none() && world.picker.feedback().is_none());
}
