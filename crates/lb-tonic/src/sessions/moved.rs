//! Telling of sessions that move.

use lb_core::LbEvent;

/// When an endpoint with ten thousand sessions goes, nobody wants ten thousand events; the statistics count them all.
const MOST: usize = 64;

/// Events of calls for the channel's own task, which tells them; bounded.
#[derive(Debug, Default)]
pub(crate) struct Moved(Vec<LbEvent>);

impl Moved {
    pub(crate) fn push(&mut self, event: LbEvent) {
        if self.0.len() < MOST {
            self.0.push(event);
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl IntoIterator for Moved {
    type Item = LbEvent;
    type IntoIter = std::vec::IntoIter<LbEvent>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}
