use std::sync::Arc;

use http::HeaderMap;
use serde_json::json;

use super::*;
use crate::connectivity::ConnectivityState::{self, Connecting, Idle, Ready, TransientFailure};
use crate::hints::PickHints;
use crate::pick::{PickArgs, PickResult, Picker};
use crate::policies::lookup::tests::counts;
use crate::policies::testing::{Caller, ready, rebuild, slot, start, view, weighted};
use crate::scratch::Scratch;
use crate::slot::Slot;

fn policy() -> RingHash {
    RingHash::from_config(&json!({})).unwrap()
}

fn with_header() -> RingHash {
    RingHash::from_config(&json!({"requestHashHeader": "user"})).unwrap()
}

fn ring(members: &[(&str, u32)], min: u32, max: u32) -> Ring {
    let members: Vec<Member> = members.iter().map(|(key, weight)| Member { key: (*key).into(), weight: *weight }).collect();
    Ring::new(&members, Size { min, max, per_weight: None })
}

fn plan_of(policy: &mut RingHash, view: &[SubchannelView]) -> (LbState, Plan) {
    let mut plan = Plan::default();
    (policy.rebuild(start(), view, &mut plan), plan)
}

/// Rows in these states; row `i` is the `i`-th by key.
fn states_of(states: &[ConnectivityState]) -> Vec<SubchannelView> {
    view(states)
}

#[test]
fn configuration_table() {
    let sizes = |config| RingHash::from_config(&config).map(|policy| (policy.min, policy.max));
    assert_eq!(sizes(json!({})), Ok((1024, 4096)));
    assert_eq!(sizes(json!({"minRingSize": 0, "maxRingSize": null, "unknown": []})), Ok((1024, 4096)));
    assert_eq!(sizes(json!({"minRingSize": MOST, "maxRingSize": MOST})), Ok((MOST, MOST)));
    for (config, field) in [
        (json!({"minRingSize": MOST + 1, "maxRingSize": MOST}), "minRingSize"),
        (json!({"maxRingSize": MOST + 1}), "maxRingSize"),
        (json!({"minRingSize": 10, "maxRingSize": 9}), "minRingSize"),
        (json!({"minRingSize": 5000}), "minRingSize"),
        (json!({"maxRingSize": 1000}), "minRingSize"),
        (json!({"minRingSize": "10"}), "minRingSize"),
        (json!({"minRingSize": -1}), "minRingSize"),
        (json!({"pointsPerWeight": 0}), "pointsPerWeight"),
        (json!({"pointsPerWeight": 4097}), "pointsPerWeight"),
        (json!({"pointsPerWeight": 1.5}), "pointsPerWeight"),
        (json!({"requestHashHeader": "foo-bin"}), "requestHashHeader"),
        (json!({"hashBalanceFactor": 99}), "hashBalanceFactor"),
    ] {
        assert_eq!(sizes(config.clone()).unwrap_err().field, format!("ring_hash_experimental.{field}"), "{config}");
    }
}

#[test]
fn sizes_are_cut_at_the_cap_after_they_are_checked() {
    let points = |policy: RingHash| {
        let mut policy = policy;
        rebuild(&mut policy, &ready(4));
        policy.hashing.table().unwrap().places()
    };
    let large = json!({"minRingSize": 8192, "maxRingSize": 8192});
    assert_eq!(points(RingHash::from_config(&large).unwrap()), 4096);
    assert_eq!(points(RingHash::from_config(&large).unwrap().with_cap(16)), 16);
    assert_eq!(points(RingHash::from_config(&large).unwrap().with_cap(u32::MAX)), 8192);
}

#[test]
fn points_per_member() {
    assert_eq!(counts(&ring(&[("a", 1), ("b", 1), ("c", 1)], 1024, 4096), 3), [342; 3]);
    assert_eq!(counts(&ring(&[("a", 3), ("b", 3), ("c", 4)], 10, 20), 3), [3, 3, 4]);
    assert_eq!(counts(&ring(&[("a", 1), ("b", 100_000)], 1024, 4096), 2), [1, 4095]);
    assert_eq!(counts(&ring(&[("a", 100_000), ("b", 1)], 1024, 4096), 2), [4096, 0]);
    let names: Vec<String> = (0..3000).map(|index| format!("{index:04}")).collect();
    let many: Vec<(&str, u32)> = names.iter().map(|name| (name.as_str(), 7)).collect();
    assert_eq!(counts(&ring(&many, 1024, 4096), 3000), [1; 3000]);
}

