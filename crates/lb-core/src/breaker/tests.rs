//! One breaker on simulated time.

use std::time::{Duration, Instant};

use serde_json::json;

use super::change::{BreakerReason, BreakerState};
use super::config::{BreakerConfig, FailureRate};
use super::one::{Breaker, Effect};
use super::remote::RemoteState;
use super::state::{Admission, Order, Pass, Verdict, open_time};
use crate::policies::testing::start;
use crate::retry::StatusCodes;

pub(super) const SECOND: Duration = Duration::from_secs(1);

/// A breaker, its configuration and a clock.
pub(super) struct World {
    pub(super) breaker: Breaker,
    pub(super) config: BreakerConfig,
    pub(super) now: Instant,
    told: Vec<(BreakerState, BreakerState, BreakerReason)>,
}

impl World {
    pub(super) fn new(config: BreakerConfig) -> Self {
        assert_eq!(config.validate(), Ok(()));
        Self { breaker: Breaker::new("*".into(), &config, 7), config, now: start(), told: Vec::new() }
    }

    pub(super) fn enter(&self) -> Result<Pass, Admission> {
        match self.breaker.enter(self.now, &self.config).admission {
            Admission::Pass(pass) => Ok(pass),
            refused => Err(refused),
        }
    }

    pub(super) fn leave(&self, pass: Pass, verdict: Verdict) -> Effect {
        self.breaker.leave(pass, verdict, self.now, &self.config, true)
    }

    fn call(&self, verdict: Verdict) -> bool {
        self.enter().is_ok_and(|pass| {
            self.leave(pass, verdict);
            true
        })
    }

    fn fail(&self, calls: u32) {
        (0..calls).for_each(|_| assert!(self.call(Verdict::Failure)));
    }

    pub(super) fn state(&self) -> BreakerState {
        self.breaker.state()
    }

    pub(super) fn changes(&mut self) -> Vec<(BreakerState, BreakerState, BreakerReason)> {
        self.told.clear();
        self.breaker.changes(|from, to, reason| self.told.push((from, to, reason)));
        self.told.clone()
    }

    /// How long until the next trial.
    fn wait(&self) -> Duration {
        self.breaker.info(self.now).next_trial.unwrap()
    }
}

fn exact() -> BreakerConfig {
    BreakerConfig::default().jitter(0.0)
}

#[test]
fn the_preset_opens_after_five_tries_after_a_minute_with_three_and_closes_after_two() {
    use BreakerState::{Closed, HalfOpen, Open};
    let mut world = World::new(exact());
    world.fail(4);
    assert!(world.call(Verdict::Success), "a success ends the row");
    world.fail(4);
    assert_eq!((world.state(), world.breaker.info(world.now).failures_in_a_row), (Closed, 4));
    world.fail(1);
    assert_eq!(world.changes(), [(Closed, Open, BreakerReason::FailuresInARow(5))]);
    assert!((60 * SECOND..60 * SECOND + Duration::from_millis(3)).contains(&world.wait()), "{:?}", world.wait());
    world.now += 60 * SECOND - Duration::from_millis(1);
    assert!(matches!(world.enter(), Err(Admission::Refused(Some(_)))));
    world.now += Duration::from_millis(3);
    let trials: Vec<Pass> = (0..3).map(|_| world.enter().unwrap()).collect();
    assert!(matches!(world.enter(), Err(Admission::Full(_))), "three at once");
    assert_eq!(world.breaker.info(world.now).trials, 3);
    world.leave(trials[0], Verdict::Success);
    assert_eq!(world.state(), HalfOpen);
    world.leave(trials[1], Verdict::Success);
    assert_eq!(world.changes(), [(Open, HalfOpen, BreakerReason::TimeOver), (HalfOpen, Closed, BreakerReason::TrialsSucceeded(2))]);
    assert_eq!(world.leave(trials[2], Verdict::Failure), Effect::Nothing, "its time is over");
    let info = world.breaker.info(world.now);
    assert_eq!((info.state, info.failures_in_a_row, info.opened, info.refused), (Closed, 0, 1, 2));
}

#[test]
fn a_failed_trial_opens_it_again() {
    let mut world = World::new(exact());
    world.fail(5);
    world.now += 61 * SECOND;
    let (one, other) = (world.enter().unwrap(), world.enter().unwrap());
    assert_eq!(world.leave(one, Verdict::Failure), Effect::Changed);
    assert_eq!(world.state(), BreakerState::Open);
    assert_eq!(world.leave(other, Verdict::Success), Effect::Nothing, "an answer to an older question");
    assert!(world.wait() >= 60 * SECOND);
    assert_eq!(world.changes().last().unwrap().2, BreakerReason::TrialFailed);
}

