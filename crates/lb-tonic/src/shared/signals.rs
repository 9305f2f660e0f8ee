//! How the gates of a channel wake it.

use std::sync::{Arc, Weak};

use lb_core::gate::GateListener;

use super::Shared;

/// Hears the gates of a channel. Must not keep it: the channel's snapshot keeps the gates.
#[derive(Debug)]
pub(super) struct Signals(Weak<Shared>);

impl Signals {
    pub(super) fn new(shared: &Arc<Shared>) -> Self {
        Self(Arc::downgrade(shared))
    }
}

impl GateListener for Signals {
    fn changed(&self) {
        if let Some(shared) = self.0.upgrade() {
            shared.inbox.rebuild();
        }
    }

    fn opened(&self) {
        if let Some(shared) = self.0.upgrade() {
            shared.look_all();
        }
    }
}
