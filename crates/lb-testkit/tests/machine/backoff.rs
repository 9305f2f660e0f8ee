//! When attempts to connect are made.

use std::time::Duration;

use lb_core::machine::{Command, Effect, Event, MachineConfig};
use lb_core::{BackoffConfig, ConnectivityState};
use lb_testkit::sim::What;
use lb_testkit::{SimClock, SimNet};

use crate::support::{
    A, B, Bare, C, channel_states, connects, endpoint, endpoint_of, millis, pick_first, round_robin, running, secs, update,
};

/// Nominal delays of gRPC's connection backoff, in seconds.
const TABLE: [f64; 13] = [1.0, 1.6, 2.56, 4.096, 6.554, 10.486, 16.777, 26.844, 42.950, 68.719, 109.951, 120.0, 120.0];

fn gaps(attempts: &[Duration]) -> Vec<f64> {
    attempts.windows(2).map(|pair| (pair[1] - pair[0]).as_secs_f64()).collect()
}

/// Nothing answers. Records begin at zero.
fn all_down(seed: u64, endpoints: &[&str]) -> SimNet {
    let mut net = SimNet::new(MachineConfig::new(seed), round_robin());
    net.resolve(endpoints.iter().copied());
    net.exit_idle();
    net
}

fn assert_follows_the_table(attempts: &[Duration]) {
    for (k, gap) in gaps(attempts).into_iter().enumerate() {
        let nominal = TABLE[k.min(TABLE.len() - 1)];
        let spread = if k == 0 { 0.001 } else { 0.201 };
        assert!((gap - nominal).abs() <= nominal * spread, "gap {k} is {gap}, nominal {nominal}: {attempts:?}");
    }
}

#[test]
fn attempts_at_a_closed_port_follow_the_table_for_540_seconds() {
    for seed in 0..50 {
        let mut net = all_down(seed, &[A]);
        net.run_for(secs(540));
        let attempts = net.attempts(A);
        assert_follows_the_table(&attempts);
        assert!((12..=14).contains(&attempts.len()), "seed {seed}: {} attempts", attempts.len());
    }
}

#[test]
fn ten_minutes_of_all_down_pace_every_endpoint_on_its_own_and_recovery_takes_one_wait() {
    let all = [A, B, C];
    let mut net = all_down(3, &all);
    net.run_for(secs(600));
    for endpoint in all {
        assert_follows_the_table(&net.attempts(endpoint));
    }
    let third = |endpoint: &str| net.attempts(endpoint)[2];
    assert!(third(A) != third(B) && third(B) != third(C), "one jitter for all would be a thundering herd");
    let states = channel_states(&net);
    assert_eq!(states, [ConnectivityState::Connecting, ConnectivityState::TransientFailure], "it sticks");
    all.iter().for_each(|address| net.up(address));
    net.run_for(secs(145));
    assert_eq!(net.connected().len(), 3);
}

#[test]
fn channels_with_other_seeds_spread_their_attempts() {
    let mut second: Vec<Duration> = (0..20)
        .map(|seed| {
            let mut net = all_down(seed, &[A]);
            net.run_for(secs(10));
            net.attempts(A)[2]
        })
        .collect();
    second.sort_unstable();
    second.dedup();
    assert!(second.len() >= 19, "{second:?}");
}

#[test]
fn resolver_updates_that_keep_the_endpoint_keep_its_pace() {
    let mut net = all_down(5, &[A]);
    let mut undisturbed = all_down(5, &[A]);
    for round in 0..600 {
        match round % 3 {
            0 => net.resolve([A]),
            1 => net.resolve_to(update([endpoint(A).with_weight(round + 2)])),
            _ => net.fail_resolution(lb_core::ResolveError::new(lb_core::ResolveErrorKind::Unavailable, "away")),
        }
        net.run_for(secs(1));
        undisturbed.run_for(secs(1));
    }
    assert_follows_the_table(&net.attempts(A));
    assert_eq!(net.attempts(A).len(), undisturbed.attempts(A).len());
}