#[test]
fn a_cancelled_trial_gives_its_place_back() {
    let mut world = World::new(exact().trials(1, 1));
    world.fail(5);
    world.now += 61 * SECOND;
    let trial = world.enter().unwrap();
    assert!(world.enter().is_err());
    assert_eq!(world.leave(trial, Verdict::Neither), Effect::Room);
    let trial = world.enter().unwrap();
    assert_eq!(world.breaker.give_back(trial, &world.config), Effect::Room, "never sent");
    assert!(world.call(Verdict::Success));
    assert_eq!(world.state(), BreakerState::Closed);
}

#[test]
fn a_trial_that_never_ends_does_not_block_and_counts_if_it_succeeds_late() {
    let mut world = World::new(exact().trials(2, 2));
    world.fail(5);
    world.now += 61 * SECOND;
    let (endless, late) = (world.enter().unwrap(), world.enter().unwrap());
    world.now += 59 * SECOND;
    assert!(matches!(world.enter(), Err(Admission::Full(_))));
    assert!(world.wait() <= 3 * SECOND, "waiting calls are told when: {:?}", world.wait());
    world.now += 3 * SECOND;
    let (third, fourth) = (world.enter().unwrap(), world.enter().unwrap());
    assert!(world.enter().is_err(), "two of the new round at most");
    assert_eq!(world.leave(endless, Verdict::Neither), Effect::Nothing, "its place was given away already");
    assert!(world.enter().is_err());
    world.leave(late, Verdict::Success);
    world.leave(third, Verdict::Success);
    assert_eq!(world.state(), BreakerState::Closed);
    world.leave(fourth, Verdict::Success);
    let told: Vec<BreakerState> = world.changes().into_iter().map(|(_, to, _)| to).collect();
    assert_eq!(told, [BreakerState::Open, BreakerState::HalfOpen, BreakerState::Closed], "no change, no news");
}

#[test]
fn a_late_failure_of_a_trial_does_not_open_it() {
    let mut world = World::new(exact().trials(1, 1));
    world.fail(5);
    world.now += 61 * SECOND;
    let late = world.enter().unwrap();
    world.now += 62 * SECOND;
    let fresh = world.enter().unwrap();
    world.leave(late, Verdict::Failure);
    assert_eq!(world.state(), BreakerState::HalfOpen);
    world.leave(fresh, Verdict::Success);
    assert_eq!(world.state(), BreakerState::Closed);
}

#[test]
fn calls_that_began_before_it_opened_say_nothing_when_it_is_closed_again() {
    let mut world = World::new(exact().trials(1, 1));
    let old: Vec<Pass> = (0..5).map(|_| world.enter().unwrap()).collect();
    world.fail(5);
    world.now += 61 * SECOND;
    assert!(world.call(Verdict::Success));
    old.into_iter().for_each(|pass| assert_eq!(world.leave(pass, Verdict::Failure), Effect::Nothing));
    assert_eq!((world.state(), world.breaker.info(world.now).failures_in_a_row), (BreakerState::Closed, 0));
}

#[test]
fn by_failure_rate_over_a_window_with_a_minimum_of_calls() {
    let rate = FailureRate::new(50, 10 * SECOND, 10);
    let mut world = World::new(exact().consecutive_failures(None).failure_rate(rate));
    world.fail(9);
    assert_eq!(world.state(), BreakerState::Closed, "nine calls are too few");
    world.now += 11 * SECOND;
    for _ in 0..8 {
        assert!(world.call(Verdict::Success) && world.call(Verdict::Neither));
    }
    world.fail(7);
    let info = world.breaker.info(world.now);
    assert_eq!(
        (info.state, info.recent_calls, info.recent_failures),
        (BreakerState::Closed, 15, 7),
        "the first nine are forgotten"
    );
    world.fail(1);
    let reason = BreakerReason::FailureRate { percent: 50, calls: 16 };
    assert_eq!(world.changes(), [(BreakerState::Closed, BreakerState::Open, reason)]);
    assert_eq!(reason.to_string(), "50 % of the latest 16 calls failed");
    world.now += 61 * SECOND;
    assert!(world.call(Verdict::Success) && world.call(Verdict::Success));
    assert_eq!(world.breaker.info(world.now).recent_calls, 0, "it begins anew");
}

