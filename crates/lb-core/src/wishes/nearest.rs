//! Which localities are near, as far as calls have measured.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Instant;

use smallvec::SmallVec;

use crate::attributes::Locality;
use crate::connectivity::ConnectivityState;
use crate::scratch::Scratch;
use crate::snapshot::Row;
use crate::stats::ticks;

use super::condition::is_within;

/// The most localities told apart; endpoints of further ones come after all of these.
const MAX_PLACES: usize = 64;

/// How many of the nearest are tried in turn before every endpoint is as good as any other.
const NEAREST: usize = 8;

/// How long a mean is believed. Measuring looks at every endpoint once.
const FRESH_NANOS: i64 = 1_000_000_000;

/// One in so many calls that leave their own locality tries one that was never measured, which gives it a measurement.
const EXPLORE: u32 = 32;

/// The localities of one generation that have READY endpoints.
#[derive(Debug)]
pub(super) struct Places {
    places: Box<[Measured]>,
    /// In ticks; 0 is never.
    measured_at: AtomicI64,
}

#[derive(Debug)]
struct Measured {
    locality: Locality,
    /// Positions in the snapshot's rows.
    rows: Vec<u32>,
    /// The mean latency of those of its endpoints that have one, in nanoseconds; the greatest number if none has.
    mean: AtomicU64,
}

impl Places {
    /// Tells localities apart by their first `parts` parts. Endpoints that say nothing of them are nowhere.
    pub(super) fn new(rows: &[Row], parts: usize) -> Self {
        let mut places: BTreeMap<Locality, Vec<u32>> = BTreeMap::new();
        let usable = |row: &&Row| row.excluded.is_none() && row.view.state == ConnectivityState::Ready;
        for (position, row) in rows.iter().enumerate().filter(|(_, row)| usable(row)) {
            let locality = cut(&row.view.endpoint.attributes.locality, parts);
            if locality != Locality::default() && (places.len() < MAX_PLACES || places.contains_key(&locality)) {
                places.entry(locality).or_default().push(position as u32);
            }
        }
        let measured = |(locality, rows)| Measured { locality, rows, mean: AtomicU64::new(u64::MAX) };
        Self { places: places.into_iter().map(measured).collect(), measured_at: AtomicI64::new(0) }
    }

    /// The localities outside of `wanted`, nearest first, as positions for [`locality`](Self::locality); those that were never
    /// measured come last, but now and then first.
    pub(super) fn nearest(&self, rows: &[Row], wanted: &Locality, now: Instant, scratch: &mut Scratch) -> SmallVec<[u32; NEAREST]> {
        self.measure(rows, now);
        let unknown = if scratch.below(EXPLORE) == 0 { 0 } else { u64::MAX };
        let mut nearest: SmallVec<[(u64, u32); NEAREST]> = SmallVec::new();
        for (position, place) in self.places.iter().enumerate().filter(|(_, place)| !is_within(&place.locality, wanted)) {
            let mean = Some(place.mean.load(Ordering::Relaxed)).filter(|mean| *mean != u64::MAX).unwrap_or(unknown);
            let at = nearest.partition_point(|(other, _)| *other <= mean);
            if at < NEAREST {
                nearest.truncate(NEAREST - 1);
                nearest.insert(at, (mean, position as u32));
            }
        }
        nearest.into_iter().map(|(_, position)| position).collect()
    }

    pub(super) fn locality(&self, position: u32) -> &Locality {
        &self.places[position as usize].locality
    }

    fn measure(&self, rows: &[Row], now: Instant) {
        let (at, now) = (self.measured_at.load(Ordering::Relaxed), ticks(now));
        let fresh = at != 0 && (at..at.saturating_add(FRESH_NANOS)).contains(&now);
        // One task measures; the others go by what was measured before.
        if fresh || self.measured_at.compare_exchange(at, now, Ordering::Relaxed, Ordering::Relaxed).is_err() {
            return;
        }
        for place in &self.places {
            let (mut sum, mut count) = (0.0, 0_u32);
            for latency in place.rows.iter().filter_map(|row| rows[*row as usize].view.stats.latency()) {
                sum += latency.as_secs_f64();
                count += 1;
            }
            let mean = if count == 0 { u64::MAX } else { (sum / f64::from(count) * 1e9) as u64 };
            place.mean.store(mean, Ordering::Relaxed);
        }
    }
}

/// How many parts of a locality say where it is: 1 to 3.
pub(super) fn parts(locality: &Locality) -> usize {
    match (&*locality.zone, &*locality.sub_zone) {
        ("", "") => 1,
        (_, "") => 2,
        _ => 3,
    }
}

fn cut(locality: &Locality, parts: usize) -> Locality {
    let part = |index: usize, part: &std::sync::Arc<str>| if index < parts { std::sync::Arc::clone(part) } else { "".into() };
    Locality::new(part(0, &locality.region), part(1, &locality.zone), part(2, &locality.sub_zone))
}
