use serde_json::json;

use super::*;
use crate::policies::lookup::tests::{counts, members};
use crate::policies::testing::{Caller, ready, rebuild};

fn named(keys: &[(&str, u32)]) -> Vec<Member> {
    keys.iter().map(|(key, weight)| Member { key: (*key).into(), weight: *weight }).collect()
}

#[test]
fn configuration_table() {
    let size = |config| Maglev::from_config(&config).map(|policy| policy.places);
    assert_eq!(size(json!({})), Ok(65_537));
    assert_eq!(size(json!({"tableSize": 5_000_011})), Ok(5_000_011));
    assert_eq!((size(json!({"tableSize": 2})), size(json!({"tableSize": 7}))), (Ok(2), Ok(7)));
    for bad in [json!(0), json!(1), json!(65_536), json!(5_000_077), json!(-7), json!("7"), json!(4_294_967_291_u32)] {
        assert_eq!(size(json!({"tableSize": bad})).unwrap_err().field, "maglev.tableSize", "{bad}");
    }
}

#[test]
fn the_published_tables() {
    let table = fill(&named(&[("a", 1), ("b", 1), ("c", 1)]), 7);
    let order: String = table.iter().map(|member| ['a', 'b', 'c'][*member as usize]).collect();
    assert_eq!(order, "acabbca");
    let table = Lookup::new(fill(&named(&[("a", 1), ("b", 1), ("c", 2)]), 65_537));
    assert_eq!(counts(&table, 3), [16_385, 16_385, 32_767]);
}

/// The fill as the paper and Envoy have it, round by round.
fn fill_round_by_round(members: &[Member], places: u32) -> Vec<u32> {
    let heaviest = members.iter().map(|member| u64::from(member.weight)).max().unwrap();
    let mut orders: Vec<Order> = members.iter().map(|member| Order::new(&member.key, places)).collect();
    let mut table = vec![u32::MAX; places as usize];
    let mut targets = vec![0; members.len()];
    let mut free = places;
    for round in 1_u64.. {
        for (index, member) in members.iter().enumerate() {
            if round * u64::from(member.weight) < targets[index] {
                continue;
            }
            targets[index] += heaviest;
            let place = orders[index].next_free(&table);
            table[place] = index as u32;
            free -= 1;
            if free == 0 {
                return table;
            }
        }
    }
    table
}

#[test]
fn skipping_rounds_gives_the_same_table() {
    for weights in [&[1, 1, 1][..], &[1, 2, 3, 4], &[7, 7, 1, 100], &[1000, 1, 1], &[5], &[3, 3, 2, 5, 1]] {
        let members = members(weights);
        assert!(*fill(&members, 1_009) == fill_round_by_round(&members, 1_009), "{weights:?}");
    }
}

#[test]
fn shares_are_within_two_per_cent() {
    for count in [2, 3, 10, 100, 1_000, 1_300] {
        let counts = counts(&Lookup::new(fill(&members(&vec![1; count]), DEFAULT_PLACES)), count);
        let mean = 65_537.0 / count as f64;
        assert!(counts.iter().all(|places| (*places as f64 / mean - 1.0).abs() <= 0.02), "{count}");
    }
}

#[test]
fn more_members_than_places_and_absurd_weights_end() {
    assert_eq!(counts(&Lookup::new(fill(&members(&[1; 20]), 7)), 20).iter().sum::<usize>(), 7);
    let counts = counts(&Lookup::new(fill(&members(&[1, u32::MAX, 0, u32::MAX]), 1_009)), 4);
    assert_eq!((counts[0], counts[2]), (1, 0));
    assert_eq!(*fill(&members(&[1]), 2), [0, 0]);
}

#[test]
fn one_of_n_that_leaves_moves_its_share_and_little_more() {
    for (count, more) in [(3, 0.01), (10, 0.01), (100, 0.01), (1_000, 0.01)] {
        let mut all = members(&vec![1; count]);
        all.sort_by(|one, other| one.key.cmp(&other.key));
        let before = fill(&all, DEFAULT_PLACES);
        for gone in [0, count / 2, count - 1] {
            let mut rest = all.clone();
            rest.remove(gone);
            let after = fill(&rest, DEFAULT_PLACES);
            let same = |(before, after): &(&u32, &u32)| all[**before as usize].key == rest[**after as usize].key;
            let moved = 1.0 - before.iter().zip(&after).filter(same).count() as f64 / 65_537.0;
            assert!(moved <= 1.0 / count as f64 + more, "{moved} of {count}");
        }
    }
}

#[test]
fn a_call_without_key_goes_anywhere_and_one_with_a_key_stays() {
    let picker = rebuild(&mut Maglev::from_config(&json!({})).unwrap(), &ready(4)).picker;
    // Binomial: five sigma of 40 000 at a quarter are 433.
    assert!(Caller::new(1).count(&*picker, 4, 40_000).iter().all(|count| count.abs_diff(10_000) < 433));
    let mut caller = Caller::new(1);
    let keys = caller.slots_of_keys(&*picker, 100);
    assert_eq!(Caller::new(2).slots_of_keys(&*picker, 100), keys);
}