#[test]
fn the_open_time_grows_and_is_forgotten_after_a_good_time() {
    let mut world = World::new(exact().trials(1, 1).growth(2.0, 300 * SECOND));
    world.fail(5);
    for seconds in [60, 120, 240, 300, 300] {
        let wait = world.wait();
        assert!((seconds * SECOND..seconds * SECOND + Duration::from_millis(3)).contains(&wait), "{seconds} {wait:?}");
        world.now += wait + Duration::from_millis(1);
        assert!(world.call(Verdict::Failure));
    }
    world.now += 301 * SECOND;
    assert!(world.call(Verdict::Success));
    world.fail(5);
    assert!(world.wait() >= 299 * SECOND, "not forgotten so soon");
    world.now += 301 * SECOND;
    assert!(world.call(Verdict::Success));
    world.now += 301 * SECOND;
    world.fail(5);
    assert!(world.wait() < 61 * SECOND, "{:?}", world.wait());
}

#[test]
fn jitter_only_prolongs_by_its_share_and_differs_between_breakers() {
    let config = BreakerConfig::default().jitter(0.5);
    let times: Vec<Duration> = (0..100).map(|seed| open_time(0, &config, seed)).collect();
    assert!(times.iter().all(|time| (60 * SECOND..=90 * SECOND).contains(time)));
    assert!(times.iter().max().unwrap().saturating_sub(*times.iter().min().unwrap()) > 25 * SECOND);
    assert_eq!(times[0], open_time(0, &config, 0), "the same seed, the same time");
    let huge = BreakerConfig::default().growth(100.0, Duration::from_secs(24 * 3600)).jitter(1.0);
    assert!(open_time(31, &huge, 1) <= Duration::from_secs(48 * 3600));
}

#[test]
fn forced_open_forced_closed_and_reset() {
    let mut world = World::new(exact());
    let before = world.enter().unwrap();
    assert!(world.breaker.order(Order::ForceOpen, world.now, &world.config));
    assert!(!world.breaker.order(Order::ForceOpen, world.now, &world.config), "no news");
    world.now += 10_000 * SECOND;
    assert!(matches!(world.enter(), Err(Admission::Refused(None))), "however long");
    assert_eq!(world.leave(before, Verdict::Failure), Effect::Nothing);
    assert!(world.breaker.order(Order::ForceClosed, world.now, &world.config));
    world.fail(100);
    assert_eq!(world.state(), BreakerState::ForcedClosed);
    assert!(!world.breaker.told(RemoteState::Open, SECOND, world.now, &world.config), "what people say holds");
    let reset = Order::Reset(BreakerReason::Reset);
    assert!(world.breaker.order(reset, world.now, &world.config));
    world.fail(5);
    assert!(world.breaker.order(reset, world.now, &world.config));
    assert_eq!(world.state(), BreakerState::Closed);
    let told = world.changes().into_iter().map(|(_, to, _)| to.to_string()).collect::<Vec<_>>().join(", ");
    assert_eq!(told, "forced open, forced closed, closed, open, closed");
}

#[test]
fn a_remote_opens_prolongs_and_closes_and_is_not_believed_for_ever() {
    let mut world = World::new(exact().trials(1, 1));
    let told = |world: &World, state| world.breaker.told(state, 10 * SECOND, world.now, &world.config);
    assert!(!told(&world, RemoteState::Closed), "it is");
    assert!(told(&world, RemoteState::Open));
    world.now += 8 * SECOND;
    assert!(world.enter().is_err());
    assert!(!told(&world, RemoteState::Open), "prolonged, which is no change");
    world.now += 8 * SECOND;
    assert!(world.enter().is_err());
    assert!(told(&world, RemoteState::Closed));
    assert!(world.call(Verdict::Failure));
    world.fail(4);
    assert!(!told(&world, RemoteState::Closed), "repeated: what opened here since stays open");
    assert_eq!(world.state(), BreakerState::Open);
    world.breaker.order(Order::Reset(BreakerReason::Reset), world.now, &world.config);
    assert!(told(&world, RemoteState::Open));
    world.now += 11 * SECOND;
    assert!(world.call(Verdict::Success), "nothing more was heard: a trial");
    assert!(told(&world, RemoteState::HalfOpen) && !told(&world, RemoteState::HalfOpen));
    let trial = world.enter().unwrap();
    assert!(world.enter().is_err(), "one trial at once");
    world.leave(trial, Verdict::Success);
    assert_eq!(world.state(), BreakerState::Closed);
}

#[test]
fn reports_count_every_outcome_once_and_come_back_if_they_are_not_delivered() {
    let world = World::new(exact().consecutive_failures(100));
    (0..7).for_each(|_| assert!(world.call(Verdict::Success)));
    world.fail(3);
    assert!(world.call(Verdict::Neither));
    assert_eq!(world.breaker.take_reports(), (7, 3));
    world.breaker.put_back(7, 3);
    assert!(world.call(Verdict::Success));
    assert_eq!((world.breaker.take_reports(), world.breaker.take_reports()), ((8, 3), (0, 0)));
}

