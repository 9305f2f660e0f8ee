//! The subchannels of a channel: found by slot in one step, by endpoint in log n, and kept in the resolver's order.
//!
//! Invariants: `order` lists exactly the indexes that hold a subchannel, in the order of the last update; `by_key` maps exactly
//! their endpoints' keys; an index is reused only with a higher generation, so a slot never names another endpoint.

use std::collections::BTreeMap;
use std::mem;
use std::sync::Arc;

use crate::attributes::RegistryHealth;
use crate::endpoint::{Endpoint, EndpointKey};
use crate::event::LbEvent;
use crate::slot::Slot;

use super::event::AttemptId;
use super::subchannel::{Outfit, Subchannel};

#[derive(Debug, Default)]
pub(super) struct Table {
    places: Vec<Place>,
    by_key: BTreeMap<EndpointKey, usize>,
    order: Vec<usize>,
    free: Vec<usize>,
    /// Counts the updates.
    epoch: u64,
}

#[derive(Debug, Default)]
struct Place {
    generation: u32,
    /// The last update that listed what is here.
    epoch: u64,
    subchannel: Option<Subchannel>,
}

/// What an update changed.
#[derive(Debug, Default)]
pub(super) struct Difference {
    pub(super) added: Vec<EndpointKey>,
    pub(super) updated: Vec<EndpointKey>,
    pub(super) removed: Vec<Subchannel>,
    /// What the registry says of the health of known endpoints, where that is news.
    pub(super) health: Vec<LbEvent>,
    /// The same endpoints in another order.
    pub(super) reordered: bool,
}

impl Difference {
    pub(super) fn is_empty(&self) -> bool {
        self.added.is_empty() && self.updated.is_empty() && self.removed.is_empty() && !self.reordered
    }
}

impl Table {
    /// Makes the table hold exactly `endpoints`; of several with one key the first counts. Costs one comparison for each endpoint
    /// that stands where it stood as it was, another if it is described otherwise, and a search for each other.
    pub(super) fn apply(&mut self, endpoints: Vec<Endpoint>, outfit: &Outfit) -> Difference {
        let mut difference = Difference::default();
        self.epoch += 1;
        let old = mem::take(&mut self.order);
        let mut order = Vec::with_capacity(endpoints.len());
        for (position, endpoint) in endpoints.into_iter().enumerate() {
            let likely = old.get(position).copied();
            if let Some(index) = likely.filter(|index| self.stands(*index, &endpoint)) {
                self.places[index].epoch = self.epoch;
                order.push(index);
                continue;
            }
            match self.find(likely, &endpoint) {
                Some(index) if self.places[index].epoch == self.epoch => continue,
                Some(index) if self.keeps_connection(index, &endpoint) => {
                    self.update(index, endpoint, &mut difference);
                    order.push(index);
                }
                Some(index) => {
                    difference.removed.extend(self.remove(index));
                    order.push(self.insert(endpoint, outfit, &mut difference));
                }
                None => order.push(self.insert(endpoint, outfit, &mut difference)),
            }
        }
        for index in old.iter().copied() {
            if self.places[index].epoch != self.epoch {
                difference.removed.extend(self.remove(index));
            }
        }
        difference.reordered = order != old;
        self.order = order;
        difference
    }

    /// Whether this is what is there, and this update has not listed it before.
    fn stands(&self, index: usize, endpoint: &Endpoint) -> bool {
        let place = &self.places[index];
        place.epoch != self.epoch && place.subchannel.as_ref().is_some_and(|held| *held.endpoint == *endpoint)
    }

    /// The place of an endpoint, which is most often the one it had.
    fn find(&self, likely: Option<usize>, endpoint: &Endpoint) -> Option<usize> {
        let holds =
            |index: &usize| self.places[*index].subchannel.as_ref().is_some_and(|held| held.endpoint.key() == endpoint.key());
        likely.filter(holds).or_else(|| self.by_key.get(endpoint.key()).copied())
    }

    /// Removes everything.
    pub(super) fn clear(&mut self) -> Vec<Subchannel> {
        mem::take(&mut self.order).into_iter().filter_map(|index| self.remove(index)).collect()
    }

    pub(super) fn contains(&self, endpoint: &EndpointKey) -> bool {
        self.by_key.contains_key(endpoint)
    }

    /// The subchannel of an endpoint.
    pub(super) fn of_mut(&mut self, endpoint: &EndpointKey) -> Option<&mut Subchannel> {
        self.places.get_mut(*self.by_key.get(endpoint)?)?.subchannel.as_mut()
    }

    pub(super) fn len(&self) -> usize {
        self.order.len()
    }

    /// What every slot's index is below.
    pub(super) fn places(&self) -> usize {
        self.places.len()
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

    fn update(&mut self, index: usize, endpoint: Endpoint, difference: &mut Difference) {
        let place = &mut self.places[index];
        place.epoch = self.epoch;
        if let Some(subchannel) = &mut place.subchannel
            && *subchannel.endpoint != endpoint
        {
            difference.updated.push(endpoint.key().clone());
            difference.health.extend(health_news(&subchannel.endpoint, &endpoint));
            subchannel.update(Arc::new(endpoint));
        }
    }

    fn insert(&mut self, endpoint: Endpoint, outfit: &Outfit, difference: &mut Difference) -> usize {
        difference.added.push(endpoint.key().clone());
        let index = self.free.pop().unwrap_or_else(|| {
            self.places.push(Place::default());
            self.places.len() - 1
        });
        self.by_key.insert(endpoint.key().clone(), index);
        let place = &mut self.places[index];
        place.epoch = self.epoch;
        let slot = Slot::new(u32::try_from(index).expect("an update is cut to far fewer endpoints than 2^32"), place.generation);
        place.subchannel = Some(Subchannel::new(slot, Arc::new(endpoint), outfit));
        index
    }

    fn remove(&mut self, index: usize) -> Option<Subchannel> {
        let place = &mut self.places[index];
        place.generation = place.generation.wrapping_add(1);
        self.free.push(index);
        let subchannel = place.subchannel.take()?;
        self.by_key.remove(subchannel.endpoint.key());
        Some(subchannel)
    }
}
/// What the registry says of an endpoint's health, if it said another thing before.
fn health_news(before: &Endpoint, after: &Endpoint) -> Option<LbEvent> {
    let healthy = |endpoint: &Endpoint| endpoint.attributes.health != RegistryHealth::Unhealthy;
    (healthy(before) != healthy(after)).then(|| LbEvent::HealthChanged {
        endpoint: after.key().clone(),
        healthy: healthy(after),
        reason: (!healthy(after)).then(|| "unhealthy in the registry".into()),
    })
}
