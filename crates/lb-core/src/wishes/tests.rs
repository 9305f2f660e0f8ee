use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

use super::*;
use crate::attributes::Locality;
use crate::connectivity::ConnectivityState::{self, Connecting, Ready, TransientFailure};
use crate::endpoint::Endpoint;
use crate::feedback::Done;
use crate::hints::PickHints;
use crate::load::LoadReport;
use crate::pick::PickArgs;
use crate::policies::testing::{rebuild, slot, start};
use crate::policy::SubchannelView;
use crate::registry::PolicyRegistry;
use crate::scratch::Scratch;
use crate::slot::Slot;
use crate::snapshot::NamedPicker;
use crate::stats::Outcome;

mod limits;
mod recall;

const POLICIES: [&str; 4] = ["round_robin", "random", "least_request", "weighted_round_robin"];

/// Endpoint `n` is called `e{n}`; `edit` gives it attributes.
fn view(states: &[ConnectivityState], edit: impl Fn(usize, &mut Endpoint)) -> Vec<SubchannelView> {
    let mut view = crate::policies::testing::view(states);
    for (number, row) in view.iter_mut().enumerate() {
        let mut endpoint = Endpoint::clone(&row.endpoint);
        endpoint.attributes.id = Some(format!("e{number}").into());
        edit(number, &mut endpoint);
        row.weight = endpoint.attributes.weight;
        row.endpoint = Arc::new(endpoint);
    }
    view
}

fn ready(count: usize, edit: impl Fn(usize, &mut Endpoint)) -> Vec<SubchannelView> {
    view(&vec![Ready; count], edit)
}

fn snapshot(policies: &[&str], view: &[SubchannelView]) -> Snapshot {
    let picker = |name: &&str| {
        let mut policy = PolicyRegistry::default().build(name, &Value::Null).unwrap();
        NamedPicker { name: (*name).into(), picker: rebuild(&mut *policy, view).picker }
    };
    let mut snapshot = Snapshot::initial();
    snapshot.pickers = policies.iter().map(picker).collect();
    snapshot.rows = view.iter().map(|view| Row { view: view.clone(), excluded: None }).collect();
    snapshot
}

/// Somebody who calls with wishes.
struct Wisher {
    scratch: Scratch,
    now: std::time::Instant,
    tried: Vec<Slot>,
}

impl Wisher {
    fn new() -> Self {
        Self { scratch: Scratch::new(1), now: start(), tried: Vec::new() }
    }

    fn choose<'s>(&mut self, snapshot: &'s Snapshot, hints: &PickHints) -> Choice<'s> {
        let headers = http::HeaderMap::new();
        snapshot.choose(&mut PickArgs::new(self.now, "/s/m", &headers, hints, &mut self.scratch).with_tried(&self.tried))
    }

    fn picked(&mut self, snapshot: &Snapshot, hints: &PickHints) -> usize {
        match self.choose(snapshot, hints) {
            Choice::Pick { slot, .. } => slot.index(),
            other => panic!("expected a pick, got {other:?}"),
        }
    }

    /// How often each of `n` endpoints is picked.
    fn count(&mut self, snapshot: &Snapshot, hints: &PickHints, picks: usize) -> Vec<usize> {
        let mut counts = vec![0; snapshot.rows.len()];
        (0..picks).for_each(|_| counts[self.picked(snapshot, hints)] += 1);
        counts
    }

    /// Which endpoints are picked.
    fn count_of(&mut self, snapshot: &Snapshot, hints: &PickHints, picks: usize) -> BTreeSet<usize> {
        (0..picks).map(|_| self.picked(snapshot, hints)).collect()
    }

    fn unfit_now(&mut self, snapshot: &Snapshot, hints: &PickHints) -> Unfit {
        let headers = http::HeaderMap::new();
        snapshot.unfit(&PickArgs::new(self.now, "/s/m", &headers, hints, &mut self.scratch))
    }

    fn unfit(&mut self, snapshot: &Snapshot, hints: &PickHints) -> String {
        match self.choose(snapshot, hints) {
            Choice::Unfit(unfit) => unfit.to_string(),
            other => panic!("expected nothing to fit, got {other:?}"),
        }
    }

    fn explain(&mut self, snapshot: &Snapshot, hints: &PickHints) -> Vec<Explained> {
        let headers = http::HeaderMap::new();
        snapshot.explain(&mut PickArgs::new(self.now, "/s/m", &headers, hints, &mut self.scratch)).unwrap()
    }
}

