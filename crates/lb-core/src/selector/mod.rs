//! Selecting endpoints without any network: the same policies, wishes and bookkeeping as a channel's, for programs that connect by
//! other means or only decide.
//!
//! A [`Selector`] is told everything by hand: which endpoints there are, how loaded and how healthy they are. An endpoint that is
//! healthy is READY. What somebody sets and what the selector counts itself live together: selections are counted as connections on
//! top of those set, and setting them anew starts from there.
//!
//! It is built on [`Machine`], takes the time as an argument, and is deterministic: the same calls at the same times with the same
//! seed answer the same. Everything can also be said [as data](Operation), and every answer is data.
//!
//! **Bound.** A selection costs what a pick costs, and bookkeeping of log n. A change of the set or of somebody's health costs a
//! rebuild, linear in the endpoints. At most 100 000 endpoints, 100 000 open selections (the oldest is given up for a new one) and
//! 1 024 events (likewise) are kept.
//!
//! **When not.** For gRPC: a channel does all this by itself.
//!
//! ```
//! use std::time::{Duration, Instant};
//!
//! use lb_core::{Endpoint, Outcome, PickHints, selector::Selector};
//!
//! let now = Instant::now();
//! let mut selector = Selector::new(7, "least_request", &serde_json::Value::Null)?;
//! for port in [1, 2, 3] {
//!     selector.add(now, Endpoint::new(std::net::SocketAddr::from(([10, 0, 0, 1], port))))?;
//! }
//! selector.set_load(now, "10.0.0.1:1", 0.95)?;
//! let selection = selector.select(now, &PickHints::new().not_overloaded().exclude("10.0.0.1:2"))?;
//! assert_eq!(selection.key.as_str(), "10.0.0.1:3");
//! selector.report(now, selection.ticket, Outcome::Success, Some(Duration::from_millis(40)))?;
//! assert_eq!(selector.stats().connections, 0);
//! # Ok::<(), lb_core::selector::SelectorError>(())
//! ```

mod data;
mod error;
mod hands;
mod levers;
mod operation;
mod record;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::HeaderMap;
use serde_json::Value;

pub use data::EndpointData;
pub(crate) use data::HintsData;
pub use error::SelectorError;
pub use operation::{Operation, Reply};
pub use record::{EndpointRecord, HealthReport, Selection, SelectorStats, Stamped};

use crate::endpoint::EndpointKey;
use crate::event::LbEvent;
use crate::feedback::{Done, Feedback};
use crate::gate::Permit;
use crate::hints::PickHints;
use crate::machine::{Command, Event, Machine, MachineConfig, NamedPolicy};
use crate::pick::PickArgs;
use crate::policy::ConfigError;
use crate::registry::PolicyRegistry;
use crate::scratch::Scratch;
use crate::slot::Slot;
use crate::snapshot::Snapshot;
use crate::stats::{EndpointStats, Outcome};
use crate::wishes::{Choice, Explained};

use hands::Hands;

/// The most selections that may be open; bounds what one can leak that never reports.
const MAX_TICKETS: usize = 100_000;

/// The most events kept for somebody to take.
const MAX_EVENTS: usize = 1024;

/// How often a selection looks again after something it asked for: a connection, or a policy.
const LOOKS: usize = 4;

/// Selects endpoints. See the [module](self).
#[derive(Debug)]
pub struct Selector {
    machine: Machine,
    snapshot: Arc<Snapshot>,
    registry: PolicyRegistry,
    scratch: Scratch,
    wake_at: Option<Instant>,
    /// What was said of each endpoint, in the order they were added.
    hands: Hands,
    tickets: BTreeMap<u64, Ticket>,
    next_ticket: u64,
    events: VecDeque<LbEvent>,
    /// The policy until the machine has published one.
    first_policy: String,
    /// Selections that found an endpoint, and that did not.
    selected: u64,
    failed: u64,
}

/// An open selection.
#[derive(Debug)]
struct Ticket {
    key: EndpointKey,
    placed: Placed,
    stats: Arc<EndpointStats>,
    at: Instant,
    extra: u32,
    /// Which count of connections it is part of.
    epoch: u64,
}

/// What a snapshot answered.
#[derive(Debug)]
struct Placed {
    slot: Slot,
    token: u64,
    feedback: Option<Arc<dyn Feedback>>,
    permit: Option<Permit>,
}