#[test]
fn points_come_in_the_published_order() {
    let ring = ring(&[("a", 3), ("b", 3), ("c", 4)], 10, 20);
    let order: String = ring.points.iter().map(|point| ['a', 'b', 'c'][point.member as usize]).collect();
    assert_eq!(order, "abcbbaccca");
    let hashes: Vec<u64> = ["a_2", "b_2", "c_1", "b_0"].iter().map(|text| hash::hash(text.as_bytes())).collect();
    assert!(ring.points.iter().zip(&hashes).all(|(point, hash)| point.hash == *hash));
}

#[test]
fn a_hash_leads_to_the_first_point_at_or_after_it() {
    for size in [1, 2, 3, 10, 1000] {
        let ring = ring(&[("a", 1)], size, size);
        let naive = |hash: u64| ring.points.iter().position(|point| point.hash >= hash).unwrap_or(0);
        let near = ring.points.iter().flat_map(|point| [point.hash.wrapping_sub(1), point.hash, point.hash.wrapping_add(1)]);
        for hash in near.chain([0, 1, u64::MAX, u64::MAX - 1, 1 << 63, (1 << 63) - 1]) {
            assert_eq!(ring.find(hash), naive(hash), "{hash} among {size}");
        }
        let widths: f64 = (0..ring.places()).map(|place| ring.width(place)).sum();
        assert!((widths - 1.0).abs() < 1e-9);
    }
}

#[test]
fn absurd_weights_do_not_overflow() {
    let ring = ring(&[("a", u32::MAX), ("b", u32::MAX), ("c", 1), ("d", 0)], 1024, 4096);
    let counts = counts(&ring, 4);
    assert!(ring.places() <= 4097 && counts[0].abs_diff(counts[1]) <= 1 && counts[3] == 0, "{counts:?}");
    assert_eq!(points(&[Member { key: "a".into(), weight: 5 }], Size { min: 1, max: 1, per_weight: None }).len(), 1);
}

#[test]
fn a_key_stays_and_goes_on_to_the_next_endpoint_while_its_own_is_down() {
    let (mut policy, mut caller) = (policy(), Caller::new(1));
    let mut view = ready(3);
    let picker = rebuild(&mut policy, &view).picker;
    let home = caller.with_key("user-1").slot(&*picker);
    assert!((0..10).all(|_| caller.slot(&*picker) == home));
    view[home.index()].state = TransientFailure;
    let second = caller.slot(&*rebuild(&mut policy, &view).picker);
    assert_ne!(second, home);
    view[second.index()].state = TransientFailure;
    let third = caller.slot(&*rebuild(&mut policy, &view).picker);
    assert!(third != home && third != second);
    view[home.index()].state = Ready;
    assert_eq!(caller.slot(&*rebuild(&mut policy, &view).picker), home);
}

#[test]
fn only_the_endpoint_a_call_needs_is_connected() {
    let (mut policy, mut caller) = (policy(), Caller::new(1));
    let mut view = states_of(&[Idle; 3]);
    let (lb, plan) = plan_of(&mut policy, &view);
    assert_eq!((lb.state, plan.connect.len()), (Idle, 0));
    let PickResult::Connect(wanted) = caller.with_key("user-1").pick(&*lb.picker) else { panic!("nothing is connected") };
    view[wanted.index()].state = Connecting;
    let (lb, plan) = plan_of(&mut policy, &view);
    assert_eq!((lb.state, plan.connect), (Connecting, vec![wanted]));
    assert!(matches!(caller.pick(&*lb.picker), PickResult::Queue));
    view[wanted.index()].state = Ready;
    let (lb, plan) = plan_of(&mut policy, &view);
    assert_eq!((lb.state, plan.connect.len(), caller.slot(&*lb.picker)), (Ready, 0, wanted));
}

