#[expect(clippy::disallowed_types, reason = "a test double")]
use std::sync::Mutex;
use std::time::{Duration, Instant};

use http::HeaderMap;
use serde_json::Value;

use super::*;
use crate::connectivity::ConnectivityState::TransientFailure;
use crate::hints::PickHints;
use crate::machine::{Event, Machine, MachineConfig, NamedPolicy};
use crate::pick::PickArgs;
use crate::policies::testing::{ready, rebuild, start};
use crate::registry::PolicyRegistry;
use crate::scratch::Scratch;
use crate::slot::Slot;
use crate::snapshot::{NamedPicker, Row, Snapshot};
use crate::stats::Outcome;
use crate::wishes::{Choice, Misfit};

/// A gate that answers as it is told and writes down what it hears.
#[derive(Debug, Default)]
struct Porter {
    #[expect(clippy::disallowed_types, reason = "a test double")]
    state: Mutex<(Option<Refusal>, Vec<String>)>,
}

impl Porter {
    fn refuse(&self, refusal: impl Into<Option<Refusal>>) {
        self.state.lock().unwrap().0 = refusal.into();
    }

    fn heard(&self) -> Vec<String> {
        std::mem::take(&mut self.state.lock().unwrap().1)
    }
}

impl Gate for Porter {
    fn enter(&self, entry: &Entry<'_>) -> Result<u64, Refusal> {
        let mut state = self.state.lock().unwrap();
        match state.0.clone().filter(|refusal| !(refusal.soft && entry.must)) {
            Some(refusal) => Err(refusal),
            None => {
                state.1.push("enter".into());
                Ok(7)
            }
        }
    }

    fn left(&self, token: u64, done: &Done<'_>) {
        self.state.lock().unwrap().1.push(format!("left {token} {:?}", done.outcome));
    }

    fn unused(&self, token: u64) {
        self.state.lock().unwrap().1.push(format!("unused {token}"));
    }

    fn refusal(&self, _entry: &Entry<'_>) -> Option<Refusal> {
        self.state.lock().unwrap().0.clone()
    }
}

/// A channel of READY endpoints with one gate each, or as many as it is told.
struct Site {
    snapshot: Snapshot,
    porters: Vec<Vec<Arc<Porter>>>,
    scratch: Scratch,
    now: Instant,
    tried: Vec<Slot>,
}

impl Site {
    fn new(policy: &str, endpoints: usize, gates: usize) -> Self {
        let porters: Vec<Vec<Arc<Porter>>> = (0..endpoints).map(|_| (0..gates).map(|_| Arc::default()).collect()).collect();
        let mut view = ready(endpoints);
        for (row, porters) in view.iter_mut().zip(&porters) {
            let gates: Vec<Arc<dyn Gate>> = porters.iter().map(|porter| Arc::clone(porter) as _).collect();
            row.gates = Some(Arc::new(Gates::new(gates)));
        }
        let mut built = PolicyRegistry::default().build(policy, &Value::Null).unwrap();
        let mut snapshot = Snapshot::initial();
        snapshot.pickers = [NamedPicker { name: policy.into(), picker: rebuild(&mut *built, &view).picker }].into();
        snapshot.rows = view.into_iter().map(|view| Row { view, excluded: None }).collect();
        snapshot.posts = posts(&snapshot.rows);
        Self { snapshot, porters, scratch: Scratch::new(3), now: start(), tried: Vec::new() }
    }

    fn refuse(&self, endpoint: usize, refusal: impl Into<Option<Refusal>>) {
        self.porters[endpoint][0].refuse(refusal);
    }

    fn choose(&mut self, hints: &PickHints) -> Choice<'_> {
        let headers = HeaderMap::new();
        let mut args = PickArgs::new(self.now, "/s/m", &headers, hints, &mut self.scratch).with_tried(&self.tried);
        self.snapshot.choose(&mut args)
    }

    fn picked(&mut self, hints: &PickHints) -> usize {
        match self.choose(hints) {
            Choice::Pick { slot, permit: Some(_), .. } => slot.index(),
            other => panic!("expected a pick with a permit, got {other:?}"),
        }
    }

    fn counts(&mut self, hints: &PickHints, picks: usize) -> Vec<usize> {
        let mut counts = vec![0; self.porters.len()];
        (0..picks).for_each(|_| counts[self.picked(hints)] += 1);
        counts
    }

    fn unfit(&mut self, hints: &PickHints) -> String {
        match self.choose(hints) {
            Choice::Unfit(unfit) => unfit.to_string(),
            other => panic!("expected nobody, got {other:?}"),
        }
    }
}

