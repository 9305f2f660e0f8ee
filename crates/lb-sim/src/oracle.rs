//! Choosers that know what no client can: what the best possible choice would give.

use crate::dice::{Dice, Purpose};
use crate::server::Server;
use crate::sim::Listing;

#[derive(Debug)]
pub(crate) struct Oracle {
    dice: Dice,
    of_two: bool,
}

impl Oracle {
    pub(crate) fn new(seed: u64, of_two: bool) -> Self {
        Self { dice: Dice::new(seed, Purpose::Oracle, 0), of_two }
    }

    pub(crate) fn pick(&mut self, servers: &[Server], listed: &[Listing]) -> Option<usize> {
        let able = |index: &usize| listed[*index] == Listing::Listed && able(&servers[*index]);
        if self.of_two {
            let able: Vec<usize> = (0..servers.len()).filter(able).collect();
            let mut draw = || able.get(self.dice.below(able.len())).copied();
            return [draw()?, draw()?].into_iter().min_by_key(|index| servers[*index].assigned);
        }
        (0..servers.len()).filter(able).max_by(|one, other| {
            promise(&servers[*one]).partial_cmp(&promise(&servers[*other])).unwrap_or(std::cmp::Ordering::Equal)
        })
    }
}

/// What one call more would be given; among equals, how much of the capacity would be left free.
fn promise(server: &Server) -> (f64, f64) {
    let calls = server.assigned + 1;
    (server.rate(calls), server.slack(calls))
}

fn able(server: &Server) -> bool {
    server.reachable && server.failing.is_none()
}
