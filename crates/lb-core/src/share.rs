//! Shares: endpoints that get less than what falls to them, under every policy.
//!
//! A weight would be obeyed by weighted policies only. A *share*, above 0 and at most 1, is kept at the pick: after the policy has drawn
//! an endpoint of a lesser share, the call is let through or refused, and then the policy draws again among the others. The share is of
//! *what its peers get*: an endpoint of share 0.3 gets three calls while each endpoint of the full share gets ten on average. If
//! nobody else can take the call, it takes it.
//!
//! Who is refused:
//!
//! - **A call with a hash key** (`ring_hash`, `maglev`, `rendezvous`, …), if the hash of key and endpoint is not below the share. So a
//!   key has one fate while the share stays, comes back once as the share grows, and all clients agree; refused, it goes to its next
//!   choice.
//! - **Any other**, if the endpoint is ahead: if it has had more than its share of the calls that up to eight of its peers had since
//!   the share was set, or for 5 s. Counting is exact where drawing lots would scatter, and it holds for policies that look at the load:
//!   an endpoint that gets few calls is idle, and `least_request` and `score` would send it more than its share of all that come.
//! - Where the **call's own wishes** choose (capabilities, a region, a load threshold) its peers' calls say nothing: a lot is drawn, once
//!   for the call. Where **weights differ** nobody but the policy knows what falls to an endpoint: a lot is drawn each time, and it
//!   may also not be ahead of its share by weight.
//!
//! Not refused: calls that are pinned, and calls of sessions that are there already, for neither asks a policy. `pick_first` has no other
//! endpoint, so that it keeps the one it has.
//!
//! **Bound.** An endpoint is let through as often as its policy would have it, or less: one that a policy avoids, because it is slow, does not
//! get its share. In a period of 5 s it is over its share by one call, and one for each thread that picks at the same moment. While all
//! shares are full a pick pays one branch; a call refused pays one more draw and reads up to nine endpoints' counters.
//!
//! **When not.** As a weight for good: with half of the endpoints at a share of 0.1 every other call is drawn twice.
//!
//! Sources: evenkeel's own. Envoy scales weights instead, for `round_robin` and `least_request` only.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::entropy::Entropy;
use crate::pick::PickArgs;
use crate::policies::endpoint_hash;
use crate::slot::Slot;
use crate::snapshot::Row;
use crate::stats::EndpointStats;

/// How many peers an endpoint is compared with; more would say little more, and each costs a cache line or two.
const PEERS: usize = 8;

/// How long calls are counted before counting begins anew, so that an endpoint which was passed over for long does not get it all back
/// at once.
pub(crate) const PERIOD: Duration = Duration::from_secs(5);

/// So many calls it may be behind, and get back later, beside what chance explains.
const BEHIND: f64 = 2.0;

/// So many calls it has to give back at most.
const AHEAD: f64 = 8.0;

/// The endpoints of lesser share in one generation.
#[derive(Debug)]
pub(crate) struct Shares {
    /// By slot index.
    allowances: Box<[Option<Arc<Allowance>>]>,
}

/// What one endpoint may take.
#[derive(Debug)]
struct Allowance {
    slot: Slot,
    /// Of what its peers get.
    share: f64,
    /// What falls to it at the full share, of what falls to a peer.
    fair: f64,
    /// Whether lots are drawn for every call.
    lots: bool,
    /// Keeps the fates of a key at several endpoints apart, alike for all clients.
    salt: u64,
    began: Instant,
    own: Counter,
    peers: Arc<[Counter]>,
    /// By how much it was ahead when counting began.
    ahead: f64,
}

/// Calls begun since a moment.
#[derive(Debug, Clone)]
struct Counter {
    slot: Slot,
    stats: Arc<EndpointStats>,
    before: u64,
}

impl Counter {
    fn new(row: &Row) -> Self {
        Self { slot: row.view.slot, stats: Arc::clone(&row.view.stats), before: row.view.stats.begun() }
    }

    fn count(&self) -> f64 {
        self.stats.begun().saturating_sub(self.before) as f64
    }
}