fn busy(view: &SubchannelView, calls: usize) {
    (0..calls).for_each(|_| view.stats.begin());
}

fn gpu(number: usize, endpoint: &mut Endpoint) {
    if number % 2 == 1 {
        endpoint.attributes.capabilities = ["gpu".into(), format!("odd{number}").as_str().into()].into();
    }
}

#[test]
fn conditions_leave_those_who_meet_them_and_the_policy_chooses_among_these() {
    let snapshot = snapshot(&POLICIES, &ready(6, gpu));
    for policy in POLICIES {
        let mut wisher = Wisher::new();
        let hints = PickHints::new().policy(policy).require("gpu").exclude("e3");
        let counts = wisher.count(&snapshot, &hints, 1000);
        // Random among two: sigma is 16; five sigma is 80.
        assert!(counts[1].abs_diff(500) <= 80 && counts[1] + counts[5] == 1000, "{policy} {counts:?}");
    }
    let mut wisher = Wisher::new();
    assert_eq!(wisher.count(&snapshot, &PickHints::new().require("gpu"), 9), [0, 3, 0, 3, 0, 3], "round robin among three");
    assert_eq!(wisher.picked(&snapshot, &PickHints::new().require("gpu").require("odd5")), 5);
    // By key as by id.
    assert_eq!(wisher.picked(&snapshot, &PickHints::new().pin("10.0.0.4:1")), 4);
    assert_eq!(wisher.picked(&snapshot, &PickHints::new().pin("e4").policy("random")), 4);
}

#[test]
fn the_error_counts_what_each_condition_removed() {
    let mut all = view(&[Ready, Ready, Ready, TransientFailure, Ready, Ready, Ready, Ready], |number, endpoint| {
        gpu(number, endpoint);
        endpoint.attributes.capacity = Some(10);
    });
    busy(&all[5], 9);
    busy(&all[7], 10);
    let mut snapshot = snapshot(&["round_robin"], &all);
    let mut wisher = Wisher::new();
    let hints = PickHints::new().require("gpu").exclude("e1").not_overloaded();
    let expected = "of 8 endpoints: 4 without gpu, 2 above load 0.8, 1 excluded, 1 in TRANSIENT_FAILURE";
    assert_eq!(wisher.unfit(&snapshot, &hints), expected);
    assert!(wisher.unfit_now(&snapshot, &hints).is_load());
    assert_eq!(wisher.unfit_now(&snapshot, &hints).removed_by(&Misfit::Lacks("gpu".into())), 4);
    assert_eq!(wisher.unfit(&snapshot, &PickHints::new().pin("nobody")), "of 8 endpoints: 8 not the pinned nobody");
    snapshot.rows.iter_mut().for_each(|row| row.excluded = Some("drained"));
    assert_eq!(wisher.unfit(&snapshot, &PickHints::new().require("gpu")), "of 8 endpoints: 4 without gpu, 4 drained");
    // Room for a cost: nine in flight leave one of ten.
    all[5].endpoint = Arc::clone(&all[7].endpoint);
    let snapshot = self::snapshot(&["round_robin"], &all[5..6]);
    assert_eq!(wisher.picked(&snapshot, &PickHints::new().cost(1)), 5);
    assert_eq!(wisher.unfit(&snapshot, &PickHints::new().cost(2)), "of 1 endpoint: 1 without room for a cost of 2");
    assert!(wisher.unfit(&snapshot, &PickHints::new().cost(u32::MAX)).contains("4294967295"));
}

