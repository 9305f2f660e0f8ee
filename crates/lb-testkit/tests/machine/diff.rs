//! What an update of the resolver changes, and what it leaves alone.

use lb_core::ConnectivityState::Ready;
use lb_core::machine::{Effect, Event, MAX_ENDPOINTS};
use lb_core::{Endpoint, LbEvent, Outcome};
use lb_testkit::sim::What;
use lb_testkit::{SimClock, SimNet};

use crate::support::{
    A, B, Bare, C, D, closes, connects, endpoint, endpoint_of, events, generation, keys, latest_attempt, round_robin, row, running,
    secs, slot, states, update,
};

#[test]
fn another_weight_keeps_slot_connection_and_counters() {
    let mut net = running(round_robin(), &[A, B]);
    let (before, stats) = (slot(&net, A), row(&net, A).view.stats.clone());
    stats.begin();
    stats.begin();
    stats.end(Outcome::Success);
    net.resolve_to(update([endpoint(A).with_weight(7), endpoint(B)]));
    net.run_for(secs(10));
    let after = &row(&net, A).view;
    assert_eq!((after.slot, after.weight, after.state, after.endpoint.attributes.weight), (before, 7, Ready, 7));
    assert_eq!((after.stats.in_flight(), after.stats.succeeded()), (1, 1));
    assert_eq!(net.attempts(A).len(), 1);
    assert!(events(&net).contains(&&LbEvent::EndpointUpdated(A.into())));
    assert!(!events(&net).contains(&&LbEvent::EndpointUpdated(B.into())));
}

#[test]
fn other_metadata_keeps_the_connection() {
    let mut net = running(round_robin(), &[A]);
    let mut changed = endpoint(A);
    changed.attributes.metadata.insert("rack".into(), "7".into());
    changed.attributes.id = Some("one".into());
    net.resolve_to(update([changed]));
    net.run_for(secs(1));
    assert_eq!((net.attempts(A).len(), states(&net)), (1, vec![Ready]));
    assert_eq!(row(&net, A).view.endpoint.attributes.id.as_deref(), Some("one"));
}

#[test]
fn another_name_to_verify_reconnects() {
    let mut net = running(round_robin(), &[A, B]);
    let (before, attempt) = latest_attempt(&net, A);
    let mut renamed = endpoint(A);
    renamed.attributes.hostname = Some("a.example".into());
    net.resolve_to(update([renamed.clone(), endpoint(B)]));
    net.run_for(secs(1));
    assert_eq!((closes(&net, attempt), net.attempts(A).len(), net.attempts(B).len()), (1, 2, 1));
    assert_ne!(slot(&net, A), before);
    assert_eq!((keys(&net), states(&net)), (vec![A.to_owned(), B.to_owned()], vec![Ready, Ready]));
    let again = generation(&net);
    net.resolve_to(update([renamed, endpoint(B)]));
    net.run_for(secs(1));
    assert_eq!((generation(&net), net.attempts(A).len()), (again, 2), "the same name again is no change");
}

#[test]
fn the_counters_of_a_removed_endpoint_are_its_own() {
    let mut net = running(round_robin(), &[A]);
    let old = row(&net, A).view.stats.clone();
    old.begin();
    net.resolve([B]);
    net.resolve([A]);
    assert_eq!(row(&net, A).view.stats.in_flight(), 0, "a fresh endpoint");
    old.end(Outcome::Failure);
    assert_eq!((old.in_flight(), old.failed()), (0, 1));
}

#[test]
fn repeated_endpoints_collapse_and_the_first_counts() {
    let mut net = SimNet::new(lb_core::machine::MachineConfig::new(1), round_robin());
    [A, B].iter().for_each(|address| net.up(address));
    net.resolve_to(update([endpoint(A).with_weight(3), endpoint(A).with_weight(9), endpoint(B), endpoint(A)]));
    net.exit_idle();
    net.run_for(secs(1));
    assert_eq!((keys(&net), row(&net, A).view.weight, net.attempts(A).len()), (vec![A.to_owned(), B.to_owned()], 3, 1));
    let before = generation(&net);
    net.resolve_to(update([endpoint(A).with_weight(3), endpoint(B), endpoint(B), endpoint(A).with_weight(1)]));
    assert_eq!(generation(&net), before, "nothing changed");
    // The same set of addresses in any order is one endpoint.
    net.resolve_to(update([endpoint_of(&[A, B]), endpoint_of(&[B, A])]));
    assert_eq!(keys(&net), [format!("{A},{B}")]);
}

#[test]
fn repetition_with_another_hostname_does_not_flap() {
    let mut renamed = endpoint(A);
    renamed.attributes.hostname = Some("a.example".into());
    let mut net = running(round_robin(), &[A, B]);
    for _ in 0..5 {
        net.resolve_to(update([endpoint(A), renamed.clone(), endpoint(B)]));
        net.run_for(secs(2));
    }
    assert_eq!((net.attempts(A).len(), keys(&net).len()), (1, 2));
}

