//! Where a call of a session goes.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use http::HeaderMap;
use lb_core::sessions::{SessionRules, SessionVerdict, Settled, Sought};
use lb_core::{LbEvent, PickArgs, PickHints, Scratch};
use tokio::time::Instant;

use crate::call::{Head, Picked, Placement, pick_by_policy};
use crate::shared::Shared;
use crate::snapshot::{ChannelSnapshot, Connected};

use super::config::Naming;
use super::index::{Index, Place};
use super::store::{Held, SessionStore};
use super::sweep::Sweep;
use super::token::SessionTokens;

/// How often a call asks again because others of its session were faster. Twice is rare; a call that loses this often goes where the
/// policy sent it last, and nothing is remembered of it.
const RACES: usize = 4;

/// The sessions of one channel.
pub(crate) struct ChannelSessions {
    way: Way,
    rules: SessionRules,
    patience: Duration,
    naming: Naming,
    index: ArcSwap<Index>,
}

#[derive(Debug)]
pub(super) enum Way {
    Table(SessionStore),
    Hash(Arc<str>),
    Token(SessionTokens),
}

/// What binds a call in progress to its session.
#[derive(Debug)]
pub(crate) enum Tie {
    /// The session is in use until this is dropped.
    Table { _held: Held },
    /// The response brings a new token.
    NewToken,
}

impl ChannelSessions {
    pub(super) fn new(way: Way, rules: SessionRules, patience: Duration, naming: Naming) -> Self {
        Self { way, rules, patience, naming, index: ArcSwap::default() }
    }

    pub(crate) fn store(&self) -> Option<&SessionStore> {
        match &self.way {
            Way::Table(store) => Some(store),
            Way::Hash(_) | Way::Token(_) => None,
        }
    }

    pub(crate) fn tokens(&self) -> Option<&SessionTokens> {
        match &self.way {
            Way::Token(tokens) => Some(tokens),
            Way::Hash(_) | Way::Table(_) => None,
        }
    }

    pub(crate) fn sweep(&self) -> Option<Sweep> {
        Sweep::new(self.store()?)
    }

    /// Looks at what the call brings, once.
    pub(crate) fn prepare(&self, head: &mut Head) {
        match &self.way {
            Way::Table(_) => {}
            Way::Token(tokens) if tokens.covers(head.request.uri.path()) => head.session_home = tokens.read(&head.request.headers),
            Way::Token(_) => {}
            Way::Hash(policy) => {
                if let Some(hints) = &mut head.hints {
                    hash(hints, policy);
                }
            }
        }
    }

