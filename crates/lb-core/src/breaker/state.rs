//! What a breaker is in, in one word, and every step it can take.
//!
//! Everything that has to change together is in 64 bits, so that a step is one compare-and-swap and a look is one load. The steps
//! are functions from a state to the next: whoever wins the swap has made the step, whoever loses looks again.

use std::time::Duration;

use super::change::BreakerReason;
use super::config::BreakerConfig;
use crate::entropy::Entropy;

/// Bits of [`State::epoch`]; an outcome that is 8192 steps late would be taken for a fresh one, after 8 s at the very least.
pub(super) const EPOCH_BITS: u32 = 13;
const EPOCHS: u16 = 1 << EPOCH_BITS;
const STREAK_BITS: u32 = 5;
const PHASE_BITS: u32 = 3;
const REST_BITS: u32 = 64 - PHASE_BITS - EPOCH_BITS - STREAK_BITS;

/// So that times before the first one asked about, which there are, are not negative: 17 years in milliseconds.
const OFFSET_MS: i64 = 17 * 365 * 86_400_000;

/// A time as the word has it: whole milliseconds from some instant that is the same all through the process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Ms(pub(super) u64);

impl Ms {
    /// The last whole millisecond; `ticks` are nanoseconds.
    #[inline]
    pub(super) fn floor(ticks: i64) -> Self {
        Self((ticks.div_euclid(1_000_000) + OFFSET_MS).clamp(0, Self::MOST as i64) as u64)
    }

    const MOST: u64 = (1 << REST_BITS) - 1;

    /// At the earliest so much later: rounded up, and one more for what [`floor`](Self::floor) has cut.
    fn after(self, time: Duration) -> Self {
        let ms = time.as_nanos().div_ceil(1_000_000).min(u128::from(Self::MOST)) as u64;
        Self((self.0 + ms + 1).min(Self::MOST))
    }

    /// How long after; zero if before.
    pub(super) fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }

    /// Whole seconds, in 30 bits.
    fn seconds(self) -> u32 {
        (self.0 / 1000).min((1 << 30) - 1) as u32
    }

    /// Nanoseconds, as they were.
    pub(super) fn ticks(self) -> i64 {
        (self.0 as i64 - OFFSET_MS).saturating_mul(1_000_000)
    }
}

/// What a breaker is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct State {
    /// Counts the steps, and so tells an outcome of now from one of a time that is over.
    pub(super) epoch: u16,
    /// How often it has opened again without having been closed for long.
    pub(super) streak: u8,
    pub(super) phase: Phase,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    Closed { failures: u16, since: u32 },
    Open { until: Ms },
    HalfOpen { trials: u8, successes: u8, overdue: u32 },
    ForcedOpen,
    ForcedClosed,
}

/// What a call may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Admission {
    /// Go; its outcome counts for this epoch.
    Pass(Pass),
    /// Do not go before this time; with none, until somebody says otherwise.
    Refused(Option<Ms>),
    /// Do not go while so many trials are under way; at the latest they are overdue then.
    Full(Ms),
}

/// A call that was let through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Pass {
    pub(super) kind: PassKind,
    pub(super) epoch: u16,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PassKind {
    Counted,
    Trial,
    /// Whatever becomes of it, nobody learns from it.
    Ignored,
}

/// What became of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    Success,
    Failure,
    /// It was given up, or never sent.
    Neither,
}

/// What somebody outside says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Order {
    ForceOpen,
    ForceClosed,
    /// Closed, with everything forgotten, and no longer forced.
    Reset(BreakerReason),
    /// Open for so long.
    Open(Duration),
    /// Only trial calls.
    HalfOpen,
}

/// The next state, and why it came to it if that is worth telling.
pub(super) type Step = (State, Option<BreakerReason>);

impl State {
    pub(super) const fn new() -> Self {
        Self { epoch: 0, streak: 0, phase: Phase::Closed { failures: 0, since: 0 } }
    }

    pub(super) fn pack(self) -> u64 {
        let (phase, rest) = match self.phase {
            Phase::Closed { failures, since } => (0, u64::from(failures) << 30 | u64::from(since)),
            Phase::Open { until } => (1, until.0),
            Phase::HalfOpen { trials, successes, overdue } => {
                (2, u64::from(trials) << 36 | u64::from(successes) << 30 | u64::from(overdue))
            }
            Phase::ForcedOpen => (3, 0),
            Phase::ForcedClosed => (4, 0),
        };
        phase << (64 - PHASE_BITS) | u64::from(self.epoch) << (STREAK_BITS + REST_BITS) | u64::from(self.streak) << REST_BITS | rest
    }

