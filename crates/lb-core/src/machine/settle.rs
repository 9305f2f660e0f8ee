//! From events to effects: starting attempts, asking stages and policies, pacing.

use std::mem;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::connectivity::ConnectivityState;
use crate::event::LbEvent;
use crate::pick::Always;
use crate::policy::Plan;
use crate::slot::Slot;

use super::balancer::{Look, Outcome};
use super::event::{AttemptId, Effect};
use super::{Machine, Phase, Resolution};

/// How often the policies are asked in a row while their wishes change what they see. A wish to connect shows them CONNECTING in
/// place of IDLE, which needs a second look; a policy that keeps changing its mind gets its next look after [`SOONEST`].
const MAX_ROUNDS: usize = 4;

/// The soonest a policy is asked again without an event. One that wants to be asked "now" for ever, or never sees what it decided
/// on, must not turn the driver into a busy loop.
const SOONEST: Duration = Duration::from_millis(1);

impl Machine {
    /// Does what the events since the last call made necessary. Calling it with nothing to do is cheap and has no effects.
    pub fn settle(&mut self, now: Instant, effects: &mut Vec<Effect>) {
        let due = mem::take(&mut self.due) | self.policy_wake.is_some_and(|at| at <= now);
        effects.append(&mut self.wanted);
        // Else no subchannel has changed and none is due: there is no need to look at all of them.
        let stirred = mem::take(&mut self.stirred) | self.dirty | due | self.ticked | self.wake_at.is_some_and(|at| at <= now);
        if stirred {
            self.start_attempts(now, effects);
        }
        let only_time = due && !self.dirty;
        self.dirty |= due && !self.is_as_shown(now, effects);
        if mem::take(&mut self.dirty) {
            let mut outcome = self.decide(now, only_time, effects);
            effects.extend(outcome.plan.measurements.drain(..).map(Effect::Measured));
            if !only_time || !self.published.shows(&outcome) {
                self.publish(now, outcome, effects);
            }
        }
        effects.extend(self.events.drain(..).map(Effect::Emit));
        if mem::take(&mut self.re_resolve) && self.phase == Phase::Active {
            effects.push(Effect::ReResolve);
        }
        if stirred {
            self.plan_wake(now, effects);
        }
    }

    /// Lets the stages look if nothing but their time has come; whether what they see is what is published.
    fn is_as_shown(&mut self, now: Instant, effects: &mut Vec<Effect>) -> bool {
        let Some(shown) = self.published.snapshot.clone().filter(|_| self.phase == Phase::Active && !self.dirty) else {
            return false;
        };
        let Some(mut glance) = self.balancer.glance(now, &self.table, || self.entropy.draw(), &shown) else { return false };
        self.events.append(&mut glance.plan.events);
        self.re_resolve |= glance.plan.re_resolve;
        if glance.same {
            self.policy_wake = glance.plan.wake_at.map(|at| at.max(now + SOONEST));
            effects.extend(glance.plan.measurements.into_iter().map(Effect::Measured));
        }
        glance.same
    }

    /// Starts an attempt wherever one is wanted, none is running and the backoff is over.
    fn start_attempts(&mut self, now: Instant, effects: &mut Vec<Effect>) {
        for subchannel in self.table.iter_mut().filter(|subchannel| subchannel.wanted) {
            if subchannel.next_attempt(now).is_none_or(|at| at > now) {
                continue;
            }
            self.attempts += 1;
            let (before, attempt) = (subchannel.state(), AttemptId(self.attempts));
            let plan = subchannel.begin(now, attempt, || self.entropy.draw());
            self.dirty |= subchannel.state() != before;
            effects.push(Effect::Connect {
                slot: subchannel.slot,
                attempt,
                endpoint: subchannel.endpoint.clone(),
                addresses: plan.addresses,
                timeout: plan.timeout,
            });
        }
    }

    /// Asks stages and policies, and follows their wishes, until they see what they decided on.
    fn decide(&mut self, now: Instant, only_time: bool, effects: &mut Vec<Effect>) -> Outcome {
        for round in 1..MAX_ROUNDS {
            let outcome = self.ask(now, only_time && round == 1);
            self.follow(&outcome.plan, effects);
            self.start_attempts(now, effects);
            if !mem::take(&mut self.dirty) {
                return outcome;
            }
        }
        let outcome = self.ask(now, false);
        self.follow(&outcome.plan, effects);
        if mem::take(&mut self.dirty) {
            self.policy_wake = Some(now + SOONEST);
            self.balancer.ask_all(now);
        }
        outcome
    }

