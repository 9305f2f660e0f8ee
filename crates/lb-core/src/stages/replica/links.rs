//! Who is whose replica.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::policy::SubchannelView;
use crate::slot::Slot;

/// The replicas among the listed endpoints, each with its primary.
#[derive(Debug, Default)]
pub(super) struct Links {
    replicas: BTreeMap<Slot, Link>,
    /// Those that have replicas.
    primaries: BTreeSet<Slot>,
}

#[derive(Debug)]
pub(super) struct Link {
    /// As the replica calls it.
    pub(super) name: Arc<str>,
    /// `None` if no such endpoint is listed.
    pub(super) primary: Option<Slot>,
}

impl Links {
    /// Reads the attributes; linear where nobody is a replica, and n log n where somebody is. Of several endpoints of one name the first
    /// is meant. Endpoints that are each other's replicas in a circle are nobody's.
    pub(super) fn of(rows: &[SubchannelView]) -> Self {
        if rows.iter().all(|row| row.endpoint.attributes.replica_of.is_none()) {
            return Self::default();
        }
        let mut names: BTreeMap<&str, Slot> = BTreeMap::new();
        for row in rows {
            let id = row.endpoint.attributes.id.as_deref();
            for name in [Some(row.endpoint.key().as_str()), id].into_iter().flatten() {
                names.entry(name).or_insert(row.slot);
            }
        }
        let link = |row: &SubchannelView| {
            let name = row.endpoint.attributes.replica_of.clone()?;
            let primary = names.get(&*name).copied();
            Some((row.slot, Link { name, primary }))
        };
        let mut links = Self { replicas: rows.iter().filter_map(link).collect(), primaries: BTreeSet::new() };
        links.break_circles();
        links.primaries = links.replicas.values().filter_map(|link| link.primary).collect();
        links
    }

    /// Follows every replica upwards once; where that meets its own path there is a circle, whose members are nobody's replicas.
    fn break_circles(&mut self) {
        let mut walks: BTreeMap<Slot, usize> = BTreeMap::new();
        let mut circular = BTreeSet::new();
        for (walk, start) in self.replicas.keys().copied().enumerate() {
            let mut at = start;
            while !walks.contains_key(&at) {
                walks.insert(at, walk);
                let Some(above) = self.above(at) else { break };
                at = above;
            }
            let closes = walks.get(&at) == Some(&walk) && self.above(at).is_some();
            while closes && circular.insert(at) {
                at = self.above(at).unwrap_or(at);
            }
        }
        self.replicas.retain(|slot, _| !circular.contains(slot));
    }

    pub(super) fn is_empty(&self) -> bool {
        self.replicas.is_empty()
    }

    pub(super) fn replicas(&self) -> impl Iterator<Item = (Slot, &Link)> {
        self.replicas.iter().map(|(slot, link)| (*slot, link))
    }

    pub(super) fn is_replica(&self, slot: Slot) -> bool {
        self.replicas.contains_key(&slot)
    }

    pub(super) fn primaries(&self) -> &BTreeSet<Slot> {
        &self.primaries
    }

    /// The primary of a replica, if it is one and its primary is listed.
    pub(super) fn above(&self, slot: Slot) -> Option<Slot> {
        self.replicas.get(&slot)?.primary
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policies::testing::{ready, slot};

    /// Endpoints `0`, `1`, … of which each may be the replica of a name.
    fn links(replica_of: &[Option<&str>]) -> Links {
        let mut view = ready(replica_of.len());
        for (index, (row, name)) in view.iter_mut().zip(replica_of).enumerate() {
            let attributes = &mut Arc::make_mut(&mut row.endpoint).attributes;
            attributes.id = Some(index.to_string().into());
            attributes.replica_of = name.map(Arc::from);
        }
        Links::of(&view)
    }

    fn above(links: &Links, count: u32) -> Vec<Option<usize>> {
        (0..count).map(|index| links.above(slot(index)).map(Slot::index)).collect()
    }

    #[test]
    fn a_primary_is_named_by_id_or_key() {
        let links = links(&[None, Some("0"), Some("10.0.0.0:1"), Some("nobody")]);
        assert_eq!(above(&links, 4), [None, Some(0), Some(0), None]);
        assert_eq!((links.replicas().count(), links.primaries().len()), (3, 1));
    }

    #[test]
    fn endpoints_in_a_circle_are_nobodys_replicas_and_those_below_it_are() {
        let links = links(&[Some("0"), Some("2"), Some("3"), Some("1"), Some("3"), Some("4")]);
        assert_eq!(above(&links, 6), [None, None, None, None, Some(3), Some(4)]);
        assert_eq!(links.replicas().count(), 2);
    }

    #[test]
    fn a_long_chain_and_a_long_circle_are_read_in_one_go() {
        let names: Vec<String> = (0..20_000).map(|index: usize| index.saturating_sub(1).to_string()).collect();
        let mut chain: Vec<Option<&str>> = names.iter().map(|name| Some(&**name)).collect();
        chain[0] = None;
        assert_eq!(links(&chain).replicas().count(), 19_999);
        chain[0] = Some("19999");
        assert!(links(&chain).is_empty());
    }
}
