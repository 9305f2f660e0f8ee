//! Who observes the calls of a channel.

use std::sync::Arc;

use super::LbChannelBuilder;
use crate::observe::CallObserver;

impl LbChannelBuilder {
    /// Is told of every call and each of its attempts, where they run; several hear of them in the order they are given here. See
    /// [`observe`](crate::observe).
    pub fn call_observer(mut self, observer: impl CallObserver) -> Self {
        self.call_observers.push(Arc::new(observer));
        self
    }
}