    #[inline]
    pub(super) fn unpack(word: u64) -> Self {
        let field = |shift: u32, bits: u32| word >> shift & ((1 << bits) - 1);
        let seconds = field(0, 30) as u32;
        let phase = match word >> (64 - PHASE_BITS) {
            0 => Phase::Closed { failures: field(30, 13) as u16, since: seconds },
            1 => Phase::Open { until: Ms(field(0, REST_BITS)) },
            2 => Phase::HalfOpen { trials: field(36, 6) as u8, successes: field(30, 6) as u8, overdue: seconds },
            3 => Phase::ForcedOpen,
            _ => Phase::ForcedClosed,
        };
        Self { epoch: field(STREAK_BITS + REST_BITS, EPOCH_BITS) as u16, streak: field(REST_BITS, STREAK_BITS) as u8, phase }
    }

    /// Leave to go for a call while it is closed, without a look at the time.
    #[inline]
    pub(super) fn pass(self) -> Option<Pass> {
        matches!(self.phase, Phase::Closed { .. }).then_some(Pass { kind: PassKind::Counted, epoch: self.epoch })
    }

    /// Whether it is closed and the last call succeeded: a further success changes nothing, whenever its call began.
    #[inline]
    pub(super) fn is_well(self) -> bool {
        matches!(self.phase, Phase::Closed { failures: 0, .. })
    }

    /// Whether a call may go now, and the step it makes by going.
    #[inline]
    pub(super) fn admit(self, now: Ms, config: &BreakerConfig) -> (Admission, Option<Step>) {
        let pass = |kind, epoch| Admission::Pass(Pass { kind, epoch });
        match self.phase {
            Phase::Closed { .. } => (pass(PassKind::Counted, self.epoch), None),
            Phase::ForcedClosed => (pass(PassKind::Ignored, self.epoch), None),
            Phase::ForcedOpen => (Admission::Refused(None), None),
            Phase::Open { until } if now < until => (Admission::Refused(Some(until)), None),
            Phase::Open { .. } => {
                let next = self.to(Phase::HalfOpen { trials: 1, successes: 0, overdue: overdue(now, config) });
                (pass(PassKind::Trial, next.epoch), Some((next, Some(BreakerReason::TimeOver))))
            }
            Phase::HalfOpen { trials, successes, overdue } if u32::from(trials) < config.trial_calls => {
                let phase = Phase::HalfOpen { trials: trials + 1, successes, overdue };
                (pass(PassKind::Trial, self.epoch), Some((Self { phase, ..self }, None)))
            }
            // Nobody will hear of those trials again, or nobody should wait for them. A new epoch, so that none gives its place back twice.
            Phase::HalfOpen { successes, overdue: end, .. } if now.seconds() >= end => {
                let next = self.to(Phase::HalfOpen { trials: 1, successes, overdue: overdue(now, config) });
                (pass(PassKind::Trial, next.epoch), Some((next, Some(BreakerReason::TrialsOverdue))))
            }
            Phase::HalfOpen { overdue, .. } => (Admission::Full(Ms(u64::from(overdue) * 1000)), None),
        }
    }

    /// The step that the end of a call makes, if it makes one. `rate` says whether too many of the latest calls have failed.
    #[inline]
    pub(super) fn settle(
        self,
        pass: Pass,
        verdict: Verdict,
        rate: Option<BreakerReason>,
        now: Ms,
        config: &BreakerConfig,
        seed: u64,
    ) -> Option<Step> {
        match (pass.kind, self.phase) {
            (PassKind::Counted, Phase::Closed { failures, since }) if pass.epoch == self.epoch => {
                self.counted(failures, since, verdict, rate, now, config, seed)
            }
            (PassKind::Trial, Phase::HalfOpen { trials, successes, overdue }) => {
                let ours = pass.epoch == self.epoch;
                let trials = trials.saturating_sub(u8::from(ours));
                match verdict {
                    // Also of one that was overdue: that the server answered it says what a trial is to say.
                    Verdict::Success if u32::from(successes) + 1 >= config.successes_to_close => {
                        let closed = Phase::Closed { failures: 0, since: now.seconds() };
                        Some((self.to(closed), Some(BreakerReason::TrialsSucceeded(config.successes_to_close))))
                    }
                    Verdict::Success => {
                        let phase = Phase::HalfOpen { trials, successes: successes + 1, overdue };
                        Some((Self { phase, ..self }, None))
                    }
                    // An overdue one may have gone wrong long ago.
                    Verdict::Failure if ours => {
                        let streak = self.streak.saturating_add(1).min(31);
                        Some((self.open(streak, now, config, seed), Some(BreakerReason::TrialFailed)))
                    }
                    Verdict::Neither if ours => {
                        Some((Self { phase: Phase::HalfOpen { trials, successes, overdue }, ..self }, None))
                    }
                    Verdict::Failure | Verdict::Neither => None,
                }
            }
            _ => None,
        }
    }