impl Selector {
    /// A selector without endpoints, with one of the built-in policies. Its random choices follow from `seed`.
    ///
    /// # Errors
    /// There is no policy of that name, or it refuses the configuration; `null` is one without fields.
    pub fn new(seed: u64, policy: &str, config: &Value) -> Result<Self, SelectorError> {
        Self::with_registry(seed, policy, config, PolicyRegistry::default())
    }

    /// The same with policies of your own.
    ///
    /// # Errors
    /// As for [`new`](Self::new).
    pub fn with_registry(seed: u64, policy: &str, config: &Value, registry: PolicyRegistry) -> Result<Self, SelectorError> {
        Self::with_settings(MachineConfig::new(seed), policy, config, registry)
    }

    /// The same with gates, stages, ejection and whatever else a channel's machine can be given. Health is always set by hand.
    ///
    /// # Errors
    /// As for [`new`](Self::new).
    pub fn with_settings(
        mut settings: MachineConfig,
        policy: &str,
        config: &Value,
        registry: PolicyRegistry,
    ) -> Result<Self, SelectorError> {
        let named = NamedPolicy::new(policy, registry.build(policy, config)?);
        let seed = settings.seed;
        settings.watch_health = true;
        Ok(Self {
            machine: Machine::new(settings, named),
            snapshot: Arc::new(Snapshot::initial()),
            registry,
            scratch: Scratch::new(seed),
            wake_at: None,
            hands: Hands::default(),
            tickets: BTreeMap::new(),
            next_ticket: 1,
            events: VecDeque::new(),
            first_policy: policy.to_owned(),
            selected: 0,
            failed: 0,
        })
    }

    /// Selects an endpoint. It counts as a connection more, or as many as the call's cost, until it is [reported](Self::report).
    ///
    /// # Errors
    /// No endpoint can take it ([`NoEndpoint`](SelectorError::NoEndpoint), [`NothingFits`](SelectorError::NothingFits)), or it asks for
    /// a policy that there is not. Observers are told of that, too.
    pub fn select(&mut self, now: Instant, hints: &PickHints) -> Result<Selection, SelectorError> {
        let result = self.find(now, hints);
        match &result {
            Ok(_) => self.selected += 1,
            Err(error) => {
                self.failed += 1;
                let reason = error.to_string().into();
                self.emit(LbEvent::SelectionFailed { reason, calls: 1, reasons: BTreeMap::new() });
            }
        }
        result
    }

    /// Says how a selection ended. `duration` is how long it took; without one, the time since the selection.
    ///
    /// # Errors
    /// It was reported before, or was given up for newer ones.
    pub fn report(&mut self, now: Instant, ticket: u64, outcome: Outcome, duration: Option<Duration>) -> Result<(), SelectorError> {
        let ticket = self.tickets.remove(&ticket).ok_or(SelectorError::UnknownTicket(ticket))?;
        self.finish(now, ticket, outcome, duration);
        Ok(())
    }

    /// Why: what the policy thinks of every endpoint for these wishes, or what keeps it from being selected.
    ///
    /// # Errors
    /// There is no policy of the name the wishes ask for.
    pub fn explain(&mut self, now: Instant, hints: &PickHints) -> Result<Vec<Explained>, SelectorError> {
        self.advance(now);
        if hints.policy.as_deref().is_some_and(|name| self.snapshot.picker(Some(name)).is_none()) {
            self.add_policy(now, hints)?;
        }
        let headers = HeaderMap::new();
        let rows = self.snapshot.explain(&mut PickArgs::new(now, "", &headers, hints, &mut self.scratch));
        Ok(rows.unwrap_or_default())
    }

    /// The selector at this moment.
    pub fn stats(&self) -> SelectorStats {
        let rows = &self.snapshot.rows;
        let connections = rows.iter().map(|row| u64::from(row.view.stats.in_flight())).sum();
        let loads = rows.iter().filter_map(|row| row.load()).filter(|load| load.is_finite());
        let (sum, known) = loads.fold((0.0, 0_u32), |(sum, known), load| (sum + load, known + 1));
        SelectorStats {
            total: self.hands.len(),
            healthy: rows.iter().filter(|row| row.takes_calls()).count(),
            connections,
            average_load: (known > 0).then(|| sum / f64::from(known)),
            policy: self.policy().to_owned(),
            selected: self.selected,
            failed: self.failed,
            open: self.tickets.len(),
        }
    }

    /// What happened since the last call, oldest first. Of more than 1 024 events the oldest are lost, which the first one then says.
    pub fn take_events(&mut self) -> Vec<LbEvent> {
        self.events.drain(..).collect()
    }

