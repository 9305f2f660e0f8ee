//! Why no endpoint fits: how many of them each condition removed.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

use crate::connectivity::ConnectivityState;
use crate::endpoint::EndpointKey;

/// Why one endpoint does not fit a call.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Misfit {
    /// The call is pinned to another one.
    NotPinned(EndpointKey),
    /// The call excludes it.
    Excluded,
    /// It has not this capability, which is the first of those the call requires that it has not.
    Lacks(Arc<str>),
    /// A stage gives it no calls: `drained`, `priority` and so on.
    Hidden(&'static str),
    /// It is not READY but in this state.
    NotReady(ConnectivityState),
    /// Its load is above this threshold.
    AboveLoad(f64),
    /// Its calls in flight and this cost together exceed its capacity.
    NoRoom(u32),
    /// It has as many calls as it may have.
    AtLimit,
    /// It gets no more calls a second than it has had.
    RateLimited,
    /// Its circuit breaker is open.
    BreakerOpen,
    /// It gets a part of its share for now, and other calls are that part.
    Ramping,
    /// A [gate](crate::gate) of your own refuses it, for this reason: one or two words.
    Refused(&'static str),
    /// Others are preferred, and can take the call. It would do if they could not.
    Outranked,
}

impl Misfit {
    /// Whether the reason may go away with the next call that ends, rather than with the next change of the set.
    pub fn is_load(&self) -> bool {
        let gate = self.is_full() || matches!(self, Self::BreakerOpen | Self::Ramping | Self::Refused(_));
        gate || matches!(self, Self::AboveLoad(_) | Self::NoRoom(_))
    }

    /// Whether the endpoint is sound and only has enough to do: a call that waits its turn will get there.
    pub fn is_full(&self) -> bool {
        matches!(self, Self::AtLimit | Self::RateLimited)
    }
}

impl fmt::Display for Misfit {
    /// Reads well after a count or a name: `3 excluded`, `10.0.0.1:1 excluded`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotPinned(pin) => write!(f, "not the pinned {pin}"),
            Self::Excluded => f.write_str("excluded"),
            Self::Lacks(capability) => write!(f, "without {capability}"),
            Self::Hidden(stage) => f.write_str(stage),
            Self::NotReady(state) => write!(f, "in {state}"),
            Self::AboveLoad(threshold) => write!(f, "above load {threshold}"),
            Self::NoRoom(cost) => write!(f, "without room for a cost of {cost}"),
            Self::AtLimit => f.write_str("at its limit"),
            Self::RateLimited => f.write_str("rate limited"),
            Self::BreakerOpen => f.write_str("breaker open"),
            Self::Ramping => f.write_str("ramping up"),
            Self::Refused(reason) => f.write_str(reason),
            Self::Outranked => f.write_str("less preferred"),
        }
    }
}

/// How many endpoints each condition of a call removed, when it left none. Every endpoint is counted once, under the first condition
/// that removed it, in the order of [`Misfit`].
///
/// ```text
/// of 12 endpoints: 5 without gpu, 3 excluded, 4 above load 0.8
/// of 3 endpoints: 3 breaker open (next in 1.5s)
/// ```
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Unfit {
    /// How many endpoints there are.
    pub endpoints: usize,
    /// Reasons and how many endpoints each removed; the most frequent first.
    pub removed: Vec<(Misfit, usize)>,
    /// Reasons that end by themselves, where a gate knows when, and how long it takes at least until the first endpoint they removed
    /// may be back.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ends: Vec<(Misfit, Duration)>,
}

impl Unfit {
    /// Counts the reasons, and how long each takes if that is known; `None` stands for an endpoint that fits.
    pub(super) fn count(reasons: impl IntoIterator<Item = (Option<Misfit>, Option<Duration>)>) -> Self {
        let mut unfit = Self { endpoints: 0, removed: Vec::new(), ends: Vec::new() };
        for (reason, end) in reasons {
            unfit.endpoints += 1;
            let Some(reason) = reason else { continue };
            unfit.note_end(&reason, end);
            match unfit.removed.iter_mut().find(|(known, _)| *known == reason) {
                Some((_, count)) => *count += 1,
                None => unfit.removed.push((reason, 1)),
            }
        }
        unfit.removed.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        unfit
    }

