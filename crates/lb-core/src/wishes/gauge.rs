//! What is looked at to know whether an endpoint has room for a call.

use std::sync::Arc;

use crate::connectivity::ConnectivityState;
use crate::slot::Slot;
use crate::snapshot::Row;
use crate::stats::EndpointStats;

/// Stands for no capacity. A capacity of this very number counts as one less.
const BOUNDLESS: u32 = u32::MAX;

/// The READY endpoints that no stage hides, by slot index.
#[derive(Debug)]
pub(super) struct Gauges {
    gauges: Box<[Gauge]>,
    /// Where the endpoint stands in the snapshot; apart, because only calls whose constraint is not remembered look there.
    rows: Box<[u32]>,
}

/// One of them, or a place where there is none. 16 bytes: a policy draws from all over the table, and what it draws should seldom have to
/// come from afar.
#[derive(Debug, Default, Clone)]
pub(super) struct Gauge {
    generation: u32,
    capacity: u32,
    stats: Option<Arc<EndpointStats>>,
}

impl Gauges {
    pub(super) fn new(rows: &[Row], places: usize) -> Self {
        let (mut gauges, mut positions) = (vec![Gauge::default(); places], vec![0; places]);
        let usable = |row: &&Row| row.excluded.is_none() && row.view.state == ConnectivityState::Ready;
        for (position, row) in rows.iter().enumerate().filter(|(_, row)| usable(row)) {
            let (slot, stats) = (row.view.slot, Some(Arc::clone(&row.view.stats)));
            let capacity = row.view.endpoint.attributes.capacity.map_or(BOUNDLESS, |capacity| capacity.min(BOUNDLESS - 1));
            gauges[slot.index()] = Gauge { generation: slot.generation(), capacity, stats };
            positions[slot.index()] = position as u32;
        }
        Self { gauges: gauges.into(), rows: positions.into() }
    }

    /// How many places there are.
    pub(super) fn len(&self) -> usize {
        self.gauges.len()
    }

    /// The counters of the endpoint of this slot, and its capacity.
    #[inline]
    pub(super) fn get(&self, slot: Slot) -> Option<(&EndpointStats, Option<u32>)> {
        self.gauges.get(slot.index()).filter(|gauge| gauge.generation == slot.generation())?.read()
    }

    /// Which endpoint is at this index, if one is.
    pub(super) fn slot(&self, index: usize) -> Option<Slot> {
        let gauge = self.gauges.get(index).filter(|gauge| gauge.stats.is_some())?;
        Some(Slot::new(index as u32, gauge.generation))
    }

    /// Where the endpoint of a slot stands in the snapshot's rows.
    pub(super) fn row(&self, slot: Slot) -> usize {
        self.rows[slot.index()] as usize
    }
}

impl Gauge {
    #[inline]
    fn read(&self) -> Option<(&EndpointStats, Option<u32>)> {
        let capacity = Some(self.capacity).filter(|capacity| *capacity != BOUNDLESS);
        self.stats.as_deref().map(|stats| (stats, capacity))
    }
}
