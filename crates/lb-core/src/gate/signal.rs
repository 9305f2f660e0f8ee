//! How gates wake their channel.

use std::fmt;
use std::sync::Arc;

/// Who hears the signals of gates: the channel.
pub trait GateListener: fmt::Debug + Send + Sync + 'static {
    /// Stages and policies shall look again: a new generation is published, which waiting calls also pick anew from.
    fn changed(&self);

    /// A gate lets calls in again, without one having ended there: calls that wait in the queue look again, in their order.
    fn opened(&self);
}

/// Given to every gate of a channel when it is made. Cheap to clone; does nothing without a channel behind it, or after its end.
#[derive(Debug, Clone, Default)]
pub struct GateSignal(Option<Arc<dyn GateListener>>);

impl GateSignal {
    /// Signals to this listener, which must not own what owns the gates.
    pub fn new(listener: Arc<dyn GateListener>) -> Self {
        Self(Some(listener))
    }

    /// Whether both go to the same channel.
    pub fn is_same(&self, other: &Self) -> bool {
        match (&self.0, &other.0) {
            (Some(one), Some(other)) => Arc::ptr_eq(one, other),
            (None, None) => true,
            _ => false,
        }
    }

    /// Something changed that stages should know: asks for a rebuild. Costs a lock and a rebuild, so not for every call.
    pub fn changed(&self) {
        if let Some(listener) = &self.0 {
            listener.changed();
        }
    }

    /// Lets calls in again before the time its last refusal named, and without a call having ended: a limit was raised, say.
    pub fn opened(&self) {
        if let Some(listener) = &self.0 {
            listener.opened();
        }
    }
}
