//! The endpoints of one generation by the names that sessions know them by.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use lb_core::gate::{Permit, Refusal};
use lb_core::sessions::Standing;
use lb_core::{ConnectivityState, PickArgs, PickHints, Row, Slot};
use tokio::time::Instant;

use crate::call::Head;
use crate::snapshot::{ChannelSnapshot, Connected};

use super::config::Naming;

/// What the drain stage says of the endpoints it hides.
const DRAINED: &str = "drained";

/// Endpoints by name. Built by the first call of a session after a change, and shared by all until the next.
#[derive(Debug, Default)]
pub(super) struct Index {
    pub(super) generation: u64,
    known: HashMap<Arc<str>, Known>,
}

#[derive(Debug)]
struct Known {
    /// Its row in the snapshot of that generation.
    row: usize,
    /// Since when it has been connecting, as far as anybody looked.
    connecting_since: Option<Instant>,
}

/// What is known of an endpoint beside how it stands.
#[derive(Debug)]
pub(super) struct Place<'a> {
    row: Option<&'a Row>,
    /// Its connection, if it is READY.
    pub(super) connected: Option<&'a Arc<Connected>>,
    /// Until when it is waited for, if it is coming.
    pub(super) until: Instant,
    /// The leave of its gates, if it is READY and has any.
    pub(super) permit: Option<Permit>,
    /// Why its gates let nobody in, if they do not.
    refusal: Option<Refusal>,
}

impl Index {
    /// The endpoints of a snapshot; `before` is an earlier index of the same channel.
    pub(super) fn new(snapshot: &ChannelSnapshot, naming: Naming, before: &Self, now: Instant) -> Self {
        let mut known = HashMap::with_capacity(snapshot.core.rows.len());
        for (row, Row { view, .. }) in snapshot.core.rows.iter().enumerate() {
            let name = naming.of(&view.endpoint);
            let connecting_since = (view.state == ConnectivityState::Connecting)
                .then(|| before.known.get(&name).and_then(|known| known.connecting_since).unwrap_or(now));
            // Of several with one id the first counts.
            known.entry(name).or_insert(Known { row, connecting_since });
        }
        Self { generation: snapshot.core.generation, known }
    }

    /// How the endpoint of this name stands towards a call.
    pub(super) fn standing<'a>(
        &self,
        name: &str,
        snapshot: &'a ChannelSnapshot,
        (head, args): (&Head, &mut PickArgs<'_>),
        patience: Duration,
    ) -> (Standing, Place<'a>) {
        let now = Instant::from_std(args.now);
        let known = self.known.get(name);
        let row = known.and_then(|known| snapshot.core.rows.get(known.row));
        let connected = row.and_then(|row| snapshot.connected(row.view.slot)).filter(|connected| !head.is_unusable(connected));
        let since = known.and_then(|known| known.connecting_since);
        let until = since.and_then(|since| since.checked_add(patience)).or(head.session_until);
        // A patience that cannot be added to the present is for ever, or as good as.
        let until = until.unwrap_or_else(|| now.checked_add(patience).unwrap_or(now + FOR_EVER));
        let mut place = Place { row, connected, until, permit: None, refusal: None };
        let Some(row) = row else { return (Standing::Gone, place) };
        if !fits(args.hints, row) {
            return (Standing::Unfit, place);
        }
        let coming = if now < place.until { Standing::Coming } else { Standing::Failing };
        let standing = match (row.view.state, row.excluded) {
            (ConnectivityState::Ready, _) if connected.is_none() => coming,
            (ConnectivityState::Ready, None) => Standing::Serving,
            (ConnectivityState::Ready, Some(_)) if drains(row) => Standing::Draining,
            (ConnectivityState::Ready, Some(_)) => Standing::Hidden,
            // Nobody connects what is hidden.
            (ConnectivityState::Idle, Some(_)) => Standing::Failing,
            (ConnectivityState::Idle | ConnectivityState::Connecting, _) => coming,
            _ => Standing::Failing,
        };
        if row.view.state != ConnectivityState::Ready || connected.is_none() {
            return (standing, place);
        }
        match snapshot.core.enter(row.view.slot, args) {
            Ok(permit) => place.permit = permit,
            // Like one that is too busy for the call.
            Err(refusal) => {
                place.refusal = Some(refusal);
                return (Standing::Unfit, place);
            }
        }
        (standing, place)
    }
}

/// Longer than any call, and short enough to be added to any time.
const FOR_EVER: Duration = Duration::from_secs(365 * 24 * 60 * 60);

impl Place<'_> {
    /// Its slot if it has to be asked for, because it is IDLE.
    pub(super) fn idle_slot(&self) -> Option<Slot> {
        self.row.filter(|row| row.view.state == ConnectivityState::Idle).map(|row| row.view.slot)
    }

    /// Until when it is full, if it is sound and only has enough to do; `None` inside is not known.
    pub(super) fn full_until(&self) -> Option<Option<Instant>> {
        let refusal = self.refusal.as_ref().filter(|refusal| refusal.reason.is_full())?;
        Some(refusal.until.map(Instant::from_std))
    }

    /// Why a session that may not leave it cannot use it, for people.
    pub(super) fn describe(&self) -> Arc<str> {
        let Some(row) = self.row else { return "the session's endpoint is gone, and the session may not leave it".into() };
        let endpoint = row.view.endpoint.key();
        match (&row.view.error, &self.refusal) {
            (Some(error), _) => format!("the session may not leave {endpoint}: {error}"),
            (None, Some(refusal)) => format!("the session may not leave {endpoint}, which is {}", refusal.reason),
            (None, None) => {
                format!("the session may not leave {endpoint}, where the call may not go or which is {}", row.view.state)
            }
        }
        .into()
    }
}

fn drains(row: &Row) -> bool {
    row.excluded == Some(DRAINED) || row.view.endpoint.attributes.is_draining()
}

/// Whether the call's own wishes allow it.
fn fits(hints: &PickHints, row: &Row) -> bool {
    hints.allows(&row.view.endpoint) && hints.finds_room(&row.view.endpoint, &row.view.stats)
}
