//! What a call's wishes cost: nanoseconds per choice among 10 000 READY endpoints, by policy and by wish.
//!
//! `cargo xtask bench choose [--quick] [--rounds N] [-- POLICY…]`. Unlike `pick`, which calls a policy's picker, this is the whole of what a call does to find its endpoint:
//! [`Snapshot::choose`], with the constraint known from a call before, and the accounting of the call with the policies that look at it. A fifth of the endpoints is in each of five
//! regions, every other one has a `gpu`, and each takes 100 calls at once.
//!
//! Goal: at most 3 times what the same policy takes without a wish.

use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use evenkeel::machine::{Effect, Event, MachineConfig, NamedPolicy};
use evenkeel::{
    Choice, Endpoint, Locality, Machine, Outcome, PickArgs, PickHints, PolicyRegistry, ResolverUpdate, Scratch, Snapshot,
};
use http::HeaderMap;
use lb_bench::{Bars, BenchError, Column, Measured, Options, Rounds, Sample, Suite, Table};
use serde_json::json;

/// The figure of each measurement.
const TIME: &str = "ns";
/// Times what the same policy takes without a wish.
const GOAL: f64 = 3.0;
const NO_WISH: &str = "none";

const ENDPOINTS: u32 = 10_000;
/// And whether they look at the calls in flight.
const POLICIES: [(&str, bool); 4] =
    [("round_robin", false), ("weighted_round_robin", false), ("least_request", true), ("peak_ewma", true)];

fn endpoint(index: u32) -> Endpoint {
    let address = IpAddr::V4(Ipv4Addr::from(0x0a00_0000 + index));
    let mut endpoint = Endpoint::new(SocketAddr::new(address, 50051)).with_weight(1 + index % 10);
    endpoint.attributes.capacity = Some(100);
    endpoint.attributes.locality = Locality::new(format!("region-{}", index % 5), "", "");
    if index.is_multiple_of(2) {
        endpoint.attributes.capabilities.insert("gpu".into());
    }
    endpoint
}

fn snapshot(policy: &str, now: Instant) -> Arc<Snapshot> {
    let built = PolicyRegistry::default().build(policy, &json!({})).expect("the policy is built in");
    let mut machine = Machine::new(MachineConfig::new(1), NamedPolicy::new(policy, built));
    let mut effects = Vec::new();
    machine.handle(now, Event::ExitIdle, &mut effects);
    machine.handle(now, Event::Resolved(ResolverUpdate::new((0..ENDPOINTS).map(endpoint).collect())), &mut effects);
    machine.settle(now, &mut effects);
    for effect in std::mem::take(&mut effects) {
        if let Effect::Connect { slot, attempt, addresses, .. } = effect {
            machine.handle(now, Event::Connected { slot, attempt, address: addresses[0].clone() }, &mut effects);
        }
    }
    machine.settle(now, &mut effects);
    let published =
        effects.into_iter().filter_map(|effect| if let Effect::Publish(snapshot) = effect { Some(snapshot) } else { None });
    published.last().expect("a machine with endpoints publishes")
}

fn wishes() -> [(&'static str, PickHints); 7] {
    [
        (NO_WISH, PickHints::new()),
        ("a capability", PickHints::new().require("gpu")),
        ("an endpoint excluded", PickHints::new().exclude("10.0.0.7:50051")),
        ("a preferred region", PickHints::new().prefer_region("region-3")),
        ("below a load", PickHints::new().not_overloaded()),
        ("a cost", PickHints::new().cost(5)),
        (
            "all five at once",
            PickHints::new().require("gpu").exclude("10.0.0.7:50051").prefer_region("region-3").not_overloaded().cost(5),
        ),
    ]
}

/// A policy's choices with one wish.
struct Subject {
    name: String,
    snapshot: Arc<Snapshot>,
    hints: PickHints,
    accounts: bool,
}

impl Subject {
    fn run(&self, now: Instant, calls: u64) -> Duration {
        let (headers, mut scratch) = (HeaderMap::new(), Scratch::new(7));
        let started = Instant::now();
        for _ in 0..calls {
            let mut args = PickArgs::new(now, "/s/m", &headers, &self.hints, &mut scratch);
            let Choice::Pick { slot, .. } = self.snapshot.choose(&mut args) else { panic!("every endpoint is READY and has room") };
            if self.accounts {
                let stats = &self.snapshot.rows[slot.index()].view.stats;
                stats.begin();
                stats.end(Outcome::Success);
            }
            black_box(slot);
        }
        started.elapsed()
    }

    /// Nanoseconds per choice over about this time, after as many that are not counted that every endpoint is in the cache again.
    fn measure(&self, now: Instant, time: Duration) -> f64 {
        let warm = u64::from(2 * ENDPOINTS);
        let each = self.run(now, warm).as_nanos() as f64 / warm as f64;
        let count = (time.as_nanos() as f64 / each.max(0.1)) as u64 + 1;
        self.run(now, count).as_nanos() as f64 / count as f64
    }
}

fn main() -> Result<(), BenchError> {
    let options = Options::from_env()?;
    let (now, time) = (Instant::now(), Duration::from_millis(if options.quick { 2 } else { 10 }));
    let mut subjects = Vec::new();
    for (policy, accounts) in POLICIES.into_iter().filter(|(policy, _)| options.wants(policy)) {
        let snapshot = snapshot(policy, now);
        let subject =
            |(wish, hints)| Subject { name: format!("{policy}, {wish}"), snapshot: Arc::clone(&snapshot), hints, accounts };
        subjects.extend(wishes().map(subject));
    }
    let rounds = Rounds::new(subjects.iter().map(|subject| subject.name.clone()), options.rounds(31, 3))?;
    let measured = rounds.run(|place| Ok::<_, BenchError>(Sample::new().with(TIME, subjects[place].measure(now, time))))?;
    report(&options, &measured)
}

fn report(options: &Options, measured: &Measured) -> Result<(), BenchError> {
    let policies: Vec<&str> = POLICIES.iter().map(|(policy, _)| *policy).filter(|policy| options.wants(policy)).collect();
    let mut suite = Suite::new("choose", "Nanoseconds per choice among 10 000 endpoints", options)?;
    suite.note(format!("Medians of {} rounds; in brackets the ratio to no wish, median [least–most].", measured.rounds()));
    let mut table = Table::new([Column::left("wish")].into_iter().chain(policies.iter().map(|policy| Column::right(*policy))));
    let (mut bars, mut worst) = (Bars::new("A choice with a wish over one without", "times").goal(GOAL), Vec::new());
    for (wish, _) in wishes() {
        let mut cells = vec![wish.to_owned()];
        for policy in &policies {
            let place = |wish: &str| measured.place(&format!("{policy}, {wish}")).unwrap_or_default();
            let (time, times) = (measured.spread(place(wish), TIME)?, measured.ratio(place(wish), place(NO_WISH), TIME)?);
            cells.push(if wish == NO_WISH { format!("{:.1}", time.median) } else { format!("{:.1} ({times:.1})", time.median) });
            if wish != NO_WISH {
                bars.push(format!("{policy}, {wish}"), times);
                worst.extend((times.median > GOAL).then(|| format!("{policy} with {wish} {:.1}", times.median)));
            }
        }
        table.push(cells)?;
    }
    suite.table(&table);
    let missed = if worst.is_empty() { "**met**".to_owned() } else { format!("**missed** by {}", worst.join(", ")) };
    suite.note(format!("Goal: at most {GOAL} times what no wish takes: {missed}."));
    suite.measured("choices", measured)?;
    if !policies.is_empty() {
        suite.plot(bars);
    }
    suite.write().map(|_| ())
}