#[test]
fn a_refused_endpoint_gets_nothing_and_the_others_share_as_the_policy_says() {
    for policy in ["round_robin", "random", "least_request", "weighted_round_robin", "ring_hash", "pick_first"] {
        let mut site = Site::new(policy, 4, 1);
        site.refuse(0, Refusal::at_limit());
        site.refuse(2, Refusal::at_limit());
        let counts = site.counts(&PickHints::new().hash_key("k"), 400);
        assert_eq!((counts[0], counts[2], counts.iter().sum::<usize>()), (0, 0, 400), "{policy}: {counts:?}");
        if policy == "round_robin" {
            assert!(counts[1].abs_diff(counts[3]) <= 200, "{counts:?}");
        }
    }
}

#[test]
fn the_one_of_many_that_admits_is_found() {
    let mut site = Site::new("random", 100, 1);
    (0..100).filter(|endpoint| *endpoint != 63).for_each(|endpoint| site.refuse(endpoint, Refusal::at_limit()));
    assert_eq!(site.counts(&PickHints::new(), 50)[63], 50);
}

#[test]
fn nobody_says_why_and_until_when() {
    let mut site = Site::new("round_robin", 3, 1);
    let later = |millis| site.now + Duration::from_millis(millis);
    let (soon, late) = (later(1_500), later(9_000));
    site.refuse(0, Refusal::breaker_open(Some(late)));
    site.refuse(1, Refusal::breaker_open(Some(soon)));
    site.refuse(2, Refusal::at_limit());
    assert_eq!(site.unfit(&PickHints::new()), "of 3 endpoints: 2 breaker open (next in 1.5s), 1 at its limit");
    assert_eq!(site.unfit(&PickHints::new().require("gpu")), "of 3 endpoints: 3 without gpu", "a gate comes last");
    site.refuse(1, Refusal::rate_limited(soon));
    site.refuse(2, Refusal::new(Misfit::Refused("asleep")));
    let Choice::Unfit(unfit) = site.choose(&PickHints::new()) else { panic!() };
    assert_eq!(unfit.ends(&Misfit::RateLimited), Some(Duration::from_millis(1_500)));
    assert_eq!((unfit.removed_by(&Misfit::Refused("asleep")), unfit.is_full()), (1, true));
}

#[test]
fn a_soft_refusal_gives_way_when_nobody_else_is_there() {
    let mut site = Site::new("round_robin", 3, 1);
    site.refuse(0, Refusal::ramping());
    assert_eq!(site.counts(&PickHints::new(), 90)[0], 0, "others can");
    site.refuse(1, Refusal::at_limit());
    site.refuse(2, Refusal::at_limit());
    assert_eq!(site.counts(&PickHints::new(), 90), [90, 0, 0]);
    site.refuse(0, Refusal::at_limit());
    assert_eq!(site.unfit(&PickHints::new()), "of 3 endpoints: 3 at its limit");
}

#[test]
fn what_was_tried_is_tried_again_only_after_what_a_soft_gate_holds_back() {
    let mut site = Site::new("round_robin", 3, 1);
    site.tried = vec![crate::policies::testing::slot(1)];
    site.refuse(0, Refusal::ramping());
    site.refuse(2, Refusal::at_limit());
    assert_eq!(site.counts(&PickHints::new(), 9), [0, 9, 0], "the policy draws it when nothing else admits");
    site.refuse(1, Refusal::at_limit());
    assert_eq!(site.counts(&PickHints::new(), 9), [9, 0, 0]);
    site.refuse(0, Refusal::at_limit());
    site.refuse(1, Refusal::ramping());
    assert_eq!(site.counts(&PickHints::new(), 9), [0, 9, 0]);
}

#[test]
fn a_preference_is_not_worth_a_refusal_and_a_pin_is() {
    let mut site = Site::new("round_robin", 3, 1);
    let key = site.snapshot.rows[1].view.endpoint.key().clone();
    site.refuse(1, Refusal::ramping());
    let counts = site.counts(&PickHints::new().prefer(key.clone()), 30);
    assert_eq!(counts[1], 0, "{counts:?}");
    assert_eq!(site.counts(&PickHints::new().pin(key.clone()), 30), [0, 30, 0], "nobody else can take it");
    site.refuse(1, Refusal::at_limit());
    assert_eq!(site.unfit(&PickHints::new().pin(key.clone())), format!("of 3 endpoints: 2 not the pinned {key}, 1 at its limit"));
}

#[test]
fn all_gates_admit_or_none_is_used() {
    let mut site = Site::new("round_robin", 1, 3);
    let porters = site.porters[0].clone();
    let heard = || porters.iter().map(|porter| porter.heard().join(", ")).collect::<Vec<_>>();
    drop(site.choose(&PickHints::new()));
    assert_eq!(heard(), ["enter, unused 7"; 3], "a permit that is dropped was not used");
    porters[2].refuse(Refusal::at_limit());
    assert_eq!(site.unfit(&PickHints::new()), "of 1 endpoint: 1 at its limit");
    // Four draws and one look.
    assert_eq!(heard(), [["enter, unused 7"; 5].join(", "), ["enter, unused 7"; 5].join(", "), String::new()]);
    porters[2].refuse(None);
    let now = site.now;
    let Choice::Pick { slot, permit: Some(permit), .. } = site.choose(&PickHints::new()) else { panic!() };
    permit.leave(&Done::new(slot, now, Duration::ZERO, Outcome::Cancelled));
    assert_eq!(heard(), ["enter, left 7 Cancelled"; 3], "cancelled is not unused");
}

