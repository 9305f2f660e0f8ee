//! What few endpoints need, made only for those.

use std::sync::OnceLock;

use super::checks::Checks;
use super::row::Alarm;
use crate::gate::GateSignal;

/// Made when somebody first needs it.
#[derive(Debug, Default)]
pub(super) struct Aside(OnceLock<Box<Rare>>);

#[derive(Debug, Default)]
struct Rare {
    alarm: OnceLock<Alarm>,
    checks: Checks,
}

/// What it takes of the heap where it is needed.
#[cfg(test)]
pub(super) const BYTES: usize = size_of::<Rare>();

impl Aside {
    #[inline]
    pub(super) fn alarm(&self) -> Option<&Alarm> {
        self.0.get().and_then(|rare| rare.alarm.get())
    }

    /// Wakes the channel from now on when rows of failures get this long; the first signal stays.
    pub(super) fn watch(&self, failures: u32, gateway: u32, signal: &GateSignal) {
        self.0.get_or_init(Box::default).alarm.get_or_init(|| Alarm::new(signal.clone())).set(failures, gateway);
    }

    /// What health checks have found.
    pub(super) fn checks(&self) -> &Checks {
        &self.0.get_or_init(Box::default).checks
    }

    /// The same, if anybody has asked for it.
    pub(super) fn checks_so_far(&self) -> Option<&Checks> {
        self.0.get().map(|rare| &rare.checks)
    }
}