    /// Where a call goes: to the endpoint of its session if it has one, else where the policy says.
    pub(crate) fn pick<'a>(
        &self,
        shared: &Shared,
        snapshot: &'a ChannelSnapshot,
        head: &Head,
        scratch: &mut Scratch,
    ) -> Picked<'a> {
        match &self.way {
            // Nothing is known yet: no session's endpoint is gone because of that.
            _ if snapshot.core.rows.is_empty() => pick_by_policy(snapshot, head, scratch),
            Way::Table(store) => match head.hints.as_ref().and_then(|hints| session(hints)) {
                Some(session) => self.by_table((store, session), shared, snapshot, head, scratch),
                None => pick_by_policy(snapshot, head, scratch),
            },
            Way::Token(tokens) if tokens.covers(head.request.uri.path()) => self.by_token(tokens, snapshot, head, scratch),
            Way::Token(_) | Way::Hash(_) => pick_by_policy(snapshot, head, scratch),
        }
    }

    /// Adds what the caller needs to come back to the same endpoint.
    pub(crate) fn answer(&self, tie: &Tie, connected: &Connected, headers: &mut HeaderMap) {
        if let (Tie::NewToken, Way::Token(tokens)) = (tie, &self.way) {
            tokens.write(&self.naming.of(&connected.endpoint), headers);
        }
    }

    fn by_table<'a>(
        &self,
        (store, session): (&SessionStore, &str),
        shared: &Shared,
        snapshot: &'a ChannelSnapshot,
        head: &Head,
        scratch: &mut Scratch,
    ) -> Picked<'a> {
        let now = Instant::now();
        let index = self.index(snapshot, now);
        let none = PickHints::default();
        let hints = head.hints.as_deref().unwrap_or(&none);
        for _ in 0..RACES {
            let mut args = PickArgs::new(now.into_std(), head.request.uri.path(), &head.request.headers, hints, scratch);
            let standing = |name: &str| index.standing(name, snapshot, (head, &mut args), self.patience);
            let choice = match store.seek(session, now, &self.rules, standing) {
                Sought::Use { place, ticket } => {
                    return placed(snapshot, place, now, Some(Tie::Table { _held: store.hold(session, ticket) }));
                }
                Sought::Wait(place) => return wait(&place),
                Sought::Fail(place) => return stay(&place),
                Sought::Choose(choice) => choice,
            };
            let mut placement = match pick_by_policy(snapshot, head, scratch) {
                // The driver has yet to hear that this connection is gone; a session is not placed there.
                Picked::Connected(placement) if head.is_unusable(placement.connected) => return Picked::Wait,
                Picked::Connected(placement) => placement,
                other => return other,
            };
            let chosen = self.naming.of(&placement.connected.endpoint);
            if let Settled::Placed { ticket, moved_from } = store.settle(session, now, &choice, &chosen) {
                if let Some(from) = moved_from {
                    shared.inbox.moved(LbEvent::SessionMoved { session: store.mark(session), from, to: chosen });
                }
                placement.tie = Some(Tie::Table { _held: store.hold(session, ticket) });
                return Picked::Connected(placement);
            }
        }
        pick_by_policy(snapshot, head, scratch)
    }

    fn by_token<'a>(
        &self,
        tokens: &SessionTokens,
        snapshot: &'a ChannelSnapshot,
        head: &Head,
        scratch: &mut Scratch,
    ) -> Picked<'a> {
        let now = Instant::now();
        let none = PickHints::default();
        let hints = head.hints.as_deref().unwrap_or(&none);
        let verdict = head.session_home.as_ref().map(|home| {
            let mut args = PickArgs::new(now.into_std(), head.request.uri.path(), &head.request.headers, hints, scratch);
            let (standing, place) = self.index(snapshot, now).standing(home, snapshot, (head, &mut args), self.patience);
            (self.rules.verdict(standing), place)
        });
        let lent = match verdict {
            Some((SessionVerdict::Use, place)) => {
                tokens.count().hits();
                return placed(snapshot, place, now, None);
            }
            Some((SessionVerdict::Wait, place)) => return wait(&place),
            Some((SessionVerdict::Fail, place)) => return stay(&place),
            Some((SessionVerdict::Lend, _)) => true,
            Some((SessionVerdict::Move, _)) | None => false,
        };
        let mut picked = pick_by_policy(snapshot, head, scratch);
        if let Picked::Connected(placement) = &mut picked {
            tokens.count().placed(lent, head.session_home.is_some());
            placement.tie = (!lent).then_some(Tie::NewToken);
        }
        picked
    }

    /// The endpoints of this snapshot by name.
    fn index(&self, snapshot: &ChannelSnapshot, now: Instant) -> Arc<Index> {
        let known = self.index.load();
        if known.generation == snapshot.core.generation {
            return Arc::clone(&known);
        }
        let index = Arc::new(Index::new(snapshot, self.naming, &known, now));
        if known.generation < index.generation {
            self.index.store(Arc::clone(&index));
        }
        index
    }
}

/// The session of a call; an empty id is none, so that those who have none do not share one.
fn session(hints: &PickHints) -> Option<&Arc<str>> {
    hints.session.as_ref().filter(|session| !session.is_empty())
}

/// Lets a policy hash the session, unless the call brings its own key or policy.
fn hash(hints: &mut PickHints, policy: &Arc<str>) {
    let key = session(hints).cloned();
    if let Some(session) = key
        && hints.hash_key.is_none()
    {
        hints.hash_key = Some(session.into());
        hints.policy.get_or_insert_with(|| Arc::clone(policy));
    }
}

/// A session's own endpoint, which no picker chose.
fn placed<'a>(snapshot: &ChannelSnapshot, place: Place<'a>, at: Instant, tie: Option<Tie>) -> Picked<'a> {
    let reads_load = snapshot.core.load_reports.per_call;
    match place.connected {
        Some(connected) => {
            let (token, feedback, connect) = (0, None, None);
            Picked::Connected(Placement {
                connected,
                at,
                token,
                feedback,
                connect,
                tie,
                reads_load,
                extra: 0,
                slot: None,
                queue: None,
                permit: place.permit,
            })
        }
        // Only READY endpoints with a connection are used.
        None => Picked::Wait,
    }
}

/// A session that may not leave an endpoint it cannot use now.
fn stay<'a>(place: &Place<'_>) -> Picked<'a> {
    let reason = place.describe();
    match place.full_until() {
        Some(until) => Picked::HomeFull { reason, until },
        None => Picked::Fail(reason),
    }
}

fn wait<'a>(place: &Place<'_>) -> Picked<'a> {
    Picked::Await { connect: place.idle_slot(), until: place.until }
}

impl fmt::Debug for ChannelSessions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ChannelSessions").field("way", &self.way).field("rules", &self.rules).finish_non_exhaustive()
    }
}