#[test]
fn explanations_and_entries_by_hand_see_the_gates() {
    let mut site = Site::new("round_robin", 3, 1);
    site.refuse(1, Refusal::at_limit());
    site.refuse(2, Refusal::ramping());
    let (headers, hints) = (HeaderMap::new(), PickHints::new());
    let mut args = PickArgs::new(site.now, "/s/m", &headers, &hints, &mut site.scratch);
    let rows = site.snapshot.explain(&mut args).unwrap();
    assert_eq!(rows.iter().map(|row| row.excluded.clone()).collect::<Vec<_>>(), [None, Some(Misfit::AtLimit), None]);
    assert!(rows[2].reason.ends_with("; ramping up"), "{}", rows[2].reason);
    let slot = |endpoint: usize| site.snapshot.rows[endpoint].view.slot;
    assert_eq!(site.snapshot.enter(slot(1), &mut args).unwrap_err(), Refusal::at_limit());
    assert!(site.snapshot.enter(slot(2), &mut args).unwrap().is_some(), "soft does not count");
    assert!(site.snapshot.enter(crate::policies::testing::slot(9), &mut args).unwrap().is_none(), "nobody there");
}

#[test]
fn without_a_ready_endpoint_the_policy_speaks() {
    let mut site = Site::new("round_robin", 2, 1);
    let mut built = PolicyRegistry::default().build("round_robin", &Value::Null).unwrap();
    site.snapshot.rows.iter_mut().for_each(|row| row.view.state = TransientFailure);
    let view: Vec<_> = site.snapshot.rows.iter().map(|row| row.view.clone()).collect();
    site.snapshot.pickers[0].picker = rebuild(&mut *built, &view).picker;
    assert!(matches!(site.choose(&PickHints::new()), Choice::Fail(_)));
}

/// Counts the gates it makes.
#[derive(Debug, Default)]
struct Keeper {
    #[expect(clippy::disallowed_types, reason = "a test double")]
    made: Mutex<Vec<String>>,
}

impl Gatekeeper for Keeper {
    fn gate(&self, endpoint: &Endpoint, _signal: &GateSignal) -> Option<Arc<dyn Gate>> {
        self.made.lock().unwrap().push(endpoint.key().to_string());
        (!endpoint.key().as_str().ends_with(":9")).then(|| Arc::new(Porter::default()) as _)
    }
}

#[test]
fn gates_live_as_long_as_the_resolver_lists_their_endpoint() {
    let keeper = Arc::new(Keeper::default());
    let mut config = MachineConfig::new(1);
    config.gatekeepers = vec![Arc::clone(&keeper) as _];
    let policy = PolicyRegistry::default().build("round_robin", &Value::Null).unwrap();
    let mut machine = Machine::new(config, NamedPolicy::new("round_robin", policy));
    let mut gates = |ports: &[u16], weight: u32| {
        let endpoint = |port: &u16| Endpoint::new(std::net::SocketAddr::from(([10, 0, 0, 1], *port))).with_weight(weight);
        let update = crate::resolver::ResolverUpdate::new(ports.iter().map(endpoint).collect());
        let mut effects = Vec::new();
        machine.handle(start(), Event::ExitIdle, &mut effects);
        machine.handle(start(), Event::Resolved(update), &mut effects);
        machine.settle(start(), &mut effects);
        let published = effects.into_iter().rev().find_map(|effect| match effect {
            crate::machine::Effect::Publish(snapshot) => Some(snapshot),
            _ => None,
        });
        let snapshot = published.unwrap();
        (snapshot.rows.iter().map(|row| row.view.gates.clone()).collect::<Vec<_>>(), snapshot.posts.len())
    };
    let (before, posts) = gates(&[1, 9], 1);
    assert_eq!((before[0].is_some(), before[1].is_none(), posts), (true, true, 1));
    let (after, _) = gates(&[9, 1], 5);
    assert!(Arc::ptr_eq(before[0].as_ref().unwrap(), after[1].as_ref().unwrap()), "the same after a change of order and weight");
    assert_eq!(gates(&[9], 5).1, 0, "nobody has gates: one branch");
    let (back, _) = gates(&[1], 5);
    assert!(!Arc::ptr_eq(before[0].as_ref().unwrap(), back[0].as_ref().unwrap()), "who comes back begins anew");
    assert_eq!(*keeper.made.lock().unwrap(), ["10.0.0.1:1", "10.0.0.1:9", "10.0.0.1:1"]);
}