    #[expect(clippy::too_many_arguments, reason = "the fields of one phase, taken apart by the only caller")]
    fn counted(
        self,
        failures: u16,
        since: u32,
        verdict: Verdict,
        rate: Option<BreakerReason>,
        now: Ms,
        config: &BreakerConfig,
        seed: u64,
    ) -> Option<Step> {
        match verdict {
            Verdict::Neither => return None,
            Verdict::Success if failures == 0 => return None,
            Verdict::Success => return Some((Self { phase: Phase::Closed { failures: 0, since }, ..self }, None)),
            Verdict::Failure => {}
        }
        let failures = failures.saturating_add(1).min((1 << 13) - 1);
        let row = config.consecutive_failures.filter(|limit| u32::from(failures) >= *limit);
        let row = row.map(|_| BreakerReason::FailuresInARow(failures.into()));
        match row.or(rate) {
            Some(reason) => {
                let quiet = Duration::from_secs(now.seconds().saturating_sub(since).into());
                // `since` is 0 if it has never been open.
                let streak = if since == 0 || quiet >= config.forget_after { 0 } else { self.streak.saturating_add(1).min(31) };
                Some((self.open(streak, now, config, seed), Some(reason)))
            }
            None => Some((Self { phase: Phase::Closed { failures, since }, ..self }, None)),
        }
    }

    /// The step that an order makes, if it makes one.
    pub(super) fn order(self, order: Order, now: Ms, config: &BreakerConfig) -> Option<Step> {
        let forced = matches!(self.phase, Phase::ForcedOpen | Phase::ForcedClosed);
        match order {
            Order::ForceOpen if self.phase == Phase::ForcedOpen => None,
            Order::ForceOpen => Some((self.to(Phase::ForcedOpen), Some(BreakerReason::Forced))),
            Order::ForceClosed if self.phase == Phase::ForcedClosed => None,
            Order::ForceClosed => Some((self.to(Phase::ForcedClosed), Some(BreakerReason::Forced))),
            Order::Reset(BreakerReason::Remote | BreakerReason::Configured)
                if forced || matches!(self.phase, Phase::Closed { .. }) =>
            {
                None
            }
            Order::Reset(reason) => {
                let closed = Phase::Closed { failures: 0, since: 0 };
                Some((Self { streak: 0, ..self.to(closed) }, Some(reason)))
            }
            Order::Open(_) | Order::HalfOpen if forced => None,
            Order::Open(time) => {
                let until = now.after(time);
                match self.phase {
                    Phase::Open { until: known } if known >= until => None,
                    Phase::Open { .. } => Some((Self { phase: Phase::Open { until }, ..self }, None)),
                    _ => Some((self.to(Phase::Open { until }), Some(BreakerReason::Remote))),
                }
            }
            Order::HalfOpen if matches!(self.phase, Phase::HalfOpen { .. }) => None,
            Order::HalfOpen => {
                let phase = Phase::HalfOpen { trials: 0, successes: 0, overdue: overdue(now, config) };
                Some((self.to(phase), Some(BreakerReason::Remote)))
            }
        }
    }

    /// The next epoch, in this phase.
    fn to(self, phase: Phase) -> Self {
        Self { epoch: (self.epoch + 1) % EPOCHS, streak: self.streak, phase }
    }

    fn open(self, streak: u8, now: Ms, config: &BreakerConfig, seed: u64) -> Self {
        let until = now.after(open_time(streak, config, seed ^ u64::from(self.epoch)));
        Self { streak, ..self.to(Phase::Open { until }) }
    }
}

/// How long it stays open when it has opened again so often.
pub(super) fn open_time(streak: u8, config: &BreakerConfig, seed: u64) -> Duration {
    let most = config.max_open_time.max(config.open_time).as_secs_f64();
    let nominal = (config.open_time.as_secs_f64() * config.growth.powi(streak.into())).min(most);
    let longer = nominal * config.jitter * Entropy::from_seed(seed).fraction();
    Duration::try_from_secs_f64(nominal + longer).unwrap_or(config.open_time)
}

fn overdue(now: Ms, config: &BreakerConfig) -> u32 {
    now.after(config.trial_timeout).seconds().saturating_add(1)
}