    /// The name of the policy in use.
    pub fn policy(&self) -> &str {
        if self.snapshot.generation == 0 { &self.first_policy } else { self.snapshot.policy() }
    }

    /// Switches to another policy. Open selections and everything learnt of endpoints stay.
    ///
    /// # Errors
    /// There is no policy of that name, or it refuses the configuration; then nothing changes.
    pub fn set_policy(&mut self, now: Instant, policy: &str, config: &Value) -> Result<(), SelectorError> {
        let named = NamedPolicy::new(policy, self.registry.build(policy, config)?);
        self.machine.command(Command::SetPolicy(named));
        self.settle(now);
        Ok(())
    }

    fn find(&mut self, now: Instant, hints: &PickHints) -> Result<Selection, SelectorError> {
        self.advance(now);
        let headers = HeaderMap::new();
        for _ in 0..LOOKS {
            let snapshot = Arc::clone(&self.snapshot);
            let mut args = PickArgs::new(now, "", &headers, hints, &mut self.scratch);
            match snapshot.choose(&mut args) {
                Choice::Pick { slot, feedback, permit } => {
                    let placed = Placed { slot, token: args.token, feedback: feedback.cloned(), permit };
                    return self.open(now, hints, placed);
                }
                Choice::Connect(slot) => self.tell(now, Event::ConnectRequested(slot)),
                Choice::UnknownPolicy => self.add_policy(now, hints)?,
                Choice::Unfit(unfit) => return Err(SelectorError::NothingFits(*unfit)),
                Choice::Fail(error) | Choice::Drop(error) => return Err(SelectorError::NoEndpoint(error.message)),
                Choice::Queue => break,
            }
        }
        Err(SelectorError::NoEndpoint("there is none that is ready".into()))
    }

    fn open(&mut self, now: Instant, hints: &PickHints, placed: Placed) -> Result<Selection, SelectorError> {
        let slot = placed.slot;
        let row = self.snapshot.rows.iter().find(|row| row.view.slot == slot);
        let row = row.ok_or_else(|| SelectorError::NoEndpoint("the policy selects an endpoint that is gone".into()))?;
        let (endpoint, stats) = (Arc::clone(&row.view.endpoint), Arc::clone(&row.view.stats));
        let (key, extra) = (endpoint.key().clone(), hints.cost.saturating_sub(1));
        stats.begin();
        stats.hold(extra);
        while self.tickets.len() >= MAX_TICKETS
            && let Some((_, oldest)) = self.tickets.pop_first()
        {
            self.finish(now, oldest, Outcome::Cancelled, None);
        }
        let ticket = self.next_ticket;
        self.next_ticket += 1;
        let epoch = self.hands.epoch(&key);
        self.tickets.insert(ticket, Ticket { key: key.clone(), placed, stats, at: now, extra, epoch });
        let addresses = endpoint.addresses().iter().map(ToString::to_string).collect();
        Ok(Selection { ticket, key, addresses, attributes: endpoint.attributes.clone() })
    }

    fn finish(&self, now: Instant, ticket: Ticket, outcome: Outcome, duration: Option<Duration>) {
        let latency = duration.unwrap_or_else(|| now.saturating_duration_since(ticket.at));
        let placed = ticket.placed;
        let done = Done::new(placed.slot, now, latency, outcome).with_token(placed.token);
        if self.hands.epoch(&ticket.key) == ticket.epoch {
            ticket.stats.let_go(ticket.extra);
        } else {
            // The connections were set since: what was set does not contain this one.
            ticket.stats.begin();
        }
        ticket.stats.finish(&done);
        if let Some(feedback) = &placed.feedback {
            feedback.finished(&done);
        }
        if let Some(permit) = placed.permit {
            permit.leave(&done);
        }
    }

    fn add_policy(&mut self, now: Instant, hints: &PickHints) -> Result<(), SelectorError> {
        let name = hints.policy.clone().ok_or_else(|| ConfigError::new("policy", "none", "a name"))?;
        let policy = self.registry.build(&name, &Value::Null)?;
        self.machine.command(Command::AddPolicy(NamedPolicy::new(name, policy)));
        self.settle(now);
        Ok(())
    }

    fn emit(&mut self, event: LbEvent) {
        self.events.push_back(event);
        if self.events.len() > MAX_EVENTS {
            let lost = match self.events.pop_front() {
                Some(LbEvent::Lagged(lost)) => lost,
                _ => 1,
            };
            self.events.pop_front();
            self.events.push_front(LbEvent::Lagged(lost + 1));
        }
    }
}
