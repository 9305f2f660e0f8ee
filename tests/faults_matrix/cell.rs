//! One cell from beginning to end, and all cells of a fault.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use evenkeel::LbChannel;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::fault::Fault;
use crate::kind::Kind;
use crate::report;
use crate::site::Site;
use crate::support::{info, until};
use crate::traffic::{Record, Traffic};

/// Every policy that is not much like one of these. The one named first is combined with every kind of call.
const POLICIES: [&str; 7] = ["round_robin", "least_request", "peak_ewma", "ring_hash", "prequal", "performance", "pick_first"];

/// Calls that end before the fault, during it once the victim is left, and after it once the victim is back.
const CALLS: u64 = 60;

/// How many of these the victim answers before the fault: it must have been in use.
const AT_VICTIM: u64 = 3;

/// Cells at one time: most of a cell is waiting for a timer, and little of it work.
const AT_ONCE: usize = 6;

/// One policy and one kind of call.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cell {
    pub(crate) policy: &'static str,
    pub(crate) kind: Kind,
}

/// What was seen in a cell.
#[derive(Debug)]
pub(crate) struct Seen {
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
pub(crate) async fn run_all(fault: &'static Fault) {
    let turns = Arc::new(Semaphore::new(AT_ONCE));
    let mut running = JoinSet::new();
    for (place, cell) in Cell::all().into_iter().enumerate() {
        let turns = Arc::clone(&turns);
        running.spawn(async move {
            let _turn = turns.acquire().await;
            let seen = tokio::spawn(cell.run(fault)).await;
            (place, cell, seen)
        });
    }
    let (mut lines, mut wrong) = (BTreeMap::new(), Vec::new());
    while let Some(ended) = running.join_next().await {
        let (place, cell, seen) = ended.unwrap();
        let name = format!("{} / {}", cell.policy, cell.kind.name());
        match seen {
            Ok(Some(seen)) => {
                wrong.extend(seen.verdict(&fault.expect).into_iter().map(|what| format!("{name}: {what}")));
                lines.insert(place, report::line(fault, &seen));
            }
            Ok(None) => return,
            Err(error) => wrong.push(format!("{name}: {}", text(error))),
        }
    }
    report::write(fault, lines.into_values());
    assert!(wrong.is_empty(), "{}:\n{}", fault.name, wrong.join("\n"));
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

    /// Whether a call may be executed twice.
    pub(crate) fn may_repeat(self) -> bool {
        false
    }

    /// Whether its policy goes back to an endpoint because it is there again. `pick_first` stays where it is.
    fn goes_back(self) -> bool {
        self.policy != "pick_first"
    }

    async fn run(self, fault: &'static Fault) -> Option<Seen> {
        let mut site = Site::start(fault.place).await?;
        if fault.from_the_start {
            (fault.begin)(&mut site).await;
        }
        let watch = site.watch();
        let channel = site.builder().policy(self.policy).observer(watch.clone()).build().unwrap();
        let traffic = Traffic::start(&channel, self.kind);
        traffic.goes_on(CALLS).await;
        if !fault.from_the_start {
            answers_more(&channel, &site).await;
        }

        let begun = Instant::now();
        if !fault.from_the_start {
            (fault.begin)(&mut site).await;
        }
        let mut left = None;
        if fault.expect.left_within.is_some() {
            left = Some(watch.left(begun).await);
        }
        traffic.goes_on(CALLS).await;

        let ended = Instant::now();
        (fault.end)(&mut site).await;
        let mut back = None;
        if fault.expect.back_within.is_some() && self.goes_back() {
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
        Some(Seen { cell: self, victim: site.addr().to_string(), records, executed, losses, answered, begun, left, ended, back })
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
