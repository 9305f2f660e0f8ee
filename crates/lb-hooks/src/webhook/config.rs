//! What a webhook tells, and how.

use std::collections::BTreeSet;
use std::fmt::Display;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use lb_core::{BackoffConfig, ConfigError, LbEvent, Severity};

use crate::http::HttpBackend;
use crate::signature::Signer;

/// Some minutes of an eventful time, in a few hundred KB.
const CAPACITY: usize = 1024;
const CAPACITIES: RangeInclusive<usize> = 1..=65_536;

/// A request of some 20 KB.
const BATCH: usize = 100;
const BATCHES: RangeInclusive<usize> = 1..=1000;

/// Events come in bursts; a person or an autoscaler does not notice so short a wait.
const LINGER: Duration = Duration::from_millis(200);
const LONGEST_LINGER: Duration = Duration::from_secs(60);

/// With the pauses between them half a minute, more if each takes its time: a receiver may be restarted.
const ATTEMPTS: u32 = 7;
const ATTEMPT_COUNTS: RangeInclusive<u32> = 1..=100;

/// Which event has to go when the queue is full.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Overflow {
    /// The oldest: a receiver that comes back hears what is new.
    #[default]
    DropOldest,
    /// The one that comes: a receiver that comes back hears how the trouble began.
    DropNewest,
}

/// Which events are told.
#[derive(Debug, Clone)]
pub(super) enum Wanted {
    Severe(Severity),
    Kinds(Arc<BTreeSet<String>>),
}

impl Wanted {
    pub(super) fn includes(&self, event: &LbEvent) -> bool {
        match self {
            Self::Severe(least) => event.severity() >= *least,
            Self::Kinds(kinds) => kinds.contains(event.kind()),
        }
    }
}

/// The configuration of a [`Webhook`](crate::Webhook).
#[derive(Debug, Clone)]
pub struct WebhookConfig {
    pub(super) backend: HttpBackend,
    pub(super) signer: Signer,
    pub(super) wanted: Wanted,
    pub(super) capacity: usize,
    pub(super) overflow: Overflow,
    pub(super) batch: usize,
    pub(super) linger: Duration,
    pub(super) attempts: u32,
    pub(super) backoff: BackoffConfig,
}

impl WebhookConfig {
    /// Tells this backend, with messages signed by this, all events but the usual comings and goings
    /// ([`Severity::Info`] and above).
    pub fn new(backend: HttpBackend, signer: Signer) -> Self {
        Self {
            backend,
            signer,
            wanted: Wanted::Severe(Severity::Info),
            capacity: CAPACITY,
            overflow: Overflow::default(),
            batch: BATCH,
            linger: LINGER,
            attempts: ATTEMPTS,
            backoff: BackoffConfig::default(),
        }
    }

    /// Tells events of these [kinds](LbEvent::KINDS) alone.
    ///
    /// # Errors
    /// One that there is not, or none at all.
    pub fn kinds<T: Into<String>>(mut self, kinds: impl IntoIterator<Item = T>) -> Result<Self, ConfigError> {
        let kinds: BTreeSet<String> = kinds.into_iter().map(Into::into).collect();
        let unknown = kinds.iter().find(|kind| !LbEvent::KINDS.contains(&kind.as_str()));
        if unknown.is_some() || kinds.is_empty() {
            let allowed = format!("one or more of {}", LbEvent::KINDS.join(", "));
            return Err(ConfigError::new("hooks.kinds", format!("{:?}", unknown.map_or("", |kind| kind)), allowed));
        }
        self.wanted = Wanted::Kinds(Arc::new(kinds));
        Ok(self)
    }

    /// Tells all events of this severity and above; default [`Severity::Info`].
    #[must_use]
    pub fn at_least(mut self, severity: Severity) -> Self {
        self.wanted = Wanted::Severe(severity);
        self
    }

    /// How many events may wait, 1 to 65 536; default 1024. With as many of the largest events it is a few MB.
    pub fn capacity(mut self, events: usize) -> Result<Self, ConfigError> {
        self.capacity = within("capacity", events, &CAPACITIES)?;
        Ok(self)
    }

    /// Which event has to go when the queue is full; default the oldest.
    #[must_use]
    pub fn overflow(mut self, overflow: Overflow) -> Self {
        self.overflow = overflow;
        self
    }

    /// How many events a message holds at most, 1 to 1000; default 100.
    pub fn batch(mut self, events: usize) -> Result<Self, ConfigError> {
        self.batch = within("batch", events, &BATCHES)?;
        Ok(self)
    }

    /// How long an event waits for others to share its message, up to 60 s; default 200 ms.
    pub fn linger(mut self, time: Duration) -> Result<Self, ConfigError> {
        if time > LONGEST_LINGER {
            return Err(ConfigError::new("hooks.linger", format!("{time:?}"), format!("0 to {LONGEST_LINGER:?}")));
        }
        self.linger = time;
        Ok(self)
    }

    /// How often a message is sent before it is given up, 1 to 100; default 7.
    pub fn attempts(mut self, attempts: u32) -> Result<Self, ConfigError> {
        self.attempts = within("attempts", attempts, &ATTEMPT_COUNTS)?;
        Ok(self)
    }

    /// The pauses between attempts, counted from the end of one to the start of the next; default 1 s, times 1.6, at most 120 s, ±20 %. The
    /// timeout for connecting has no meaning here.
    #[must_use]
    pub fn backoff(mut self, backoff: BackoffConfig) -> Self {
        self.backoff = backoff;
        self
    }
}

fn within<T: PartialOrd + Display + Copy>(field: &str, value: T, allowed: &RangeInclusive<T>) -> Result<T, ConfigError> {
    if allowed.contains(&value) {
        return Ok(value);
    }
    Err(ConfigError::new(format!("hooks.{field}"), value, format!("{} to {}", allowed.start(), allowed.end())))
}
