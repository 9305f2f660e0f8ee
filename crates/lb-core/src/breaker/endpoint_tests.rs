//! Breakers as gates of endpoints.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use http::HeaderMap;

use super::change::{BreakerReason, BreakerState};
use super::config::{BreakerConfig, FailureRate};
use super::endpoint::{BreakerForce, Breakers, EndpointBreakers};
use super::groups::MethodGroups;
use super::remote::{RemoteState, RemoteUpdate};
use crate::endpoint::Endpoint;
use crate::feedback::Done;
use crate::gate::{Entry, Gate, GateListener, GateSignal, Refusal};
use crate::hints::PickHints;
use crate::pick::PickArgs;
use crate::policies::testing::start;
use crate::scratch::Scratch;
use crate::slot::Slot;
use crate::stats::Outcome;
use crate::wishes::Misfit;

#[derive(Debug, Default)]
struct Heard {
    changed: AtomicUsize,
    opened: AtomicUsize,
}

impl GateListener for Heard {
    fn changed(&self) {
        self.changed.fetch_add(1, Ordering::Relaxed);
    }

    fn opened(&self) {
        self.opened.fetch_add(1, Ordering::Relaxed);
    }
}

struct World {
    gate: Arc<EndpointBreakers>,
    breakers: Breakers,
    endpoint: Endpoint,
    heard: Arc<Heard>,
    now: Instant,
}

impl World {
    fn new(config: BreakerConfig) -> Self {
        let heard = Arc::new(Heard::default());
        let endpoint = Endpoint::new(std::net::SocketAddr::from(([10, 0, 0, 1], 1)));
        let breakers = Breakers::try_new(config.jitter(0.0), 7, true).unwrap();
        let gate = breakers.endpoint(&endpoint, &GateSignal::new(heard.clone()));
        Self { gate, breakers, endpoint, heard, now: start() }
    }

    fn configure(&mut self, config: BreakerConfig) {
        self.breakers = self.breakers.by(config.jitter(0.0)).unwrap();
        self.gate = self.gate.by(&self.breakers, self.now);
    }

