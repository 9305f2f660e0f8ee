//! The endpoints a hashing policy's table is made of, in an order of their own, and whether they have changed.
//!
//! Tables are expensive, and views change often: with every connection that comes or goes. A table depends on nothing but the keys
//! and weights of the endpoints, so it is kept while those are the same, whatever states the endpoints are in and in whatever order
//! the resolver lists them. Noticing that nothing has changed costs one comparison of pointers per endpoint.

use std::sync::Arc;

use super::hash;
use crate::endpoint::Endpoint;
use crate::policy::SubchannelView;

/// One endpoint of a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Member {
    pub(super) key: Arc<str>,
    /// Its share relative to the others; 0 gets no part of a table. Never 0 for all.
    pub(super) weight: u32,
}

/// The members of the last view, sorted by key.
#[derive(Debug, Default)]
pub(super) struct Members {
    /// The last view: enough to see that nothing has changed.
    seen: Vec<(Arc<Endpoint>, u32)>,
    list: Vec<Member>,
    /// Parallel to `list`: the member's place in the view.
    places: Vec<u32>,
}

impl Members {
    /// Looks at a view; whether keys or weights differ from the last one's.
    pub(super) fn follow(&mut self, view: &[SubchannelView]) -> bool {
        if self.is_same(view) {
            return false;
        }
        self.seen = view.iter().map(|row| (Arc::clone(&row.endpoint), row.weight)).collect();
        let all_zero = view.iter().all(|row| row.weight == 0);
        let weight = |row: &SubchannelView| if all_zero { 1 } else { row.weight };
        let keyed = view.iter().map(|row| Member { key: hash::endpoint_key(&row.endpoint), weight: weight(row) });
        let mut sorted: Vec<(Member, u32)> = keyed.zip(0..).collect();
        sorted.sort_by(|(one, _), (other, _)| one.key.cmp(&other.key));
        let (list, places) = sorted.into_iter().unzip();
        self.places = places;
        let changed = self.list != list;
        self.list = list;
        changed
    }

    fn is_same(&self, view: &[SubchannelView]) -> bool {
        let same = |(row, (endpoint, weight)): (&SubchannelView, &(Arc<Endpoint>, u32))| {
            Arc::ptr_eq(&row.endpoint, endpoint) && row.weight == *weight
        };
        view.len() == self.seen.len() && view.iter().zip(&self.seen).all(same)
    }

    pub(super) fn list(&self) -> &[Member] {
        &self.list
    }

    /// The rows of the view that was followed last, in the order of the members.
    pub(super) fn rows<'a>(&'a self, view: &'a [SubchannelView]) -> impl ExactSizeIterator<Item = &'a SubchannelView> {
        self.places.iter().map(|place| &view[*place as usize])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connectivity::ConnectivityState::{Idle, Ready};
    use crate::policies::testing::{ready, slot, view, weighted};

    #[test]
    fn only_keys_and_weights_count() {
        let mut members = Members::default();
        let mut rows = ready(3);
        assert!(members.follow(&rows) && !members.follow(&rows));
        rows[1].state = Idle;
        assert!(!members.follow(&rows), "a state");
        assert!(!members.follow(&view(&[Ready, Ready, Ready])), "the same endpoints as other values");
        rows.swap(0, 2);
        assert!(!members.follow(&rows), "the order");
        let order: Vec<_> = members.rows(&rows).map(|row| row.slot).collect();
        assert_eq!(order, [slot(0), slot(1), slot(2)], "sorted by key");
        rows[0].weight = 2;
        assert!(members.follow(&rows), "a weight");
        Arc::make_mut(&mut rows[0].endpoint).attributes.id = Some("a".into());
        assert!(members.follow(&rows), "a key");
        rows.pop();
        assert!(members.follow(&rows), "one less");
    }

    #[test]
    fn weight_zero_stays_unless_all_are_zero() {
        let mut members = Members::default();
        let mut weights = |rows: &[u32]| {
            members.follow(&weighted(rows));
            members.list().iter().map(|member| member.weight).collect::<Vec<_>>()
        };
        assert_eq!((weights(&[0, 3]), weights(&[0, 0])), (vec![0, 3], vec![1, 1]));
    }
}