#[test]
fn a_lost_connection_is_not_replaced_before_a_call() {
    let (mut policy, mut caller) = (policy(), Caller::new(1));
    let mut view = ready(1);
    rebuild(&mut policy, &view);
    view[0].state = Idle;
    let (lb, plan) = plan_of(&mut policy, &view);
    assert_eq!((lb.state, plan.connect.len()), (Idle, 0));
    assert!(matches!(caller.with_key("k").pick(&*lb.picker), PickResult::Connect(_)));
}

#[test]
fn states_of_endpoints_become_one() {
    for (states, expected) in [
        (&[Ready, TransientFailure, TransientFailure][..], Ready),
        (&[TransientFailure, TransientFailure, Connecting], TransientFailure),
        (&[TransientFailure, Connecting, Idle], Connecting),
        (&[TransientFailure, Idle], Connecting),
        (&[Idle, Idle], Idle),
        (&[TransientFailure], TransientFailure),
        (&[], TransientFailure),
    ] {
        assert_eq!(rebuild(&mut policy(), &states_of(states)).state, expected, "{states:?}");
    }
}

#[test]
fn while_nothing_is_ready_one_endpoint_after_the_other_is_connected() {
    let mut policy = policy();
    let mut view = states_of(&[TransientFailure, Idle, Idle, Idle]);
    let (_, plan) = plan_of(&mut policy, &view);
    assert_eq!(plan.connect, [slot(0), slot(1)], "the failed one is tried again, and the first idle one");
    view[1].state = Connecting;
    assert_eq!(plan_of(&mut policy, &view).1.connect, [slot(0), slot(1)], "one at a time");
    view.remove(1);
    assert_eq!(plan_of(&mut policy, &view).1.connect, [slot(0), slot(2)], "it has gone, and another one starts");
    view[0].state = Ready;
    assert!(plan_of(&mut policy, &view).1.connect.is_empty());
}

#[test]
fn all_failed_is_the_error_of_the_first_on_the_walk() {
    let (mut policy, mut caller) = (policy(), Caller::new(1));
    let mut view = ready(3);
    let home = caller.with_key("user-1").slot(&*rebuild(&mut policy, &view).picker);
    for (index, row) in view.iter_mut().enumerate() {
        (row.state, row.error) = (TransientFailure, Some(format!("refused by {index}").into()));
    }
    let error = caller.error(&*rebuild(&mut policy, &view).picker);
    assert!(error.ends_with(&format!("refused by {}", home.index())), "{error}");
}

#[test]
fn without_key_and_header_calls_fail() {
    let picker = rebuild(&mut policy(), &ready(3)).picker;
    assert_eq!(Caller::new(1).error(&*picker), "the call has no hash key, and the policy no requestHashHeader");
}

#[test]
fn the_header_decides_and_its_values_are_joined() {
    let (picker, mut caller) = (rebuild(&mut with_header(), &ready(50)).picker, Caller::new(1));
    caller.headers.append("user", "a".parse().unwrap());
    caller.headers.append("user", "b".parse().unwrap());
    let joined = caller.slot(&*picker);
    caller.headers.clear();
    caller.headers.append("user", "a,b".parse().unwrap());
    assert_eq!(caller.slot(&*picker), joined);
    assert_eq!(Caller::new(2).with_key("a,b").slot(&*picker), joined);
}

#[test]
fn calls_without_the_header_spread_as_weights_say() {
    for weights in [[1, 1, 1], [1, 2, 3]] {
        let mut policy = with_header();
        let picker = rebuild(&mut policy, &weighted(&weights)).picker;
        let counts = Caller::new(1).count(&*picker, 3, 30_000);
        let shares = Caller::new(1).explain(&*picker);
        for ((count, weight), score) in counts.iter().zip(weights).zip(&shares) {
            let (share, exact) = (f64::from(weight) / f64::from(weights.iter().sum::<u32>()), score.total);
            // Binomial: five sigma around the ring's share are at most 433; that differs from the weight's by up to 1/√342 · 4.
            assert!((*count as f64 - exact * 30_000.0).abs() < 433.0, "{counts:?} {exact}");
            assert!((exact / share - 1.0).abs() < 4.0 / 342_f64.sqrt(), "{exact} for {share}");
        }
    }
}