#[test]
fn who_meets_the_conditions_and_is_not_ready_answers_as_the_policy_does() {
    let snapshot = snapshot(&["round_robin"], &view(&[Ready, Connecting, TransientFailure], |_, _| {}));
    let mut wisher = Wisher::new();
    assert!(matches!(wisher.choose(&snapshot, &PickHints::new().pin("e1")), Choice::Queue));
    let Choice::Fail(error) = wisher.choose(&snapshot, &PickHints::new().pin("e2")) else { panic!() };
    assert!(error.to_string().ends_with("refused by 2"), "{error}");
    assert!(matches!(wisher.choose(&snapshot, &PickHints::new().policy("nonesuch")), Choice::UnknownPolicy));
    // Before the first answer of the resolver nobody can say that nothing fits.
    assert!(matches!(wisher.choose(&Snapshot::initial(), &PickHints::new().require("gpu")), Choice::Queue));
}

#[test]
fn a_fitting_endpoint_is_found_however_few_there_are() {
    let all = ready(100, |_, endpoint| endpoint.attributes.capacity = Some(10));
    all.iter().enumerate().filter(|(number, _)| *number != 77).for_each(|(_, row)| busy(row, 10));
    let snapshot = snapshot(&POLICIES, &all);
    for policy in POLICIES {
        let mut wisher = Wisher::new();
        for hints in [PickHints::new().not_overloaded(), PickHints::new().cost(3), PickHints::new().cost(1).exclude("e5")] {
            let counts = wisher.count(&snapshot, &hints.policy(policy), 50);
            assert_eq!(counts[77], 50, "{policy}");
        }
    }
    // Tried before: still the only one.
    let mut wisher = Wisher { tried: vec![slot(77)], ..Wisher::new() };
    assert_eq!(wisher.picked(&snapshot, &PickHints::new().cost(1)), 77);
}

#[test]
fn drawing_again_keeps_the_policys_proportions_and_later_attempts_go_elsewhere() {
    let all = ready(8, |number, endpoint| {
        endpoint.attributes.capacity = Some(10);
        endpoint.attributes.weight = if number < 4 { 1 } else { 3 };
    });
    busy(&all[0], 9);
    busy(&all[4], 9);
    let snapshot = snapshot(&["weighted_round_robin"], &all);
    let counts = Wisher::new().count(&snapshot, &PickHints::new().not_overloaded(), 1200);
    // Of weight 12 left, an endpoint of weight 1 gets 100 and one of weight 3 gets 300, give or take the turns of the busy.
    assert!(counts[0] == 0 && counts[4] == 0, "{counts:?}");
    assert!(counts[1..4].iter().all(|count| count.abs_diff(100) < 40), "{counts:?}");
    assert!(counts[5..].iter().all(|count| count.abs_diff(300) < 60), "{counts:?}");
    let mut wisher = Wisher { tried: vec![slot(1), slot(2), slot(5)], ..Wisher::new() };
    let counts = wisher.count(&snapshot, &PickHints::new().not_overloaded(), 100);
    assert_eq!([0, 1, 2, 4, 5].map(|index| counts[index]), [0; 5], "{counts:?}");
}

#[test]
fn load_is_the_greater_of_what_is_known() {
    let all = ready(4, |number, endpoint| endpoint.attributes.capacity = (number < 2).then_some(10));
    let mut report = LoadReport { application_utilization: 0.9, ..LoadReport::default() };
    [0, 2].into_iter().for_each(|index: usize| all[index].stats.report(start(), &report));
    report.application_utilization = 0.5;
    all[1].stats.report(start(), &report);
    let snapshot = snapshot(&["round_robin"], &all);
    let counts = Wisher::new().count(&snapshot, &PickHints::new().not_overloaded(), 100);
    assert_eq!((counts[0], counts[2]), (0, 0), "reported 0.9; unknown passes: {counts:?}");
    assert!(counts[1] > 40 && counts[3] > 40, "{counts:?}");
    // A capacity of nothing has room for nothing.
    let none = self::snapshot(&["round_robin"], &ready(1, |_, endpoint| endpoint.attributes.capacity = Some(0)));
    assert!(matches!(Wisher::new().choose(&none, &PickHints::new().below_load(1.0)), Choice::Unfit(_)));
}

