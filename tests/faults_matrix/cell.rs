//! One cell from beginning to end, and all cells of a fault.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use evenkeel::{ConnectivityState, LbChannel};
use lb_testkit::netns;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::armour::Armour;
use crate::fault::Fault;
use crate::judge::Expect;
use crate::kind::Kind;
use crate::report;
use crate::site::{Place, Site};
use crate::support::{info, ready, until};
use crate::traffic::{Record, Traffic};
use crate::watch::Watch;

/// Every policy that is not much like one of these. The one named first is combined with every kind of call.
const POLICIES: [&str; 7] = ["round_robin", "least_request", "peak_ewma", "ring_hash", "prequal", "performance", "pick_first"];

/// Calls that end before the fault, during it once the victim is left, and after it once the victim is back.
const CALLS: u64 = 40;

/// How many of these the victim answers before the fault: it must have been in use.
const AT_VICTIM: u64 = 3;

/// Cells at one time: most of a cell is waiting for a timer, and little of it work.
const AT_ONCE: usize = 11;

/// One policy and one kind of call.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cell {
    pub(crate) policy: &'static str,
    pub(crate) kind: Kind,
}

/// What was seen in a cell.
#[derive(Debug)]
pub(crate) struct Seen {
    pub(crate) armour: Armour,
    pub(crate) cell: Cell,
    pub(crate) victim: String,
    pub(crate) records: Vec<Record>,
    /// How often the servers executed each call.
    pub(crate) executed: BTreeMap<String, u32>,
    /// How often connections with calls on them were cut; and how many calls the server in the victim's place has answered.
    pub(crate) losses: u64,
    pub(crate) answered: u64,
    pub(crate) begun: Instant,
    pub(crate) left: Option<Instant>,
    pub(crate) ended: Instant,
    pub(crate) back: Option<Instant>,
}

/// Runs all cells of a fault, writes their lines, and fails with everything that is wrong with any of them.
pub(crate) async fn run_all(fault: &'static Fault, armour: Armour) {
    if fault.place == Place::Apart && !netns::apart() {
        return;
    }
    let turns = Arc::new(Semaphore::new(AT_ONCE));
    let mut running = JoinSet::new();
    for (place, cell) in Cell::all().into_iter().enumerate() {
        let turns = Arc::clone(&turns);
        let expect = armour.expect(fault.expect, cell);
        running.spawn(async move {
            let _turn = turns.acquire().await;
            let seen = tokio::spawn(cell.run(fault, armour, expect)).await;
            (place, cell, expect, seen)
        });
    }
    let (mut lines, mut wrong) = (BTreeMap::new(), Vec::new());
    while let Some(ended) = running.join_next().await {
        let (place, cell, expect, seen) = ended.unwrap();
        let name = format!("{} / {}", cell.policy, cell.kind.name());
        match seen {
            Ok(Some(seen)) => {
                wrong.extend(seen.verdict(&expect).into_iter().map(|what| format!("{name}: {what}")));
                lines.insert(place, report::line(fault, &seen));
            }
            Ok(None) => return,
            Err(error) => wrong.push(format!("{name}: {}", text(error))),
        }
    }
    report::write(fault, armour, lines.into_values());
    assert!(wrong.is_empty(), "{}, {}:\n{}", fault.name, armour.name(), wrong.join("\n"));
}

/// What a panicked cell said.
fn text(error: tokio::task::JoinError) -> String {
    match error.try_into_panic() {
        Ok(panic) => panic.downcast::<String>().map_or_else(|_| "panicked".to_owned(), |text| *text),
        Err(error) => error.to_string(),
    }
}

impl Cell {
    fn all() -> Vec<Self> {
        let kinds = Kind::ALL.into_iter().map(|kind| Self { policy: POLICIES[0], kind });
        kinds.chain(POLICIES[1..].iter().map(|policy| Self { policy, kind: Kind::Unary })).collect()
    }

    /// Whether its policy goes back to an endpoint because it is there again. `pick_first` stays where it is.
    fn goes_back(self) -> bool {
        self.policy != "pick_first"
    }

    /// Whether its first calls go to the victim, among others.
    fn begins_there(self, fault: &Fault) -> bool {
        !fault.from_the_start && (self.goes_back() || fault.place.is_endpoint())
    }

    async fn run(self, fault: &'static Fault, armour: Armour, expect: Expect) -> Option<Seen> {
        let mut site = Site::start(fault.place).await?;
        if fault.from_the_start {
            (fault.begin)(&mut site).await;
        }
        let (channel, watch) = self.channel(&site, fault, armour).await;
        let traffic = Traffic::start(&channel, self.kind);
        traffic.goes_on(CALLS).await;
        if self.begins_there(fault) {
            answers_more(&channel, &site).await;
        }

        let begun = Instant::now();
        if !fault.from_the_start {
            (fault.begin)(&mut site).await;
        }
        let mut left = None;
        if expect.left_within.is_some() {
            left = Some(watch.left(begun).await);
        }
        traffic.goes_on(CALLS).await;

        let ended = Instant::now();
        (fault.end)(&mut site).await;
        let mut back = None;
        if expect.back_within.is_some() && self.goes_back() {
            back = Some(watch.serves().await.max(ended));
            traffic.goes_on(CALLS).await;
        }
        if self.policy == POLICIES[0] {
            answers_more(&channel, &site).await;
        }
        traffic.goes_on(CALLS).await;
        let records = traffic.stop().await;
        let answered = site.bad.as_ref().map_or(0, |bad| bad.calls());
        let (executed, losses) = (site.ledger.executed().unwrap(), site.losses.load(Ordering::Relaxed));
        Some(Seen {
            armour,
            cell: self,
            victim: site.addr().to_string(),
            records,
            executed,
            losses,
            answered,
            begun,
            left,
            ended,
            back,
        })
    }

    /// A channel that has not called yet.
    async fn channel(self, site: &Site, fault: &Fault, armour: Armour) -> (LbChannel, Watch) {
        loop {
            let watch = site.watch();
            let builder = armour.arm(site.builder(), self.kind).policy(self.policy);
            let channel = builder.observer(watch.clone()).build().unwrap();
            if self.goes_back() || !self.begins_there(fault) {
                return (channel, watch);
            }
            // A policy that stays where it is must be at the victim, although on a busy machine another may have been faster.
            ready(&channel, 1).await;
            if info(&channel, site.addr()).state == ConnectivityState::Ready {
                return (channel, watch);
            }
        }
    }
}

/// Waits until the victim has answered a few more calls.
async fn answers_more(channel: &LbChannel, site: &Site) {
    let answered = || info(channel, site.addr()).succeeded;
    let enough = answered() + AT_VICTIM;
    until("the victim answers calls", || answered() >= enough).await;
}

impl Seen {
    /// Calls that were executed more than once.
    pub(crate) fn twice(&self) -> usize {
        self.executed.values().filter(|times| **times > 1).count()
    }

    pub(crate) fn failed(&self) -> usize {
        self.records.iter().filter(|record| record.failure.is_some()).count()
    }

    pub(crate) fn slowest(&self) -> Duration {
        self.records.iter().map(|record| record.ended - record.began).max().unwrap_or_default()
    }

    /// How long after the beginning of the fault the victim was left.
    pub(crate) fn left_after(&self) -> Option<Duration> {
        self.left.map(|left| left - self.begun)
    }

    /// How long after the end of the fault the victim served.
    pub(crate) fn back_after(&self) -> Option<Duration> {
        self.back.map(|back| back - self.ended)
    }
}