    fn ask(&mut self, now: Instant, only_time: bool) -> Outcome {
        let mut outcome = match self.phase {
            // Nothing is left to decide, and a policy that has panicked must not get the chance to do it again.
            Phase::Shutdown => self.balancer.unasked(),
            Phase::Idle | Phase::Active => {
                let look = Look { entropy: self.entropy.draw(), only_time };
                self.balancer.rebuild(now, &self.table, look, &mut self.events)
            }
        };
        self.policy_wake = outcome.plan.wake_at.filter(|_| self.phase == Phase::Active).map(|at| at.max(now + SOONEST));
        self.re_resolve |= outcome.plan.re_resolve;
        self.override_unresolved(&mut outcome);
        outcome
    }

    /// Before the first answer, while idle and after the end it is not for the policies to say what calls see.
    fn override_unresolved(&self, outcome: &mut Outcome) {
        let Resolution { resolved, error, note, withheld } = &self.resolution;
        let (state, picker) = match (&self.phase, withheld, error) {
            (Phase::Idle, ..) => (ConnectivityState::Idle, Always::queue()),
            (Phase::Shutdown, ..) => (ConnectivityState::Shutdown, Always::fail("the channel is closed")),
            (Phase::Active, Some(reason), _) => (ConnectivityState::TransientFailure, Always::fail(Arc::clone(reason))),
            (Phase::Active, None, _) if *resolved && self.table.len() > 0 => return,
            (Phase::Active, None, None) if *resolved => {
                let note = note.as_ref().map_or_else(String::new, |note| format!(" ({note})"));
                (ConnectivityState::TransientFailure, Always::fail(format!("the target resolved to no endpoints{note}")))
            }
            (Phase::Active, None, None) => (ConnectivityState::Connecting, Always::queue()),
            (Phase::Active, None, Some(error)) => (ConnectivityState::TransientFailure, Always::fail(error.to_string())),
        };
        outcome.state = state;
        outcome.pickers.iter_mut().for_each(|named| named.picker = picker.clone());
    }

    /// Notes who is wanted, and closes what no policy wants any more.
    fn follow(&mut self, plan: &Plan, effects: &mut Vec<Effect>) {
        self.table.iter_mut().for_each(|subchannel| subchannel.wanted = false);
        for slot in &plan.connect {
            if let Some(subchannel) = self.table.get_mut(*slot) {
                subchannel.wanted = true;
            }
        }
        for slot in &plan.disconnect {
            self.disconnect(*slot, effects);
        }
    }

    fn disconnect(&mut self, slot: Slot, effects: &mut Vec<Effect>) {
        let Some(subchannel) = self.table.get_mut(slot).filter(|subchannel| !subchannel.wanted) else { return };
        let before = subchannel.state();
        if subchannel.is_connected() {
            self.events.push(LbEvent::Disconnected { endpoint: subchannel.endpoint.key().clone(), reason: None });
        }
        effects.extend(subchannel.abandon().map(|attempt| Effect::Close { slot, attempt }));
        self.dirty |= subchannel.state() != before;
    }

    /// Asks to be woken when the next attempt may start or a policy wants another look.
    fn plan_wake(&mut self, now: Instant, effects: &mut Vec<Effect>) {
        let attempts =
            self.table.iter().filter(|subchannel| subchannel.wanted).filter_map(|subchannel| subchannel.next_attempt(now));
        // Due and not started is only what the last of too many rounds asked for.
        let attempts = attempts.map(|at| if at > now { at } else { now + SOONEST });
        let wake_at = attempts.chain(self.policy_wake).min();
        let used_up = mem::take(&mut self.ticked) && wake_at.is_some();
        if used_up || wake_at != self.wake_at {
            self.wake_at = wake_at;
            effects.push(Effect::WakeAt(wake_at));
        }
    }

    /// Notes a change of the channel's state.
    pub(super) fn emit_channel_state(&mut self, to: ConnectivityState) {
        let from = mem::replace(&mut self.published.state, to);
        if from != to {
            self.events.push(LbEvent::ChannelState { from, to });
        }
    }
}