#[test]
fn preferred_ones_come_first_while_they_can_take_the_call() {
    let all = ready(6, |number, endpoint| {
        gpu(number, endpoint);
        endpoint.attributes.capacity = Some(10);
    });
    let snapshot = snapshot(&["round_robin"], &all);
    let mut wisher = Wisher::new();
    let hints = PickHints::new().prefer("e1").prefer("e2").prefer("gone").not_overloaded();
    assert_eq!(wisher.count(&snapshot, &hints, 10), [0, 5, 5, 0, 0, 0], "the policy chooses among the preferred");
    assert_eq!(wisher.picked(&snapshot, &hints.clone().require("gpu")), 1, "a preference does not break a condition");
    busy(&all[1], 9);
    assert_eq!(wisher.count(&snapshot, &hints, 10)[2], 10);
    busy(&all[2], 9);
    assert_eq!(wisher.count(&snapshot, &hints, 100)[1..3], [0, 0], "busy: the others, and nobody waits");
    wisher.tried = vec![slot(3)];
    assert_ne!(wisher.picked(&snapshot, &PickHints::new().prefer("e3")), 3, "a retry does not insist");
}

fn region(number: usize) -> Locality {
    let names = [("eu", "a"), ("eu", "b"), ("us", "a"), ("us", "b"), ("asia", "a")];
    let (region, zone) = names[number / 2];
    Locality::new(region, zone, "")
}

fn answered(view: &SubchannelView, millis: u64) {
    view.stats.begin();
    view.stats.finish(&Done::new(view.slot, start(), Duration::from_millis(millis), Outcome::Success));
}

#[test]
fn the_preferred_region_first_and_else_the_nearest_by_latency() {
    let all = ready(10, |number, endpoint| endpoint.attributes.locality = region(number));
    for (number, millis) in [(4, 80), (6, 90), (8, 20), (0, 5), (2, 1)] {
        answered(&all[number], millis);
    }
    let eu = PickHints::new().prefer_region("eu");
    let whole = snapshot(&["round_robin"], &all);
    assert_eq!(Wisher::new().count(&whole, &eu, 40), [10, 10, 10, 10, 0, 0, 0, 0, 0, 0]);
    let zone = PickHints::new().prefer_locality(Locality::new("eu", "b", ""));
    assert_eq!(Wisher::new().count(&whole, &zone, 40)[2..4], [20, 20]);
    // Without the region: asia, which is nearer than us. Without the zone: the other zone of the region.
    let rest = snapshot(&["round_robin"], &all[4..]);
    assert_eq!(Wisher::new().count_of(&rest, &eu, 40), [8, 9].into());
    let rest = snapshot(&["round_robin"], &[&all[..2], &all[4..]].concat());
    assert_eq!(Wisher::new().count_of(&rest, &zone, 40), [0, 1].into());
    // Conditions hold in every place: excluded in asia, so us.
    let picky = eu.exclude("e8").exclude("e9").exclude("e4").exclude("e5");
    assert_eq!(Wisher::new().count_of(&snapshot(&["round_robin"], &all[4..]), &picky, 40), [6, 7].into());
}

#[test]
fn a_locality_that_was_never_measured_gets_a_measurement() {
    let all = ready(10, |number, endpoint| endpoint.attributes.locality = region(number));
    answered(&all[4], 80);
    let rest = snapshot(&["random"], &all[4..]);
    let mut wisher = Wisher::new();
    let eu = PickHints::new().prefer_region("eu");
    let asia = |wisher: &mut Wisher| (0..3200).filter(|_| wisher.picked(&rest, &eu) >= 8).count();
    // One in 32 of 3 200 is 100, sigma 10; five sigma is 50.
    let explored = asia(&mut wisher);
    assert!(explored.abs_diff(100) < 50, "{explored}");
    answered(&all[8], 20);
    assert!(asia(&mut wisher).abs_diff(100) < 50, "a mean is believed for a second");
    wisher.now += Duration::from_secs(1);
    assert_eq!(asia(&mut wisher), 3200);
}

