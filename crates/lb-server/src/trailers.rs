//! Which responses carry a report.

use std::num::NonZeroU32;
use std::time::Duration;

/// Which responses carry a report in their trailers.
///
/// What a trailer costs does not depend on what the call cost: some two microseconds, both sides together. A call that took a
/// millisecond does not notice. For an empty unary call it is 11 % of the client's CPU and 9 % of the server's; on one response in
/// eight it is 2 to 4 % and nothing that could be measured (`benches/load_reports.rs`). And whoever makes short calls makes
/// many, so each client hears often even if few of them carry a report.
///
/// The default is therefore every call that took a millisecond or longer and every eighth of the others. A policy that uses each report for
/// one call, as `prequal` does, has more of them to use [on every call](Self::on_every_call), if it sends no probes and calls are
/// short. There is no "only when it has changed": calls in flight change with every call, and the server does not know which client
/// knows what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Trailers {
    /// One of so many short calls; `None` of no calls at all.
    one_in: Option<NonZeroU32>,
    /// From which duration on a call is not short.
    short_below: Duration,
}

impl Default for Trailers {
    fn default() -> Self {
        Self { one_in: NonZeroU32::new(8), short_below: Duration::from_millis(1) }
    }
}

impl Trailers {
    /// Every response.
    pub fn on_every_call() -> Self {
        Self::on_one_in(NonZeroU32::MIN)
    }

    /// One of so many responses, however long they took.
    pub fn on_one_in(calls: NonZeroU32) -> Self {
        Self { one_in: Some(calls), short_below: Duration::MAX }
    }

    /// No response but those whose handler has recorded something. The layer still measures.
    pub fn never() -> Self {
        Self { one_in: None, short_below: Duration::MAX }
    }

    /// Every response that took at least this long, besides.
    #[must_use]
    pub fn and_on_calls_from(self, duration: Duration) -> Self {
        Self { short_below: duration, ..self }
    }

    /// Whether call number `count`, which took so long, carries one.
    #[inline]
    pub(crate) fn on(&self, count: u64, took: Duration) -> bool {
        took >= self.short_below || self.one_in.is_some_and(|calls| count.is_multiple_of(u64::from(calls.get())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_carry_one() {
        let of_1000 = |trailers: Trailers, took| (0..1000).filter(|count| trailers.on(*count, took)).count();
        let (short, long) = (Duration::from_micros(999), Duration::from_millis(1));
        assert_eq!((of_1000(Trailers::default(), short), of_1000(Trailers::default(), long)), (125, 1000));
        assert_eq!((of_1000(Trailers::on_every_call(), short), of_1000(Trailers::never(), long)), (1000, 0));
        let some = Trailers::on_one_in(NonZeroU32::new(100).unwrap());
        assert_eq!((of_1000(some, long), of_1000(some.and_on_calls_from(long), long)), (10, 1000));
    }
}