#[test]
fn rows_follow_the_resolvers_order() {
    let mut net = running(round_robin(), &[A, B, C]);
    let before: Vec<_> = [A, B, C].map(|key| slot(&net, key)).into();
    net.resolve([C, A, B]);
    assert_eq!(keys(&net), [C, A, B]);
    assert_eq!([A, B, C].map(|key| slot(&net, key)).to_vec(), before);
    net.up(D);
    net.resolve([D, B, C]);
    assert_eq!(keys(&net), [D, B, C]);
    net.run_for(secs(1));
    assert_eq!((net.attempts(B).len(), net.attempts(C).len(), states(&net)), (1, 1, vec![Ready; 3]));
    assert_eq!(net.connected().len(), 3, "the one that left is closed");
}

#[test]
fn an_address_more_is_another_endpoint() {
    let mut net = running(round_robin(), &[A, B]);
    let (_, attempt) = latest_attempt(&net, A);
    net.resolve_to(update([endpoint_of(&[A, C]), endpoint(B)]));
    net.run_for(secs(1));
    assert_eq!((closes(&net, attempt), keys(&net)), (1, vec![format!("{A},{C}"), B.to_owned()]));
}

fn many(count: u32) -> Vec<Endpoint> {
    let address = |n: u32| std::net::SocketAddr::from((std::net::Ipv4Addr::from_bits(0x0a00_0000 + n), 1));
    (0..count).map(|n| Endpoint::new(address(n))).collect()
}

#[test]
fn more_endpoints_than_allowed_are_cut_and_told() {
    let mut bare = Bare::new(crate::support::pick_first(), SimClock::new().now());
    bare.tell([Event::ExitIdle]);
    let effects = bare.tell([Event::Resolved(update(many(MAX_ENDPOINTS as u32 + 3)))]);
    let rows = effects.iter().find_map(|effect| match effect {
        Effect::Publish(snapshot) => Some(snapshot.rows.len()),
        _ => None,
    });
    assert_eq!(rows, Some(MAX_ENDPOINTS));
    let told = format!("the resolver lists {} endpoints, the first {MAX_ENDPOINTS} are used", MAX_ENDPOINTS + 3);
    let is_told = |effect: &Effect| matches!(effect, Effect::Emit(LbEvent::ResolverFailed(text)) if **text == *told);
    assert_eq!(effects.iter().filter(|effect| is_told(effect)).count(), 1);
}

#[test]
fn five_thousand_endpoints_are_all_connected_and_lost_ones_replaced() {
    let mut bare = Bare::new(round_robin(), SimClock::new().now());
    bare.tell([Event::ExitIdle]);
    let attempts = connects(&bare.tell([Event::Resolved(update(many(5_000)))]));
    assert_eq!(attempts.len(), 5_000);
    let connected = attempts.iter().map(|attempt| Event::Connected {
        slot: attempt.slot,
        attempt: attempt.attempt,
        address: attempt.addresses[0].clone(),
    });
    let effects = bare.tell(connected);
    let published: Vec<_> = effects.iter().filter(|effect| matches!(effect, Effect::Publish(_))).collect();
    assert_eq!(published.len(), 1, "a burst is one rebuild");
    let half = bare.tell([Event::Resolved(update(many(2_500)))]);
    assert_eq!(half.iter().filter(|effect| matches!(effect, Effect::Close { .. })).count(), 2_500);
    let again = bare.tell([Event::Resolved(update(many(5_000)))]);
    let keys: std::collections::BTreeSet<_> = connects(&again).into_iter().map(|attempt| attempt.key).collect();
    assert_eq!(keys.len(), 2_500);
}

#[test]
fn two_thousand_updates_in_any_order_publish_and_do_nothing_else() {
    let mut net = running(round_robin(), &[A, B, C, D]);
    net.run_for(secs(10));
    let before = generation(&net);
    net.take_records();
    let orders = [[A, B, C, D], [D, C, B, A], [B, A, D, C]];
    for round in 0..2_000 {
        net.resolve(orders[round % orders.len()]);
        assert!(net.pick().is_some());
    }
    // The very first order is the one that was there.
    assert_eq!(generation(&net), before + 1_999);
    let others = net.records().iter().filter(|record| !matches!(record.what, What::Published { .. })).count();
    assert_eq!(others, 0, "{:?}", net.records().last());
}

#[test]
fn two_thousand_updates_in_one_burst_are_one_publication() {
    let mut net = running(round_robin(), &[A, B]);
    let before = generation(&net);
    let updates = (0..2_000).map(|round| Event::Resolved(update([endpoint(A).with_weight(round + 2), endpoint(B)])));
    net.tell_all(updates);
    assert_eq!((generation(&net), net.attempts(A).len()), (before + 1, 1));
    assert_eq!(row(&net, A).view.weight, 2_001);
}
