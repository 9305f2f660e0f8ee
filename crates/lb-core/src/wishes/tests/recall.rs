//! What a channel clone remembers of its last calls never leads a call astray.

use super::*;

/// The same wishes in words of their own, as of a call that made them anew.
fn anew(hints: &PickHints) -> PickHints {
    let mut own = PickHints::new();
    own = hints.require.iter().fold(own, |own, word| own.require(&**word));
    own = hints.exclude.iter().fold(own, |own, name| own.exclude(name.as_str()));
    match &hints.locality {
        Some(place) => own.prefer_locality(Locality::new(&*place.region, &*place.zone, &*place.sub_zone)),
        None => own,
    }
}

#[test]
fn a_generation_is_not_asked_for_what_another_one_had() {
    let hints = PickHints::new().require("gpu");
    let mut wisher = Wisher::new();
    let odd = snapshot(&["round_robin"], &ready(6, gpu));
    assert_eq!(wisher.count(&odd, &hints, 30), [0, 10, 0, 10, 0, 10]);
    // The same endpoints with other capabilities, where other constraints were met first.
    let even = snapshot(&["round_robin"], &ready(6, |number, endpoint| gpu(number + 1, endpoint)));
    for n in 0..40 {
        wisher.picked(&even, &PickHints::new().exclude(format!("e{n}").as_str()));
    }
    for round in 0..3 {
        assert_eq!(wisher.count(&even, &hints, 30), [10, 0, 10, 0, 10, 0], "{round}");
        assert_eq!(wisher.count(&odd, &hints, 30), [0, 10, 0, 10, 0, 10], "{round}");
    }
    let none = snapshot(&["round_robin"], &ready(6, |_, _| {}));
    assert_eq!(wisher.unfit(&none, &hints), "of 6 endpoints: 6 without gpu");
    assert_eq!(wisher.unfit(&none, &hints), "of 6 endpoints: 6 without gpu", "known by now");
}

#[test]
fn many_constraints_in_turn_are_each_met_whether_their_words_are_shared_or_made_anew() {
    let all = ready(10, |number, endpoint| {
        gpu(number, endpoint);
        endpoint.attributes.locality = region(number);
    });
    let snapshot = snapshot(&["round_robin", "random"], &all);
    // More of them than a clone keeps notes, and each with a leader that another one shares.
    let mut wishes: Vec<PickHints> = Vec::new();
    for out in 0..10 {
        let name = EndpointKey::from(format!("e{out}").as_str());
        let plain = PickHints::new().exclude(name.clone());
        wishes.push(plain.clone().require("gpu"));
        wishes.push(plain.clone().exclude("e1"));
        wishes.push(plain.clone().prefer_region("eu"));
        wishes.push(plain.clone().prefer_locality(Locality::new("eu", "b", "")));
        wishes.push(plain.clone().policy("random"));
        wishes.push(plain);
    }
    let mut wisher = Wisher::new();
    for round in 0..20 {
        for hints in &wishes {
            for hints in [hints.clone(), PickHints { policy: hints.policy.clone(), ..anew(hints) }] {
                let picked = wisher.picked(&snapshot, &hints);
                let endpoint = &all[picked].endpoint;
                assert!(hints.allows(endpoint), "{round}: {hints:?} went to {endpoint}");
                if let Some(wanted) = &hints.locality {
                    let there = all
                        .iter()
                        .any(|row| hints.allows(&row.endpoint) && condition::is_within(&row.endpoint.attributes.locality, wanted));
                    assert!(
                        !there || condition::is_within(&endpoint.attributes.locality, wanted),
                        "{round}: {hints:?} went to {endpoint}"
                    );
                }
            }
        }
    }
    assert!(snapshot.derived.remembered() <= wishes.len(), "words made anew are no constraint of their own");
}

#[test]
fn a_region_is_left_and_come_back_to_as_its_load_says() {
    let all = ready(10, |number, endpoint| {
        endpoint.attributes.locality = region(number);
        endpoint.attributes.capacity = Some(10);
    });
    for (number, millis) in [(4, 80), (8, 20)] {
        answered(&all[number], millis);
    }
    let snapshot = snapshot(&["round_robin"], &all);
    let mut wisher = Wisher::new();
    let hints = PickHints::new().prefer_region("eu").exclude("e3").not_overloaded();
    for _ in 0..3 {
        assert_eq!(wisher.count(&snapshot, &hints, 30), [10, 10, 10, 0, 0, 0, 0, 0, 0, 0]);
        all[..4].iter().for_each(|row| busy(row, 9));
        assert_eq!(wisher.count_of(&snapshot, &hints, 30), [8, 9].into(), "asia is nearest");
        all[..4].iter().for_each(|row| (0..9).for_each(|_| row.stats.end(Outcome::Cancelled)));
    }
    // A retry does not insist on the region, but on the conditions.
    wisher.tried = vec![slot(0), slot(1), slot(2)];
    assert_eq!(wisher.count_of(&snapshot, &hints, 30), [8, 9].into());
}

#[test]
fn a_cost_has_room_beside_what_is_taken_and_a_threshold_counts_it_not() {
    let all = ready(2, |_, endpoint| endpoint.attributes.capacity = Some(10));
    let snapshot = snapshot(&["round_robin"], &all);
    let mut wisher = Wisher::new();
    let goes = |wisher: &mut Wisher, hints: PickHints| wisher.count(&snapshot, &hints, 10);
    for row in &all {
        row.stats.begin();
        row.stats.hold(4);
    }
    assert_eq!(goes(&mut wisher, PickHints::new().cost(5)), [5, 5], "five and five are ten");
    assert!(wisher.unfit(&snapshot, &PickHints::new().cost(6)).ends_with("2 without room for a cost of 6"));
    all[0].stats.hold(1);
    assert_eq!(goes(&mut wisher, PickHints::new().cost(5)), [0, 10]);
    assert_eq!(goes(&mut wisher, PickHints::new().below_load(0.5)), [0, 10]);
    assert_eq!(goes(&mut wisher, PickHints::new().below_load(0.6).cost(4)), [5, 5], "six of ten, and four more");
    all[1].stats.hold(2);
    assert!(wisher.unfit(&snapshot, &PickHints::new().below_load(0.5).cost(1)).ends_with("2 above load 0.5"));
    assert_eq!(goes(&mut wisher, PickHints::new().below_load(0.7).cost(3)), [5, 5]);
    assert_eq!(goes(&mut wisher, PickHints::new().below_load(0.7).cost(4)), [10, 0]);
}

#[test]
fn a_stale_slot_is_nobodys() {
    let old = ready(3, |_, endpoint| endpoint.attributes.capacity = Some(10));
    let mut snapshot = snapshot(&["round_robin"], &old);
    for (number, row) in snapshot.rows.iter_mut().enumerate() {
        row.view.slot = Slot::new(number as u32, 1);
    }
    // What the picker draws names endpoints that were there before.
    for hints in [PickHints::new().not_overloaded(), PickHints::new().cost(2)] {
        let Choice::Pick { slot, .. } = Wisher::new().choose(&snapshot, &hints) else { panic!() };
        assert_eq!(slot.generation(), 1);
    }
}