/// A pick without key, and what it asks to be connected for others.
fn pick_and_wish(picker: &dyn Picker, seed: u64) -> (PickResult, Option<Slot>) {
    let (headers, hints, mut scratch) = (HeaderMap::new(), PickHints::default(), Scratch::new(seed));
    let mut args = PickArgs::new(start(), "/s/m", &headers, &hints, &mut scratch);
    (picker.pick(&mut args), args.connect)
}

#[test]
fn a_random_call_uses_what_is_ready_and_wakes_at_most_one() {
    let mut policy = with_header();
    let picker = rebuild(&mut policy, &states_of(&[Ready, Idle, Idle])).picker;
    let picks: Vec<_> = (0..100).map(|seed| pick_and_wish(&*picker, seed)).collect();
    assert!(picks.iter().all(|(result, _)| matches!(result, PickResult::Pick(picked) if *picked == slot(0))));
    let woken = picks.iter().filter(|(_, wish)| wish.is_some_and(|wish| wish != slot(0))).count();
    assert!((40..95).contains(&woken), "those that passed an idle one, about two thirds: {woken}");

    let picker = rebuild(&mut policy, &states_of(&[Ready, Connecting, Idle])).picker;
    assert!((0..100).all(|seed| matches!(pick_and_wish(&*picker, seed), (PickResult::Pick(_), None))), "one is connecting");

    let picker = rebuild(&mut policy, &states_of(&[TransientFailure, Connecting, Idle])).picker;
    assert!((0..100).all(|seed| matches!(pick_and_wish(&*picker, seed), (PickResult::Queue, None))));

    let picker = rebuild(&mut policy, &states_of(&[TransientFailure, Idle, Idle])).picker;
    assert!((0..100).all(|seed| matches!(pick_and_wish(&*picker, seed), (PickResult::Connect(_), None))));
}

#[test]
fn the_ring_is_kept_until_keys_weights_or_sizes_change() {
    let mut policy = policy();
    let mut view = ready(3);
    let ring = |policy: &mut RingHash, view: &[SubchannelView]| {
        rebuild(policy, view);
        Arc::as_ptr(policy.hashing.table().unwrap())
    };
    let first = ring(&mut policy, &view);
    let kept = Arc::clone(policy.hashing.table().unwrap());
    view[1].state = TransientFailure;
    view.swap(0, 2);
    assert_eq!(ring(&mut policy, &view), first, "a state and the order");
    view[0].weight = 2;
    assert_ne!(ring(&mut policy, &view), first, "a weight");
    drop(kept);
}

#[test]
fn a_change_of_weight_changes_shares() {
    let mut policy = policy();
    let share = |policy: &mut RingHash, weights: &[u32]| {
        Caller::new(1).with_key("k").explain(&*rebuild(policy, &weighted(weights)).picker)[0].total
    };
    assert!(share(&mut policy, &[1, 1]) < 0.6);
    assert!(share(&mut policy, &[9, 1]) > 0.8);
}

#[test]
fn the_first_address_or_the_id_is_the_position() {
    let addresses = |order: [&str; 2], id: Option<&str>| {
        let mut view = ready(8);
        let mut endpoint = crate::endpoint::Endpoint::with_addresses(order.map(|text| text.parse().unwrap())).unwrap();
        endpoint.attributes.id = id.map(Into::into);
        view[3].endpoint = Arc::new(endpoint);
        Caller::new(1).slots_of_keys(&*rebuild(&mut policy(), &view).picker, 500)
    };
    let (ab, ba) = (["10.9.0.1:1", "10.9.0.2:1"], ["10.9.0.2:1", "10.9.0.1:1"]);
    assert_ne!(addresses(ab, None), addresses(ba, None));
    assert_eq!(addresses(ab, Some("orders-3")), addresses(ba, Some("orders-3")));
    assert_eq!(addresses(ab, Some("orders-3")), addresses(["10.7.7.7:1", "10.7.7.8:1"], Some("orders-3")));
}

