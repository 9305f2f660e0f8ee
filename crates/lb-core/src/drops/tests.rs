use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::policy::ConfigError;
use Denominator::{Hundred, Million, TenThousand};

fn dropper(categories: impl IntoIterator<Item = (&'static str, u32, Denominator)>) -> Dropper {
    Dropper::new(drops(categories))
}

fn drops(categories: impl IntoIterator<Item = (&'static str, u32, Denominator)>) -> DropOverloads {
    let drop = |(name, numerator, denominator)| DropOverload::new(name, numerator, denominator).unwrap();
    DropOverloads::new(categories.into_iter().map(drop)).unwrap()
}

/// So many calls, and which category dropped how many of them.
fn run(dropper: &Dropper, seed: u64, calls: u32) -> BTreeMap<&str, u32> {
    let mut scratch = Scratch::new(seed);
    let mut dropped = BTreeMap::new();
    for drop in (0..calls).filter_map(|_| dropper.decide(&mut scratch)) {
        *dropped.entry(&**drop.category()).or_default() += 1;
    }
    dropped
}

fn counts(dropper: &Dropper) -> Vec<(String, u64)> {
    dropper.counts().into_iter().map(|(name, count)| (name.to_string(), count)).collect()
}

/// How many of a million calls this share is.
fn share(numerator: u32, denominator: Denominator) -> u32 {
    DropOverload::new("x", numerator, denominator).unwrap().per_million()
}

/// Five standard deviations of a binomial: one false alarm in 1.7 million.
fn about(dropped: u32, calls: u32, per_million: u32) -> bool {
    let (calls, share) = (f64::from(calls), f64::from(per_million) / 1e6);
    (f64::from(dropped) - calls * share).abs() <= 5.0 * (calls * share * (1.0 - share)).sqrt() + 1e-9
}

#[test]
fn three_denominators_mean_one_scale_and_more_than_all_is_all() {
    assert_eq!([share(5, Hundred), share(5, TenThousand), share(5, Million)], [50_000, 500, 5]);
    assert_eq!([share(100, Hundred), share(10_000, TenThousand), share(1_000_000, Million)], [1_000_000; 3]);
    for denominator in [Hundred, TenThousand, Million] {
        assert_eq!([share(0, denominator), share(1_000_001, denominator), share(u32::MAX, denominator)], [0, MILLION, MILLION]);
    }
}

#[test]
fn each_denominator_drops_its_share() {
    for (numerator, denominator) in [(30, Hundred), (3_000, TenThousand), (300_000, Million)] {
        let dropper = dropper([("lb", numerator, denominator)]);
        let dropped = run(&dropper, 3, 100_000).get("lb").copied().unwrap_or_default();
        assert!(about(dropped, 100_000, 300_000), "{dropped} of 100 000 for {numerator} {denominator:?}");
    }
}

#[test]
fn none_drops_none_and_all_drops_all() {
    for denominator in [Hundred, TenThousand, Million] {
        assert_eq!(run(&dropper([("none", 0, denominator)]), 1, 10_000), BTreeMap::new());
        let all = dropper([("none", 0, denominator), ("all", 1_000_000, denominator), ("late", 1_000_000, denominator)]);
        assert_eq!(run(&all, 1, 10_000), BTreeMap::from([("all", 10_000)]));
        assert_eq!(counts(&all), [("all".into(), 10_000), ("late".into(), 0), ("none".into(), 0)]);
    }
    assert_eq!(run(&dropper([]), 1, 100), BTreeMap::new());
}

#[test]
fn the_first_that_hits_counts_and_each_category_has_a_trial_of_its_own() {
    let dropper = dropper([("first", 50, Hundred), ("second", 50, Hundred), ("third", 50, Hundred)]);
    let dropped = run(&dropper, 7, 100_000);
    for (name, per_million) in [("first", 500_000), ("second", 250_000), ("third", 125_000)] {
        assert!(about(dropped[name], 100_000, per_million), "{dropped:?}");
    }
    let counted: u64 = dropper.counts().values().sum();
    assert_eq!(counted, u64::from(dropped.values().sum::<u32>()), "each under one");
}

#[test]
fn a_name_that_stands_twice_is_tried_twice_and_counted_together() {
    let dropper = dropper([("lb", 50, Hundred), ("lb", 50, Hundred)]);
    let dropped = run(&dropper, 7, 10_000)["lb"];
    assert!(about(dropped, 10_000, 750_000), "{dropped}");
    assert_eq!(counts(&dropper), [("lb".into(), dropped.into())]);
}

#[test]
fn counts_outlive_the_list() {
    let first = dropper([("a", 100, Hundred), ("b", 1, Hundred)]);
    run(&first, 1, 10);
    let second = first.after(drops([("c", 100, Hundred), ("a", 1, Hundred)]));
    run(&second, 1, 5);
    let none = second.after(DropOverloads::default());
    // A call that still goes by the first list counts, too.
    run(&first, 1, 1);
    assert_eq!(counts(&none), [("a".into(), 11), ("b".into(), 0), ("c".into(), 5)]);
    assert_eq!(run(&none, 1, 100), BTreeMap::new());
}

#[test]
fn names_beyond_the_most_are_counted_together() {
    let mut dropper = dropper([]);
    for n in 0..MAX_COUNTED + 10 {
        let drop = DropOverload::new(format!("c{n}"), 100, Hundred).unwrap();
        dropper = dropper.after(DropOverloads::new([drop]).unwrap());
        run(&dropper, 1, 3);
    }
    let counts = dropper.counts();
    assert_eq!((counts.len(), counts["c0"], counts["c63"], counts[OTHER]), (MAX_COUNTED + 1, 3, 3, 30));
    // One that has a place keeps it.
    let back = dropper.after(drops([("c0", 100, Hundred)]));
    run(&back, 1, 1);
    assert_eq!((back.counts()["c0"], back.counts()[OTHER]), (4, 30));
}

fn read(list: serde_json::Value) -> Result<DropOverloads, ConfigError> {
    DropOverloads::from_json(&list)
}

#[test]
fn envoys_json_is_read() {
    let list = read(json!([
        {"category": "lb", "dropPercentage": {"numerator": 5, "denominator": "HUNDRED"}, "unknown": {}},
        {"category": "throttle", "dropPercentage": {"numerator": 5, "denominator": "TEN_THOUSAND", "unknown": 1}},
        {"category": "x", "dropPercentage": {"numerator": 4_294_967_295_u32, "denominator": "MILLION"}},
        {"category": "default", "dropPercentage": {"numerator": 7, "denominator": null}},
        {"category": "zero", "dropPercentage": {}}
    ]));
    let expected = [
        ("lb", 5, Hundred),
        ("throttle", 5, TenThousand),
        ("x", 1_000_000, Million),
        ("default", 7, Hundred),
        ("zero", 0, Hundred),
    ];
    assert_eq!(list.unwrap(), drops(expected));
    assert!(read(json!([])).unwrap().is_empty());
}

#[test]
fn what_is_wrong_is_named() {
    let share = json!({"numerator": 5});
    for (list, field, allowed) in [
        (json!({}), "dropOverloads", "a list of objects"),
        (json!("lb"), "dropOverloads", "a list of objects"),
        (json!(vec![json!({"category": "x", "dropPercentage": {}}); 33]), "dropOverloads", "at most 32 categories"),
        (json!([5]), "dropOverloads[0]", "an object"),
        (json!([{"dropPercentage": share}]), "dropOverloads[0].category", "a text"),
        (json!([{"category": 1, "dropPercentage": share}]), "dropOverloads[0].category", "a text"),
        (json!([{"category": "", "dropPercentage": share}]), "dropOverloads[0].category", "a text of 1 to 128 bytes"),
        (json!([{"category": "x".repeat(129), "dropPercentage": share}]), "dropOverloads[0].category", "a text of 1 to 128 bytes"),
        (json!([{"category": "x"}]), "dropOverloads[0].dropPercentage", "an object"),
        (json!([{"category": "x", "dropPercentage": 5}]), "dropOverloads[0].dropPercentage", "an object"),
        (
            json!([{"category": "x", "dropPercentage": share}, {"category": "y", "dropPercentage": {"numerator": -1}}]),
            "dropOverloads[1].dropPercentage.numerator",
            "a whole number from 0 to 4294967295",
        ),
        (
            json!([{"category": "x", "dropPercentage": {"numerator": 1.5}}]),
            "dropOverloads[0].dropPercentage.numerator",
            "a whole number from 0 to 4294967295",
        ),
        (
            json!([{"category": "x", "dropPercentage": {"numerator": 4_294_967_296_u64}}]),
            "dropOverloads[0].dropPercentage.numerator",
            "a whole number from 0 to 4294967295",
        ),
        (
            json!([{"category": "x", "dropPercentage": {"numerator": 1, "denominator": "THOUSAND"}}]),
            "dropOverloads[0].dropPercentage.denominator",
            "\"HUNDRED\", \"TEN_THOUSAND\" or \"MILLION\"",
        ),
        (
            json!([{"category": "x", "dropPercentage": {"numerator": 1, "denominator": 100}}]),
            "dropOverloads[0].dropPercentage.denominator",
            "\"HUNDRED\", \"TEN_THOUSAND\" or \"MILLION\"",
        ),
    ] {
        let error = read(list.clone()).unwrap_err();
        assert_eq!((&*error.field, &*error.allowed), (field, allowed), "{list}: {error}");
    }
    let many = (0..=MAX_CATEGORIES).map(|_| DropOverload::new("x", 1, Hundred).unwrap());
    assert_eq!(DropOverloads::new(many).unwrap_err().field, "dropOverloads");
}

fn any_list() -> impl Strategy<Value = serde_json::Value> {
    let leaf = prop_oneof![
        Just(json!(null)),
        any::<u64>().prop_map(|number| json!(number)),
        any::<f64>().prop_map(|number| json!(number)),
        prop_oneof![Just("HUNDRED"), Just("TEN_THOUSAND"), Just("MILLION")].prop_map(|name| json!(name)),
        ".{0,140}".prop_map(|text| json!(text)),
    ];
    let share = (leaf.clone(), leaf.clone())
        .prop_map(|(numerator, denominator)| json!({"numerator": numerator, "denominator": denominator}));
    let share = prop_oneof![4 => share, 1 => leaf.clone()];
    let category = (leaf.clone(), share).prop_map(|(name, share)| json!({"category": name, "dropPercentage": share}));
    let category = prop_oneof![8 => category, 1 => leaf.clone()];
    prop_oneof![8 => prop::collection::vec(category, 0..40).prop_map(|list| json!(list)), 1 => leaf]
}

proptest! {
    #[test]
    fn half_is_half_within_five_percent_whatever_the_seed(seed in any::<u64>()) {
        let dropped = run(&dropper([("lb", 50, Hundred)]), seed, 10_000).get("lb").copied().unwrap_or_default();
        // Ten standard deviations.
        prop_assert!((4_500..=5_500).contains(&dropped), "{}", dropped);
    }

    #[test]
    fn the_same_seed_drops_the_same_calls(seed in any::<u64>(), shares in prop::collection::vec(0..=1_000_000_u32, 0..4)) {
        let list = DropOverloads::new(shares.iter().map(|share| DropOverload::new("x", *share, Million).unwrap())).unwrap();
        let decide = || {
            let (dropper, mut scratch) = (Dropper::new(list.clone()), Scratch::new(seed));
            (0..200).map(|_| dropper.decide(&mut scratch).is_some()).collect::<Vec<_>>()
        };
        prop_assert_eq!(decide(), decide());
    }

    #[test]
    fn any_list_is_read_or_refused_by_name(list in any_list()) {
        match read(list) {
            Ok(read) => {
                prop_assert!(read.list().len() <= MAX_CATEGORIES);
                prop_assert!(read.list().iter().all(|drop| drop.per_million() <= MILLION && (1..=MAX_NAME).contains(&drop.category().len())));
            }
            Err(error) => prop_assert!(error.field.starts_with("dropOverloads") && !error.allowed.is_empty()),
        }
    }
}