    fn note_end(&mut self, reason: &Misfit, end: Option<Duration>) {
        let Some(end) = end else { return };
        match self.ends.iter_mut().find(|(known, _)| known == reason) {
            Some((_, earliest)) => *earliest = end.min(*earliest),
            None => self.ends.push((reason.clone(), end)),
        }
    }

    /// How long it takes at least until the first endpoint removed for this reason may be back, if a gate said so.
    pub fn ends(&self, reason: &Misfit) -> Option<Duration> {
        self.ends.iter().find(|(known, _)| known == reason).map(|(_, end)| *end)
    }

    /// How long it takes at least until the first endpoint removed for any reason may be back, as far as gates said so.
    pub fn earliest_end(&self) -> Option<Duration> {
        self.ends.iter().map(|(_, end)| *end).min()
    }

    /// Whether some endpoint is sound and only [has enough to do](Misfit::is_full): waiting for one's turn is worth it.
    pub fn is_full(&self) -> bool {
        self.removed.iter().any(|(reason, _)| reason.is_full())
    }

    /// Whether some endpoint fits by now: calls end, and breakers let calls in, between the look that found nobody and the count of the
    /// reasons. Then it is worth looking again at once.
    pub fn is_over(&self) -> bool {
        self.removed.iter().map(|(_, count)| count).sum::<usize>() < self.endpoints
    }

    /// How many endpoints this reason removed.
    pub fn removed_by(&self, reason: &Misfit) -> usize {
        self.removed.iter().find(|(known, _)| known == reason).map_or(0, |(_, count)| *count)
    }

    /// Whether some endpoint was removed by its load alone: the next call that ends may change that.
    pub fn is_load(&self) -> bool {
        self.removed.iter().any(|(reason, _)| reason.is_load())
    }
}

impl fmt::Display for Unfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "of {} endpoint{}", self.endpoints, if self.endpoints == 1 { "" } else { "s" })?;
        for (position, (reason, count)) in self.removed.iter().enumerate() {
            write!(f, "{} {count} {reason}", if position == 0 { ":" } else { "," })?;
            if let Some(end) = self.ends(reason) {
                // Finer than a millisecond nobody wants to read.
                write!(f, " (next in {:?})", Duration::from_millis(end.as_millis().try_into().unwrap_or(u64::MAX)))?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_endpoint_counts_once_and_the_text_says_it() {
        let lacks = || Some(Misfit::Lacks("gpu".into()));
        let full = || Some(Misfit::AboveLoad(0.8));
        let reasons = [lacks(), Some(Misfit::Excluded), full(), lacks(), lacks(), full(), None];
        let count = |reasons: &[Option<Misfit>]| Unfit::count(reasons.iter().map(|reason| (reason.clone(), None)));
        let unfit = count(&reasons);
        assert_eq!(unfit.to_string(), "of 7 endpoints: 3 without gpu, 2 above load 0.8, 1 excluded");
        assert_eq!((unfit.removed_by(&Misfit::Excluded), unfit.removed_by(&Misfit::NoRoom(1))), (1, 0));
        assert!(unfit.is_load() && !count(&[lacks()]).is_load());
        assert!(unfit.is_over() && count(&[None]).is_over() && !count(&[lacks(), full()]).is_over(), "one fits, or none");
        assert_eq!(count(&[lacks()]).to_string(), "of 1 endpoint: 1 without gpu");
        let json = serde_json::to_string(&count(&[lacks(), Some(Misfit::NotPinned("a:1".into()))])).unwrap();
        assert_eq!(json, r#"{"endpoints":2,"removed":[[{"lacks":"gpu"},1],[{"not_pinned":"a:1"},1]]}"#);
    }

    #[test]
    fn the_earliest_end_of_a_reason_is_said() {
        let (open, full) = (Some(Misfit::BreakerOpen), Some(Misfit::AtLimit));
        let (two, one) = (Some(Duration::from_secs(2)), Some(Duration::from_micros(1_500_200)));
        let unfit = Unfit::count([(open.clone(), two), (full, None), (open, one), (None, None)]);
        assert_eq!(unfit.to_string(), "of 4 endpoints: 2 breaker open (next in 1.5s), 1 at its limit");
        assert_eq!((unfit.ends(&Misfit::BreakerOpen), unfit.ends(&Misfit::AtLimit), unfit.earliest_end()), (one, None, one));
        assert!(unfit.is_full() && unfit.is_load());
    }
}
