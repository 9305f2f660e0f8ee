use std::collections::BTreeMap;
use std::collections::BTreeSet;

use lb_core::Locality;
use lb_core::ResolveErrorKind;
use proptest::prelude::*;

use super::*;
use crate::testing::*;

fn fleet(count: usize) -> Vec<Endpoint> {
    (0..count).map(|at| endpoint(&format!("10.0.{}.{}:50051", at / 250, at % 250 + 1))).collect()
}

fn chosen(mut endpoints: Vec<Endpoint>, most: usize, client: &str) -> BTreeSet<String> {
    choose(&mut endpoints, most, client);
    endpoints.iter().map(|endpoint| endpoint.key().to_string()).collect()
}

fn described() -> Vec<Endpoint> {
    let mut all = endpoints(&["10.0.0.1:1", "10.0.0.2:1", "10.0.0.3:1"]);
    all[0].attributes.capabilities = ["gpu".into()].into();
    all[1].attributes.locality = Locality::new("eu", "eu-b", "");
    all[2].attributes.locality = Locality::new("eu", "eu-c", "");
    all[2].attributes.metadata = BTreeMap::from([("tier".into(), "gold".into())]);
    all
}

#[test]
fn each_filter_lets_its_own_through() {
    let passing = |configure: fn(FilteredResolver) -> FilteredResolver| {
        let (source, handle) = fake("a");
        handle.endpoints(described());
        keys(now(&mut open(&configure(FilteredResolver::new("mine", source))).0))
    };
    assert_eq!(passing(|it| it).len(), 3);
    assert_eq!(passing(|it| it.capability("gpu")), ["10.0.0.1:1"]);
    assert_eq!(passing(|it| it.capability("GPU")), [""; 0]);
    assert_eq!(passing(|it| it.region("eu")), ["10.0.0.2:1", "10.0.0.3:1"]);
    assert_eq!(passing(|it| it.region("eu").zone("eu-b")), ["10.0.0.2:1"]);
    assert_eq!(passing(|it| it.metadata("tier", "gold")), ["10.0.0.3:1"]);
    assert_eq!(passing(|it| it.metadata("tier", "")), [""; 0]);
    assert_eq!(passing(|it| it.filter("odd", |it| it.key().as_str() != "10.0.0.2:1")).len(), 2);
    assert_eq!(passing(|it| it.region("eu").at_most(0, "me")).len(), 1);
}

#[test]
fn nothing_left_is_said_and_errors_pass() {
    let (source, handle) = fake("a");
    let (mut stream, again) = open(&FilteredResolver::new("mine", source).capability("gpu").filter("luck", |_| false));
    handle.endpoints(described());
    let set = now(&mut stream).unwrap().unwrap();
    assert_eq!(set.note.as_deref(), Some("none of the 3 endpoints of a:///orders has capability \"gpu\" and luck"));
    handle.endpoints([]);
    assert_eq!(now(&mut stream).unwrap().unwrap().note, None);
    handle.error(ResolveError::new(ResolveErrorKind::NotFound, "no such service"));
    let told = error(now(&mut stream));
    assert_eq!((told.kind(), told.message()), (ResolveErrorKind::NotFound, "a:///orders: no such service"));
    again.fire();
    assert!(now(&mut stream).is_none());
    assert_eq!(handle.again(), 1);
    drop(stream);
    assert_eq!(handle.watching(), 0);
}

proptest! {
    #[test]
    fn one_that_leaves_or_joins_moves_one(count in 2_usize..80, most in 1_usize..20, client in "[a-z]{1,8}", gone in any::<prop::sample::Index>()) {
        let all = fleet(count);
        let before = chosen(all.clone(), most, &client);
        prop_assert_eq!(before.len(), most.min(count));
        let mut fewer = all;
        let gone = fewer.remove(gone.index(count)).key().to_string();
        let after = chosen(fewer, most, &client);
        prop_assert!(before.difference(&after).all(|key| *key == gone));
        prop_assert!(after.difference(&before).count() <= usize::from(before.contains(&gone)));
    }
}

#[test]
fn the_order_of_the_source_does_not_matter_to_the_choice_and_stays() {
    let mut all = fleet(40);
    let forward = chosen(all.clone(), 7, "me");
    all.reverse();
    let mut kept = all.clone();
    choose(&mut kept, 7, "me");
    assert_eq!(forward, kept.iter().map(|endpoint| endpoint.key().to_string()).collect());
    assert!(kept.is_sorted_by_key(|kept| all.iter().position(|one| one == kept)));
}

#[test]
fn an_id_keeps_its_place_when_the_address_changes_and_equal_ids_do_not_exceed_the_maximum() {
    let named = |id: usize, address: String| {
        let mut one = endpoint(&address);
        one.attributes.id = Some(format!("orders-{id}").into());
        one
    };
    let ids = |mut endpoints: Vec<Endpoint>| {
        choose(&mut endpoints, 5, "me");
        endpoints.into_iter().filter_map(|endpoint| endpoint.attributes.id).collect::<Vec<_>>()
    };
    let before = ids((0..30).map(|id| named(id, format!("10.0.0.{id}:1"))).collect());
    assert_eq!(before, ids((0..30).map(|id| named(id, format!("10.9.9.{id}:1"))).collect()));
    assert_eq!(ids((0..30).map(|at| named(1, format!("10.0.0.{at}:1"))).collect()).len(), 5);
}

/// 1000 clients choose 10 of 50: an endpoint expects 200 of them with a standard deviation of sqrt(200 · 0.8) = 12.6. The furthest of 50 is
/// beyond 5 of those less than once in 30 000 choices of names, and these names are fixed.
#[test]
fn clients_spread_as_chance_would() {
    let mut chosen_by = BTreeMap::<String, u32>::new();
    for client in 0..1000 {
        for key in chosen(fleet(50), 10, &format!("client-{client}")) {
            *chosen_by.entry(key).or_default() += 1;
        }
    }
    assert_eq!(chosen_by.len(), 50);
    assert!(chosen_by.values().all(|count| (137..=263).contains(count)), "{chosen_by:?}");
}