#[test]
fn a_reader_who_comes_late_hears_an_unbroken_chain() {
    let mut world = World::new(exact());
    for _ in 0..20 {
        world.breaker.order(Order::ForceOpen, world.now, &world.config);
        world.breaker.order(Order::Reset(BreakerReason::Reset), world.now, &world.config);
    }
    world.breaker.order(Order::ForceClosed, world.now, &world.config);
    let told = world.changes();
    assert_eq!(told.first().unwrap().0, BreakerState::Closed);
    assert_eq!(told.last().unwrap().1, BreakerState::ForcedClosed);
    assert!(told.windows(2).all(|pair| pair[0].1 == pair[1].0), "{told:?}");
    assert_eq!(world.changes(), []);
    for _ in 0..5000 {
        world.breaker.order(Order::Reset(BreakerReason::Reset), world.now, &world.config);
    }
    world.breaker.order(Order::ForceOpen, world.now, &world.config);
    assert_eq!(world.changes().last().unwrap().1, BreakerState::ForcedOpen, "however far behind");
}

#[test]
fn many_threads_at_once_leave_no_trial_behind() {
    let mut world = World::new(exact().trials(3, 63));
    world.fail(5);
    world.now += 61 * SECOND;
    let world = &world;
    let most = std::sync::atomic::AtomicI64::new(0);
    let under_way = std::sync::atomic::AtomicI64::new(0);
    std::thread::scope(|scope| {
        for thread in 0..4_u32 {
            let (most, under_way) = (&most, &under_way);
            scope.spawn(move || {
                for _ in 0..5_000 {
                    let Ok(pass) = world.enter() else { continue };
                    let now = under_way.fetch_add(1, std::sync::atomic::Ordering::SeqCst) + 1;
                    most.fetch_max(now, std::sync::atomic::Ordering::SeqCst);
                    under_way.fetch_sub(1, std::sync::atomic::Ordering::SeqCst);
                    world.leave(pass, Verdict::Neither);
                    if thread == 0 {
                        std::thread::yield_now();
                    }
                }
            });
        }
    });
    assert!(most.into_inner() <= 3);
    assert_eq!((world.breaker.info(world.now).trials, world.state()), (0, BreakerState::HalfOpen));
}

#[test]
fn json_has_every_field_and_errors_name_theirs() {
    let config = BreakerConfig::from_json(&json!({
        "consecutiveFailures": 0, "failureRate": {"percent": 20, "window": "30s", "minimumCalls": 5}, "successesToClose": 1,
        "trialCalls": 2, "trialTimeout": "5s", "openTime": "0.5s", "growth": 2, "maxOpenTime": "60s", "jitter": 0,
        "forgetAfter": "1s", "failures": ["UNAVAILABLE", 13], "methodGroups": "METHOD", "maxGroups": 7, "unknown": 1
    }))
    .unwrap();
    assert_eq!((config.consecutive_failures, config.failure_rate), (None, Some(FailureRate::new(20, 30 * SECOND, 5))));
    assert_eq!((config.successes_to_close, config.trial_calls, config.trial_timeout), (1, 2, 5 * SECOND));
    assert_eq!((config.open_time, config.growth, config.max_open_time), (SECOND / 2, 2.0, 60 * SECOND));
    assert_eq!((config.jitter, config.forget_after, config.max_groups), (0.0, SECOND, 7));
    assert_eq!(config.failures, StatusCodes::try_new([13, 14]).unwrap());
    assert_eq!(format!("{:?}", config.groups), "PerMethod");
    let default = BreakerConfig::from_json(&json!({})).unwrap();
    assert_eq!(format!("{default:?}"), format!("{:?}", BreakerConfig::default()));
    for (field, value) in [
        ("consecutiveFailures", json!(8192)),
        ("consecutiveFailures", json!("5")),
        ("failureRate", json!(5)),
        ("failureRate.percent", json!({"percent": 101})),
        ("failureRate.percent", json!({"percent": 0})),
        ("failureRate.window", json!({"window": "0.01s"})),
        ("failureRate.minimumCalls", json!({"minimumCalls": 0})),
        ("successesToClose", json!(0)),
        ("trialCalls", json!(64)),
        ("trialTimeout", json!("0.5s")),
        ("openTime", json!("0s")),
        ("openTime", json!("90000s")),
        ("growth", json!(0.5)),
        ("jitter", json!(1.5)),
        ("failures", json!([])),
        ("failures", json!(["OK"])),
        ("methodGroups", json!("each")),
        ("maxGroups", json!(0)),
    ] {
        let error = BreakerConfig::from_json(&json!({field.split('.').next().unwrap(): value})).unwrap_err();
        assert_eq!(error.field, format!("circuitBreaker.{field}"), "{value}");
    }
    assert!(BreakerConfig::default().jitter(f64::NAN).validate().is_err());
}