impl Shares {
    /// The shares of these rows; `None` if all are the same. What was counted `before` is taken over.
    pub(crate) fn of(now: Instant, rows: &[Row], before: Option<&Self>, entropy: u64) -> Option<Arc<Self>> {
        let able = || rows.iter().filter(|row| row.takes_calls());
        // Where nobody has the full share, shares count relative to the greatest.
        let greatest = able().map(|row| row.view.share).fold(0.0, f64::max);
        if !able().any(|row| row.view.share < greatest) {
            return None;
        }
        let full: Vec<&Row> = able().filter(|row| row.view.share >= greatest).collect();
        let start = (entropy % full.len().max(1) as u64) as usize;
        let peers: Arc<[Counter]> =
            full.iter().cycle().skip(start).take(full.len().min(PEERS)).map(|row| Counter::new(row)).collect();
        let weight = full.iter().map(|row| f64::from(row.view.weight)).sum::<f64>() / full.len() as f64;
        let lots = able().any(|row| row.view.weight != full[0].view.weight);
        let places = rows.iter().map(|row| row.view.slot.index() + 1).max().unwrap_or(0);
        let (mut allowances, mut is_full) = (vec![None; places], vec![None; places]);
        full.iter().for_each(|row| is_full[row.view.slot.index()] = Some(row.view.slot));
        for row in able().filter(|row| row.view.share < greatest) {
            let (slot, share) = (row.view.slot, row.view.share / greatest);
            let fair = if weight > 0.0 { (f64::from(row.view.weight) / weight).max(1.0) } else { 1.0 };
            let before = before.and_then(|before| before.get(slot));
            let old = before.filter(|old| old.stands(now, (share, fair, lots), &is_full));
            let new = || {
                let ahead = before.map_or(0.0, |before| before.balance());
                let (own, peers, salt) = (Counter::new(row), Arc::clone(&peers), endpoint_hash(&row.view.endpoint));
                Arc::new(Allowance { slot, share, fair, lots, salt, began: now, own, peers, ahead })
            };
            allowances[slot.index()] = Some(old.map_or_else(new, Arc::clone));
        }
        Some(Arc::new(Self { allowances: allowances.into() }))
    }

    /// Whether an endpoint that was drawn may take this call.
    #[inline]
    pub(crate) fn admits(&self, slot: Slot, args: &mut PickArgs<'_>) -> bool {
        self.get(slot).is_none_or(|allowance| allowance.admits(args))
    }

    /// Whether a call that was refused may be let through if the policy draws the endpoint once more, because a lot decides each time.
    pub(crate) fn draws_lots(&self, slot: Slot, args: &PickArgs<'_>) -> bool {
        let fated = args.key.is_some() || args.lot.is_some();
        !fated && self.get(slot).is_some_and(|allowance| allowance.lots)
    }

    #[inline]
    fn get(&self, slot: Slot) -> Option<&Arc<Allowance>> {
        self.allowances.get(slot.index())?.as_ref().filter(|allowance| allowance.slot == slot)
    }
}

impl Allowance {
    /// Whether it still says what a new one would.
    fn stands(&self, now: Instant, said: (f64, f64, bool), is_full: &[Option<Slot>]) -> bool {
        (self.share, self.fair, self.lots) == said
            && now.saturating_duration_since(self.began) < PERIOD
            && self.peers.iter().all(|peer| is_full.get(peer.slot.index()) == Some(&Some(peer.slot)))
    }

    /// By how much it is ahead, within what is taken over.
    fn balance(&self) -> f64 {
        let granted = self.granted();
        (self.ahead + self.own.count() - granted).clamp(-BEHIND - 2.0 * granted.sqrt(), AHEAD)
    }

    /// How many calls it was to get since counting began.
    fn granted(&self) -> f64 {
        let peers: f64 = self.peers.iter().map(Counter::count).sum();
        self.share * self.fair * peers / self.peers.len() as f64
    }

    fn admits(&self, args: &mut PickArgs<'_>) -> bool {
        if args.hints.constrains() && args.key.is_none() {
            let lot = args.lot.unwrap_or_else(|| args.scratch.random());
            args.lot = Some(lot);
        }
        match args.key.or(args.lot) {
            Some(fate) => unit(Entropy::mix(fate ^ self.salt)) < self.share,
            None if self.lots && unit(args.scratch.random()) >= self.share => false,
            None => self.ahead + self.own.count() < 1.0 + self.granted(),
        }
    }
}

/// From 0 to 1, without 1.
fn unit(random: u64) -> f64 {
    (random >> 11) as f64 / (1_u64 << 53) as f64
}