    fn ask<T>(&self, path: &str, question: impl FnOnce(&Entry<'_>) -> T) -> T {
        let (headers, hints, mut scratch) = (HeaderMap::new(), PickHints::default(), Scratch::new(1));
        question(&Entry::new(&PickArgs::new(self.now, path, &headers, &hints, &mut scratch), &self.endpoint))
    }

    fn enter(&self, path: &str) -> Result<u64, Refusal> {
        self.ask(path, |entry| self.gate.enter(entry))
    }

    fn end(&self, token: u64, outcome: Outcome, code: Option<i32>) {
        self.gate.left(token, &Done::new(Slot::new(0, 0), self.now, Duration::from_millis(1), outcome).with_code(code));
    }

    fn fail(&self, path: &str, calls: usize) {
        for _ in 0..calls {
            let token = self.enter(path).unwrap();
            self.end(token, Outcome::Failure, Some(14));
        }
    }

    fn states(&self) -> Vec<(String, BreakerState)> {
        self.gate.info(self.now).into_iter().map(|info| (info.group.to_string(), info.state)).collect()
    }

    fn told(&self) -> Vec<(String, BreakerState, BreakerReason)> {
        let mut told = Vec::new();
        self.gate.changes(|change| told.push((change.group.to_string(), change.to, change.reason)));
        told
    }
}

#[test]
fn an_open_breaker_refuses_hard_and_says_until_when_and_wakes_the_channel() {
    let mut world = World::new(BreakerConfig::default().trials(1, 1));
    world.fail("/a/b", 5);
    assert_eq!(world.heard.changed.load(Ordering::Relaxed), 1);
    let refusal = world.enter("/a/b").unwrap_err();
    assert!(!refusal.soft && refusal.reason == Misfit::BreakerOpen, "{refusal:?}");
    let until = refusal.until.unwrap();
    assert!(until >= world.now + Duration::from_secs(60) && until < world.now + Duration::from_secs(61));
    assert_eq!(world.ask("/a/b", |entry| world.gate.refusal(entry)), Some(refusal));

    world.now = until;
    assert_eq!(world.ask("/a/b", |entry| world.gate.refusal(entry)), None, "it would do, and asking takes no place");
    let trial = world.enter("/x/y").unwrap();
    assert!(world.enter("/a/b").unwrap_err().until.unwrap() >= world.now + Duration::from_secs(60), "until trials are overdue");
    world.gate.unused(trial);
    assert_eq!(world.heard.opened.load(Ordering::Relaxed), 1, "the place is free");
    let trial = world.enter("/a/b").unwrap();
    world.end(trial, Outcome::Cancelled, None);
    assert_eq!(world.heard.opened.load(Ordering::Relaxed), 2);
    let trial = world.enter("/a/b").unwrap();
    world.end(trial, Outcome::Success, Some(0));
    assert_eq!(world.states(), [("*".to_owned(), BreakerState::Closed)]);
    assert_eq!(world.heard.changed.load(Ordering::Relaxed), 3, "open, half-open, closed");
    let told: Vec<BreakerState> = world.told().into_iter().map(|(_, to, _)| to).collect();
    assert_eq!(told, [BreakerState::Open, BreakerState::HalfOpen, BreakerState::Closed]);
}

#[test]
fn what_tells_of_the_call_and_not_of_the_server_is_a_success() {
    let world = World::new(BreakerConfig::default());
    for code in [3, 5, 6, 7, 8, 9, 10, 11, 12, 16] {
        for _ in 0..5 {
            let token = world.enter("/a/b").unwrap();
            world.end(token, Outcome::Failure, Some(code));
        }
    }
    world.fail("/a/b", 4);
    let token = world.enter("/a/b").unwrap();
    world.end(token, Outcome::Failure, Some(5));
    world.fail("/a/b", 4);
    assert_eq!(world.states()[0].1, BreakerState::Closed, "NOT_FOUND ended the row");
    let token = world.enter("/a/b").unwrap();
    world.end(token, Outcome::Cancelled, None);
    let token = world.enter("/a/b").unwrap();
    world.end(token, Outcome::Failure, None);
    assert_eq!(world.states()[0].1, BreakerState::Open, "a lost connection is the fifth");
}

#[test]
fn groups_open_one_by_one_and_those_beyond_the_bound_share_one() {
    let mut config = BreakerConfig::default().groups(MethodGroups::PerService);
    config.max_groups = 2;
    let world = World::new(config);
    world.fail("/a.A/x", 3);
    world.fail("/a.A/y", 2);
    assert!(world.enter("/a.A/z").is_err() && world.enter("/b.B/x").is_ok());
    world.fail("/c.C/x", 3);
    world.fail("/d.D/x", 2);
    assert!(world.enter("/e.E/x").is_err() && world.enter("/b.B/x").is_ok());
    let mut states = world.states();
    states.sort();
    let named = |name: &str, state| (name.to_owned(), state);
    assert_eq!(states, [named("*", BreakerState::Open), named("a.A", BreakerState::Open), named("b.B", BreakerState::Closed)]);
}

#[test]
fn forcing_all_groups_holds_for_those_that_come_later() {
    let world = World::new(BreakerConfig::default().groups(MethodGroups::PerMethod));
    assert!(world.enter("/a/b").is_ok());
    assert!(world.gate.force(None, BreakerForce::Open, world.now));
    assert!(world.enter("/a/b").unwrap_err().until.is_none() && world.enter("/a/later").is_err());
    assert!(world.gate.force(Some("a/b"), BreakerForce::Reset, world.now));
    assert!(world.enter("/a/b").is_ok() && world.enter("/a/later").is_err());
    assert!(world.gate.force(None, BreakerForce::Closed, world.now));
    world.fail("/a/b", 100);
    world.fail("/a/new", 100);
    assert!(world.gate.force(None, BreakerForce::Reset, world.now));
    world.fail("/a/b", 5);
    assert!(world.enter("/a/b").is_err());
    let world = World::new(BreakerConfig::default());
    assert!(!world.gate.force(Some("a/b"), BreakerForce::Open, world.now), "there are no groups");
    assert!(world.gate.force(Some("*"), BreakerForce::Open, world.now) && world.enter("/a/b").is_err());
}

#[test]
fn a_remote_speaks_of_all_groups_or_of_one() {
    let mut world = World::new(BreakerConfig::default().groups(MethodGroups::PerMethod));
    let update = |state| RemoteUpdate::new("10.0.0.1:1", state).open_for(Duration::from_secs(5));
    assert!(world.gate.told(&update(RemoteState::Open), world.now));
    let until = world.enter("/a/later").unwrap_err().until.unwrap();
    assert!(until >= world.now + Duration::from_secs(5) && until <= world.now + Duration::from_millis(5_010));
    assert!(world.gate.told(&update(RemoteState::Closed).for_group("a/later"), world.now));
    assert!(world.enter("/a/later").is_ok() && world.enter("/a/b").is_err());
    assert!(world.told().iter().all(|(_, _, reason)| *reason == BreakerReason::Remote));
    world.now += Duration::from_secs(6);
    assert!(world.enter("/a/b").is_ok(), "a trial: nothing more was heard");
}

#[test]
fn reports_are_of_breakers_with_calls() {
    let world = World::new(BreakerConfig::default().groups(MethodGroups::PerMethod));
    world.fail("/a/b", 2);
    let token = world.enter("/a/c").unwrap();
    world.end(token, Outcome::Success, Some(0));
    let token = world.enter("/a/d").unwrap();
    world.gate.unused(token);
    let mut reports = Vec::new();
    world.gate.take_reports(&mut reports);
    reports.sort_by(|one, other| one.group.cmp(&other.group));
    let counts: Vec<_> = reports.iter().map(|report| (&*report.group, report.succeeded, report.failed)).collect();
    assert_eq!(counts, [("a/b", 0, 2), ("a/c", 1, 0)]);
    world.gate.put_back(&reports[0]);
    let mut again = Vec::new();
    world.gate.take_reports(&mut again);
    assert_eq!(again, reports[..1]);
}

#[test]
fn a_call_in_good_times_changes_nothing_and_wakes_nobody() {
    let world = World::new(BreakerConfig::default());
    for _ in 0..1000 {
        let token = world.enter("/a/b").unwrap();
        world.end(token, Outcome::Success, Some(0));
    }
    assert_eq!(world.heard.changed.load(Ordering::Relaxed) + world.heard.opened.load(Ordering::Relaxed), 0);
    let info = &world.gate.info(world.now)[0];
    assert_eq!((info.since, info.opened, info.refused, info.next_trial), (None, 0, 0, None));
}

#[test]
fn another_configuration_goes_on_where_the_last_one_was() {
    let mut world = World::new(BreakerConfig::default().trials(1, 1));
    world.fail("/a/b", 4);
    let under_way = world.enter("/a/b").unwrap();
    world.configure(BreakerConfig::default().consecutive_failures(6).trials(1, 1).open_time(Duration::from_secs(7)));
    world.end(under_way, Outcome::Failure, Some(14));
    assert_eq!(world.states()[0].1, BreakerState::Closed, "the fifth, of six");
    world.fail("/a/b", 1);
    assert_eq!(world.states()[0].1, BreakerState::Open);
    assert_eq!(world.told(), [("*".to_owned(), BreakerState::Open, BreakerReason::FailuresInARow(6))]);
    assert!(world.enter("/a/b").unwrap_err().until.unwrap() < world.now + Duration::from_secs(8));

    // It stays open for as long as it was to be; a trial under way has its place, and gives it back.
    world.configure(BreakerConfig::default().trials(1, 1).failure_rate(FailureRate::new(50, Duration::from_secs(10), 4)));
    assert_eq!((world.states()[0].1, world.told().len()), (BreakerState::Open, 0), "what is told is not told again");
    world.now += Duration::from_secs(8);
    let trial = world.enter("/a/b").unwrap();
    world.configure(BreakerConfig::default().trials(1, 1).failure_rate(FailureRate::new(50, Duration::from_secs(10), 8)));
    assert!(world.enter("/a/b").is_err(), "one at a time");
    world.gate.unused(trial);
    let trial = world.enter("/a/b").unwrap();
    world.end(trial, Outcome::Success, Some(0));
    let told: Vec<BreakerState> = world.told().into_iter().map(|(_, to, _)| to).collect();
    assert_eq!((world.states()[0].1, told), (BreakerState::Closed, vec![BreakerState::Closed]));
    let info = &world.gate.info(world.now)[0];
    assert_eq!((info.opened, info.recent_calls), (1, 0));
    // And the new window counts: four of eight, never more than three in a row.
    for call in 0..8 {
        let token = world.enter("/a/b").unwrap();
        let failed = call % 2 == 1;
        world.end(token, if failed { Outcome::Failure } else { Outcome::Success }, Some(if failed { 14 } else { 0 }));
    }
    assert_eq!(world.states()[0].1, BreakerState::Open);
}

#[test]
fn switched_off_only_what_somebody_said_stays_open() {
    let mut world = World::new(BreakerConfig::default().groups(MethodGroups::PerMethod));
    for path in ["/a/counted", "/a/forced", "/a/remote"] {
        world.fail(path, 5);
    }
    world.gate.force(Some("a/forced"), BreakerForce::Open, world.now);
    let says = RemoteUpdate::new(world.endpoint.key().clone(), RemoteState::Open).for_group("a/remote");
    world.gate.told(&says, world.now);
    world.told();
    world.configure(BreakerConfig::off().groups(MethodGroups::PerMethod));
    assert_eq!(world.told(), [("a/counted".to_owned(), BreakerState::Closed, BreakerReason::Configured)]);
    let open = |path: &str| world.enter(path).is_err();
    assert_eq!(["/a/counted", "/a/forced", "/a/remote"].map(open), [false, true, true]);
    world.fail("/a/counted", 50);
    assert!(world.enter("/a/counted").is_ok(), "nothing is counted");
}

#[test]
fn grouped_otherwise_all_begins_anew_and_calls_under_way_are_of_no_concern() {
    let mut world = World::new(BreakerConfig::default().groups(MethodGroups::PerMethod));
    world.fail("/a/b", 4);
    let (under_way, unused) = (world.enter("/a/b").unwrap(), world.enter("/a/b").unwrap());
    world.configure(BreakerConfig::default().groups(MethodGroups::PerService).consecutive_failures(1));
    assert!(world.states().is_empty());
    let token = world.enter("/a/c").unwrap();
    world.end(under_way, Outcome::Failure, Some(14));
    world.gate.unused(unused);
    assert_eq!(world.states(), [("a".to_owned(), BreakerState::Closed)]);
    world.end(token, Outcome::Failure, Some(14));
    assert_eq!(world.states(), [("a".to_owned(), BreakerState::Open)]);
    assert!(Breakers::by(&world.breakers, BreakerConfig::default().trials(0, 1)).is_err());
}
