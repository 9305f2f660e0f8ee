//! Stages under the machine: the registry's health, and custom ones.

use std::time::Instant;

use lb_core::ConnectivityState::{Idle, Ready};
use lb_core::machine::{Event, MachineConfig};
use lb_core::{Endpoint, LbState, Plan, Policy, RegistryHealth, Stage, SubchannelView};
use lb_testkit::SimNet;

use crate::support::{A, B, C, endpoint, failure, keys, pick_first, round_robin, row, running, running_with, secs, states, update};

fn of_health(address: &str, health: RegistryHealth) -> Endpoint {
    let mut endpoint = endpoint(address);
    endpoint.attributes.health = health;
    endpoint
}

#[test]
fn what_the_registry_calls_unhealthy_or_draining_gets_no_calls_and_keeps_its_connection() {
    let mut net = running(round_robin(), &[A, B]);
    for health in [RegistryHealth::Unhealthy, RegistryHealth::Draining] {
        net.resolve_to(update([of_health(A, health), endpoint(B)]));
        net.run_for(secs(60));
        (0..10).for_each(|_| assert_eq!(net.pick(), Some(B.into())));
        assert_eq!(row(&net, A).excluded, Some("unhealthy or draining in the registry"));
        assert_eq!((net.connected().len(), states(&net)), (2, vec![Ready, Ready]));
    }
    net.close(A);
    net.run_for(secs(60));
    assert_eq!(states(&net)[1], Ready);
    net.resolve([A, B]);
    net.run_for(secs(1));
    assert_eq!(net.connected().len(), 2);
    net.resolve_to(update([of_health(A, RegistryHealth::Unhealthy), of_health(B, RegistryHealth::Draining)]));
    assert_eq!(failure(&mut net), "no endpoint may be used, of 2: 2 unhealthy or draining in the registry");
}

#[test]
fn one_that_is_unhealthy_from_the_start_is_never_connected() {
    let mut net = SimNet::new(MachineConfig::new(1), round_robin());
    [A, B].iter().for_each(|address| net.up(address));
    net.resolve_to(update([of_health(A, RegistryHealth::Unhealthy), endpoint(B)]));
    net.exit_idle();
    net.run_for(secs(600));
    assert_eq!((net.attempts(A).len(), states(&net)), (0, vec![Idle, Ready]));
}

/// Turns the order around and hides what is named.
#[derive(Debug)]
struct Turns(&'static [&'static str]);

impl Stage for Turns {
    fn name(&self) -> &'static str {
        "not liked"
    }

    fn apply(&mut self, _now: Instant, view: &mut Vec<SubchannelView>, _plan: &mut Plan) {
        view.reverse();
        view.retain(|row| !self.0.contains(&row.endpoint.key().as_str()));
    }
}

#[test]
fn a_stage_that_changes_the_order_changes_it_for_policies_only() {
    for (hides, excluded) in [(&[][..], [None; 3]), (&[B][..], [None, Some("not liked"), None])] {
        let mut config = MachineConfig::new(1);
        config.stages.push(Box::new(Turns(hides)));
        let mut net = running_with(config, pick_first(), &[A, B, C]);
        assert_eq!((keys(&net), net.pick()), ([A, B, C].map(str::to_owned).to_vec(), Some(C.into())));
        assert_eq!(net.snapshot().rows.iter().map(|row| row.excluded).collect::<Vec<_>>(), excluded);
        assert_eq!(states(&net), [Idle, Idle, Ready]);
    }
}

/// Wants what it has not and not what it has.
#[derive(Debug)]
struct Contrary;

impl Policy for Contrary {
    fn rebuild(&mut self, _now: Instant, view: &[SubchannelView], plan: &mut Plan) -> LbState {
        let (idle, others): (Vec<_>, Vec<_>) = view.iter().partition(|row| row.state == Idle);
        plan.connect.extend(idle.iter().map(|row| row.slot));
        plan.disconnect.extend(others.iter().map(|row| row.slot));
        LbState::new(Idle, lb_core::Always::queue())
    }
}

#[test]
fn a_policy_that_never_makes_up_its_mind_is_paced() {
    for first in [Event::Tick, Event::ExitIdle] {
        let policy = lb_core::machine::NamedPolicy::new("contrary", Box::new(Contrary));
        let mut net = running(policy, &[]);
        net.hang(A);
        net.resolve([A]);
        net.tell(first);
        net.take_records();
        net.run_for(secs(1));
        let attempts = net.attempts(A).len();
        assert!((1..=4_000).contains(&attempts), "{attempts} attempts in a second");
    }
}

#[test]
fn a_rolling_restart_loses_no_pick() {
    let mut net = running(round_robin(), &[A, B, C]);
    for restarted in [A, B, C] {
        net.kill(restarted);
        for _ in 0..50 {
            assert!(net.pick().is_some_and(|key| key.as_str() != restarted));
            net.run_for(std::time::Duration::from_millis(100));
        }
        net.up(restarted);
        net.run_for(secs(10));
        assert_eq!(net.connected().len(), 3);
    }
}
