//! The subchannels of a channel: found by slot in one step, by endpoint in log n, and kept in the resolver's order.
//!
//! Invariants: `order` lists exactly the indexes that hold a subchannel, in the order of the last update; `by_key` maps exactly
//! their endpoints' keys; an index is reused only with a higher generation, so a slot never names another endpoint.

use std::collections::BTreeMap;
use std::mem;
use std::sync::Arc;

use crate::backoff::BackoffConfig;
use crate::endpoint::{Endpoint, EndpointKey};
use crate::slot::Slot;

use super::event::AttemptId;
use super::subchannel::Subchannel;

#[derive(Debug, Default)]
pub(super) struct Table {
    places: Vec<Place>,
    by_key: BTreeMap<EndpointKey, usize>,
    order: Vec<usize>,
    free: Vec<usize>,
}

#[derive(Debug, Default)]
struct Place {
    generation: u32,
    subchannel: Option<Subchannel>,
}

/// What an update changed.
#[derive(Debug, Default)]
pub(super) struct Difference {
    pub(super) added: Vec<EndpointKey>,
    pub(super) updated: Vec<EndpointKey>,
    pub(super) removed: Vec<Subchannel>,
    /// The same endpoints in another order.
    pub(super) reordered: bool,
}

impl Difference {
    pub(super) fn is_empty(&self) -> bool {
        self.added.is_empty() && self.updated.is_empty() && self.removed.is_empty() && !self.reordered
    }
}

impl Table {
    /// Makes the table hold exactly `endpoints`; of several with one key the first counts.
    pub(super) fn apply(&mut self, endpoints: Vec<Endpoint>, config: &BackoffConfig) -> Difference {
        let mut difference = Difference::default();
        let mut old = mem::take(&mut self.by_key);
        let mut order = Vec::with_capacity(endpoints.len());
        for endpoint in endpoints {
            if self.by_key.contains_key(endpoint.key()) {
                continue;
            }
            let index = match old.remove(endpoint.key()) {
                Some(index) if self.keeps_connection(index, &endpoint) => self.update(index, endpoint, &mut difference),
                Some(index) => {
                    difference.removed.extend(self.remove(index));
                    self.insert(endpoint, config, &mut difference)
                }
                None => self.insert(endpoint, config, &mut difference),
            };
            order.push(index);
        }
        for index in old.into_values() {
            difference.removed.extend(self.remove(index));
        }
        difference.reordered = order != self.order;
        self.order = order;
        difference
    }

    /// Removes everything.
    pub(super) fn clear(&mut self) -> Vec<Subchannel> {
        self.by_key.clear();
        mem::take(&mut self.order).into_iter().filter_map(|index| self.remove(index)).collect()
    }

    pub(super) fn len(&self) -> usize {
        self.order.len()
    }

    /// The subchannel a slot names, if it still exists.
    pub(super) fn get_mut(&mut self, slot: Slot) -> Option<&mut Subchannel> {
        self.places.get_mut(slot.index())?.subchannel.as_mut().filter(|subchannel| subchannel.slot == slot)
    }

    /// The subchannel whose current attempt or connection this is; late news of an earlier one finds nothing.
    pub(super) fn current_mut(&mut self, slot: Slot, attempt: AttemptId) -> Option<&mut Subchannel> {
        self.get_mut(slot).filter(|subchannel| subchannel.attempt() == Some(attempt))
    }

    /// All subchannels in the resolver's order.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Subchannel> {
        self.order.iter().filter_map(|index| self.places[*index].subchannel.as_ref())
    }

    /// All subchannels, in no particular order.
    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Subchannel> {
        self.places.iter_mut().filter_map(|place| place.subchannel.as_mut())
    }

    /// Another name to verify needs another connection; other attributes do not.
    fn keeps_connection(&self, index: usize, endpoint: &Endpoint) -> bool {
        self.places[index]
            .subchannel
            .as_ref()
            .is_some_and(|subchannel| subchannel.endpoint.attributes.hostname == endpoint.attributes.hostname)
    }

    fn update(&mut self, index: usize, endpoint: Endpoint, difference: &mut Difference) -> usize {
        self.by_key.insert(endpoint.key().clone(), index);
        if let Some(subchannel) = &mut self.places[index].subchannel
            && *subchannel.endpoint != endpoint
        {
            difference.updated.push(endpoint.key().clone());
            subchannel.update(Arc::new(endpoint));
        }
        index
    }

    fn insert(&mut self, endpoint: Endpoint, config: &BackoffConfig, difference: &mut Difference) -> usize {
        difference.added.push(endpoint.key().clone());
        let index = self.free.pop().unwrap_or_else(|| {
            self.places.push(Place::default());
            self.places.len() - 1
        });
        self.by_key.insert(endpoint.key().clone(), index);
        let place = &mut self.places[index];
        let slot = Slot::new(u32::try_from(index).expect("an update is cut to far fewer endpoints than 2^32"), place.generation);
        place.subchannel = Some(Subchannel::new(slot, Arc::new(endpoint), config));
        index
    }

    fn remove(&mut self, index: usize) -> Option<Subchannel> {
        let place = &mut self.places[index];
        place.generation = place.generation.wrapping_add(1);
        self.free.push(index);
        place.subchannel.take()
    }
}