/// How many of the keys move when an endpoint leaves, and how many of them were its own.
fn moved(count: usize, gone: usize) -> (usize, usize) {
    moved_with(&json!({}), count, gone)
}

fn moved_with(config: &Value, count: usize, gone: usize) -> (usize, usize) {
    let (view, mut caller) = (ready(count), Caller::new(1));
    let mut slots = |view: &[SubchannelView]| {
        let mut policy = RingHash::from_config(config).unwrap();
        caller.slots_of_keys(&*rebuild(&mut policy, view).picker, KEYS)
    };
    let before = slots(&view);
    let mut rest = view;
    rest.remove(gone);
    let after = slots(&rest);
    let moved = before.iter().zip(&after).filter(|(before, after)| before != after).count();
    (moved, before.iter().filter(|slot| slot.index() == gone).count())
}

const KEYS: usize = 5_000;

#[test]
fn one_of_n_that_leaves_moves_little_more_than_two_shares() {
    // Its own, and as much between the others: the ring is to have 1024 points, so each of those gets more of them.
    for count in [3, 5, 10] {
        let moved: Vec<usize> = (0..count).map(|gone| moved(count, gone).0).collect();
        let mean = moved.iter().sum::<usize>() / count;
        assert!(mean * count <= 2 * KEYS && moved.iter().all(|moved| moved * count <= 5 * KEYS / 2), "{moved:?}");
    }
}

#[test]
fn where_points_per_endpoint_stay_the_same_nothing_else_moves() {
    for gone in [0, 300, 599] {
        let (moved, own) = moved(600, gone);
        assert_eq!(moved, own);
    }
}

#[test]
fn with_points_per_weight_an_endpoint_takes_its_own_keys_with_it_and_no_others() {
    let config = json!({"pointsPerWeight": 128});
    for count in [2, 3, 5, 10, 40, 100] {
        for gone in [0, count / 2, count - 1] {
            let (moved, own) = moved_with(&config, count, gone);
            assert_eq!(moved, own, "{gone} of {count}");
            assert!(2 * moved * count <= 3 * KEYS, "{moved} of {KEYS} keys for {gone} of {count}: more than 1.5/n");
        }
    }
}

#[test]
fn with_points_per_weight_a_weight_is_as_many_points_until_the_cap() {
    let points = |weights: &[u32], cap: Option<u32>| {
        let mut policy = RingHash::from_config(&json!({"pointsPerWeight": 10})).unwrap();
        policy.cap = cap;
        rebuild(&mut policy, &weighted(weights));
        counts(&**policy.hashing.table().unwrap(), weights.len())
    };
    assert_eq!(points(&[1, 3], None), [10, 30]);
    assert_eq!(points(&[1, 3], Some(20)), [5, 15]);
    assert_eq!(points(&[1, 1, 1], None), [10; 3], "minRingSize means nothing then");
}

#[test]
fn later_attempts_and_restrictions_go_on_along_the_ring() {
    let (picker, mut caller) = (rebuild(&mut policy(), &ready(5)).picker, Caller::new(1));
    let home = caller.with_key("user-1").slot(&*picker);
    let second = caller.slot_after(&*picker, &[home]);
    assert_ne!(second, home);
    assert_eq!(caller.slot(&*picker.restrict(&|slot| slot != home)), second, "the same walk");
    let all: Vec<Slot> = (0..5).map(slot).collect();
    assert_eq!(caller.slot_after(&*picker, &all), home, "all tried: as if none was");
    assert!(caller.error(&*picker.restrict(&|_| false)).contains("restrictions"));
    let keys = caller.slots_of_keys(&*picker, 200);
    let others = caller.slots_of_keys(&*picker.restrict(&|slot| slot != home), 200);
    assert!(keys.iter().zip(&others).all(|(one, other)| one == other || *one == home));
}
