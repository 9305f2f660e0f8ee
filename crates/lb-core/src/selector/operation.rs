//! Every operation of a selector as data in and data out.

use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::endpoint::Endpoint;
use crate::event::LbEvent;
use crate::hints::PickHints;
use crate::policy::ConfigError;
use crate::stats::Outcome;
use crate::wishes::Explained;

use super::Selector;
use super::data::{EndpointData, seconds};
use super::error::SelectorError;
use super::record::{EndpointRecord, HealthReport, Selection, SelectorStats};

/// Something to do, as data: an object whose `op` says what.
#[derive(Debug, Clone, Deserialize)]
#[serde(tag = "op", rename_all = "camelCase", rename_all_fields = "camelCase")]
#[non_exhaustive]
pub enum Operation {
    /// [`Selector::add`].
    Add {
        /// The new endpoint.
        endpoint: EndpointData,
    },
    /// [`Selector::update`].
    Update {
        /// The endpoint as it is now.
        endpoint: EndpointData,
    },
    /// [`Selector::remove`].
    Remove {
        /// Its key or id.
        name: String,
    },
    /// [`Selector::get`].
    Get {
        /// Its key or id.
        name: String,
    },
    /// [`Selector::list`].
    List,
    /// [`Selector::set_load`].
    SetLoad {
        /// Its key or id.
        name: String,
        /// 0 to 1.
        load: f64,
    },
    /// [`Selector::set_connections`].
    SetConnections {
        /// Its key or id.
        name: String,
        /// How many there are.
        connections: u32,
    },
    /// [`Selector::set_health`].
    SetHealth {
        /// Its key or id.
        name: String,
        /// What is known.
        health: HealthReport,
    },
    /// [`Selector::drain`] and [`Selector::undrain`].
    Drain {
        /// Its key or id.
        name: String,
        /// Whether to drain it or to take it back.
        drained: bool,
    },
    /// [`Selector::disable`] and [`Selector::enable`].
    Disable {
        /// Its key or id.
        name: String,
        /// Whether to disable it or to enable it.
        disabled: bool,
    },
    /// [`Selector::degrade`].
    Degrade {
        /// Its key or id.
        name: String,
        /// Above 0; 1 is the full share again.
        share: f64,
    },
    /// [`Selector::select`].
    Select {
        /// The wishes.
        #[serde(default)]
        options: PickHints,
    },
    /// [`Selector::report`].
    Report {
        /// The selection's.
        ticket: u64,
        /// How it ended.
        outcome: Outcome,
        /// How long it took, in seconds; left out, from the selection to now.
        #[serde(default, with = "seconds::optional")]
        duration: Option<Duration>,
    },
    /// [`Selector::explain`].
    Explain {
        /// The wishes.
        #[serde(default)]
        options: PickHints,
    },
    /// [`Selector::take_events`].
    Events,
    /// [`Selector::stats`].
    Stats,
    /// [`Selector::set_policy`].
    SetPolicy {
        /// Its name.
        policy: String,
        /// Its configuration.
        #[serde(default)]
        config: Value,
    },
}

/// What an operation answers. As data, just the value.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(untagged)]
#[non_exhaustive]
pub enum Reply {
    /// It is done; `null`.
    Done,
    /// One endpoint.
    Endpoint(Box<EndpointRecord>),
    /// All endpoints.
    Endpoints(Vec<EndpointRecord>),
    /// An endpoint was selected.
    Selection(Box<Selection>),
    /// One row per endpoint.
    Explained(Vec<Explained>),
    /// What happened since the last time.
    Events(Vec<LbEvent>),
    /// The selector at this moment.
    Stats(SelectorStats),
}

impl Selector {
    /// Does what the operation says.
    ///
    /// # Errors
    /// Those of the method it stands for.
    pub fn apply(&mut self, now: Instant, operation: Operation) -> Result<Reply, SelectorError> {
        match operation {
            Operation::Add { endpoint } => self.add(now, Endpoint::try_from(endpoint)?)?,
            Operation::Update { endpoint } => self.update(now, Endpoint::try_from(endpoint)?)?,
            Operation::Remove { name } => drop(self.remove(now, &name)?),
            Operation::Get { name } => return self.get(now, &name).map(Box::new).map(Reply::Endpoint),
            Operation::List => return Ok(Reply::Endpoints(self.list(now))),
            Operation::SetLoad { name, load } => self.set_load(now, &name, load)?,
            Operation::SetConnections { name, connections } => self.set_connections(now, &name, connections)?,
            Operation::SetHealth { name, health } => self.set_health(now, &name, health)?,
            Operation::Drain { name, drained: true } => self.drain(now, &name)?,
            Operation::Drain { name, drained: false } => self.undrain(now, &name)?,
            Operation::Disable { name, disabled: true } => self.disable(now, &name)?,
            Operation::Disable { name, disabled: false } => self.enable(now, &name)?,
            Operation::Degrade { name, share } => self.degrade(now, &name, share)?,
            Operation::Select { options } => return self.select(now, &options).map(Box::new).map(Reply::Selection),
            Operation::Report { ticket, outcome, duration } => self.report(now, ticket, outcome, duration)?,
            Operation::Explain { options } => return self.explain(now, &options).map(Reply::Explained),
            Operation::Events => return Ok(Reply::Events(self.take_events())),
            Operation::Stats => return Ok(Reply::Stats(self.stats())),
            Operation::SetPolicy { policy, config } => self.set_policy(now, &policy, &config)?,
        }
        Ok(Reply::Done)
    }

    /// Does what the data says: `{"op": "select", "options": {"require": ["gpu"]}}` and so on. Answers `{"ok": …}`, or
    /// `{"error": "…"}` with what was wrong; with `"unfit"` beside it if no endpoint met the conditions.
    pub fn apply_json(&mut self, now: Instant, operation: &Value) -> Value {
        let parsed = Operation::deserialize(operation);
        let parsed =
            parsed.map_err(|error| ConfigError::new("operation", error, "an object with a known op and its fields").into());
        let reply = parsed.and_then(|operation| self.apply(now, operation));
        match reply {
            Ok(reply) => json!({ "ok": reply }),
            Err(SelectorError::NothingFits(unfit)) => json!({ "error": format!("no endpoint fits: {unfit}"), "unfit": unfit }),
            Err(error) => json!({ "error": error.to_string() }),
        }
    }
}