#[test]
fn a_region_that_is_full_or_not_ready_does_not_hold_a_call() {
    let place = |number: usize, endpoint: &mut Endpoint| {
        endpoint.attributes.locality = region(number);
        endpoint.attributes.capacity = Some(1);
    };
    let all = view(&[Ready, Connecting, TransientFailure, Ready, Ready], place);
    busy(&all[0], 1);
    busy(&all[3], 1);
    let snapshot = snapshot(&["round_robin"], &all);
    assert_eq!(Wisher::new().picked(&snapshot, &PickHints::new().prefer_region("eu").cost(1)), 4);
    let all = view(&[TransientFailure, Connecting], |number, endpoint| place(4 * number, endpoint));
    let snapshot = self::snapshot(&["round_robin"], &all);
    assert!(matches!(Wisher::new().choose(&snapshot, &PickHints::new().prefer_region("eu")), Choice::Queue));
}

#[test]
fn more_constraints_than_are_remembered_are_met_all_the_same() {
    let all = ready(5, |number, endpoint| endpoint.attributes.locality = region(number));
    let snapshot = snapshot(&["round_robin"], &all);
    let mut wisher = Wisher::new();
    for n in 0..1000 {
        let odd = format!("10.9.0.{n}:1");
        assert_eq!(
            wisher.picked(&snapshot, &PickHints::new().exclude(&*odd).exclude("e0").exclude("e1").exclude("e2").exclude("e4")),
            3
        );
        assert!(wisher.picked(&snapshot, &PickHints::new().exclude(&*odd).prefer_region("us")) == 4);
    }
    let counts = wisher.count(&snapshot, &PickHints::new().exclude("new").exclude("e0"), 400);
    assert!(counts[0] == 0 && counts[1..].iter().all(|count| count.abs_diff(100) < 40), "{counts:?}");
    assert_eq!(wisher.unfit(&snapshot, &PickHints::new().require("new")), "of 5 endpoints: 5 without new");
    assert_eq!(snapshot.derived.remembered(), derived::MAX_DERIVED);
}

#[test]
fn explanations_say_why_each_is_in_or_out() {
    let all = view(&[Ready, Ready, TransientFailure, Ready, Ready], |number, endpoint| {
        gpu(number, endpoint);
        endpoint.attributes.locality = region(number);
    });
    let snapshot = snapshot(&["round_robin"], &all);
    let rows = Wisher::new().explain(&snapshot, &PickHints::new().prefer_region("eu").exclude("e0"));
    let reasons: Vec<(&str, f64)> = rows.iter().map(|row| (&*row.reason, row.total)).collect();
    assert_eq!(reasons[0], ("excluded", 0.0));
    assert_eq!(reasons[1].1, 0.5, "{reasons:?}");
    assert!(reasons[2].0.contains("refused by 2"), "{reasons:?}");
    assert_eq!((reasons[3].1, reasons[4]), (0.5, ("less preferred", 0.0)));
    assert_eq!((rows[1].endpoint.as_str(), rows[1].id.as_deref()), ("10.0.0.1:1", Some("e1")));
    let headers = http::HeaderMap::new();
    let (hints, mut scratch) = (PickHints::new().policy("nonesuch"), Scratch::new(1));
    assert!(snapshot.explain(&mut PickArgs::new(start(), "/s/m", &headers, &hints, &mut scratch)).is_none());
}

#[test]
fn names_find_keys_and_ids() {
    let snapshot =
        snapshot(&["random"], &ready(300, |number, endpoint| endpoint.attributes.id = Some(format!("e{}", number / 2).into())));
    let find = |name: &str| -> Vec<usize> { snapshot.find(&name.into()).map(|row| row.view.slot.index()).collect() };
    assert_eq!((find("10.0.1.3:1"), find("e100"), find("e200")), (vec![259], vec![200, 201], vec![]));
    // An id of two is a choice for the policy.
    let counts = Wisher::new().count(&snapshot, &PickHints::new().pin("e7"), 100);
    assert!(counts[14] > 20 && counts[14] + counts[15] == 100, "{:?}", &counts[14..16]);
}