#[test]
fn another_order_of_addresses_keeps_the_backoff_of_each() {
    let mut net = SimNet::new(MachineConfig::new(2), round_robin());
    net.resolve_to(update([endpoint_of(&[A, B])]));
    net.exit_idle();
    let key = endpoint_of(&[A, B]).key().to_string();
    for round in 0..540 {
        net.run_for(secs(1));
        net.resolve_to(update([endpoint_of(if round % 2 == 0 { &[B, A] } else { &[A, B] })]));
    }
    // Each address has its own jitter, so the endpoint's attempts are those of both.
    let times = |address: &str| -> Vec<Duration> {
        let address = address.parse().unwrap();
        let tries = |what: &What| matches!(what, What::Connect { addresses, .. } if addresses.contains(&address));
        net.records().iter().filter(|record| tries(&record.what)).map(|record| record.at).collect()
    };
    assert_follows_the_table(&times(A));
    assert_follows_the_table(&times(B));
    assert!(net.attempts(&key).len() > times(A).len(), "an attempt tries only addresses out of backoff");
    let latest = net.records().iter().rev().find_map(|record| match &record.what {
        What::Connect { addresses, .. } if addresses.len() == 2 => Some(addresses.clone()),
        _ => None,
    });
    assert!(latest.is_some(), "the first attempt tries both");
}

#[test]
fn a_connection_starts_the_pace_over() {
    let mut net = all_down(1, &[A]);
    net.run_for(secs(100));
    net.up(A);
    net.run_for(secs(145));
    assert_eq!(net.connected(), [A]);
    let before = net.attempts(A).len();
    net.kill(A);
    net.run_for(secs(100));
    let after = net.attempts(A)[before..].to_vec();
    assert_follows_the_table(&after);
    assert!(after.len() > 5, "{after:?}");
}

#[test]
fn the_reset_command_ends_the_wait_and_starts_the_pace_over() {
    let mut net = all_down(1, &[A, B]);
    net.run_for(secs(200));
    let before = net.attempts(A).len();
    let now = net.clock().elapsed();
    net.command(Command::ResetBackoff);
    assert_eq!(net.attempts(A).last(), Some(&now));
    assert_eq!(net.attempts(B).last(), Some(&now));
    net.run_for(secs(60));
    assert_follows_the_table(&net.attempts(A)[before..]);
}

#[test]
fn the_reset_command_ends_the_pause_after_a_lost_connection() {
    let mut net = running(round_robin(), &[A]);
    net.close(A);
    net.run_for(millis(10));
    net.close(A);
    let attempts = net.attempts(A).len();
    net.command(Command::ResetBackoff);
    assert_eq!(net.attempts(A).len(), attempts + 1);
}

#[test]
fn an_attempt_is_bounded_by_the_connect_timeout_and_the_next_follows_at_once() {
    let mut net = all_down(1, &[A]);
    net.hang(A);
    net.run_for(secs(100));
    // 1 s, 1.6 s, 2.56 s … are over when 20 s of hanging are.
    let expected: Vec<Duration> = (0..=5).map(|k| secs(20 * k)).collect();
    assert_eq!(net.attempts(A), expected);
}

#[test]
fn without_a_least_connect_timeout_an_attempt_takes_as_long_as_its_delay() {
    let mut config = MachineConfig::new(1);
    config.backoff = BackoffConfig::try_new(millis(100), 2.0, millis(350), 0.0, Duration::ZERO).unwrap();
    let mut net = SimNet::new(config, round_robin());
    net.hang(A);
    net.resolve([A]);
    net.exit_idle();
    net.run_for(millis(1400));
    assert_eq!(net.attempts(A), [0, 100, 300, 650, 1000, 1350].map(millis));
}

#[test]
fn an_attempt_that_was_given_up_leaves_the_backoff_of_addresses_it_did_not_try() {
    let mut bare = Bare::new(pick_first(), SimClock::new().now());
    bare.tell([Event::ExitIdle]);
    let both = connects(&bare.tell([Event::Resolved(update([endpoint_of(&[A, B]), endpoint(C)]))]))[0].clone();
    let beside = connects(&bare.fail(&both))[0].clone();
    // The first wait is one second for both; the second one differs by its jitter.
    let again = connects(&bare.wake())[0].clone();
    assert_eq!(again.addresses.len(), 2);
    bare.fail(&again);
    let alone = connects(&bare.wake())[0].clone();
    assert_eq!((alone.slot, alone.addresses.len()), (both.slot, 1));
    let effects = bare.connect(&beside);
    assert!(
        effects.iter().any(|effect| matches!(effect, Effect::Close { attempt, .. } if *attempt == alone.attempt)),
        "{effects:?}"
    );
    bare.tell([Event::Closed { slot: beside.slot, attempt: beside.attempt, reason: "test".into() }]);
    let effects = bare.tell([Event::ConnectRequested(alone.slot)]);
    assert_eq!(connects(&effects)[0].addresses, alone.addresses, "at once, but not at the address that failed");
}
