//! Which calls are traced: decided once per call, before any span is made.
//!
//! A subscriber can only throw away what has been made for it, and making it is what costs. So who wants one trace in a hundred says so here:
//! a call that is not sampled makes no span, writes nothing, and allocates nothing unless it has a parent to hand on.
//!
//! **The rule** is OpenTelemetry's `ParentBased(TraceIdRatioBased)`. A call within a trace is sampled if that trace is: the `sampled` flag of the
//! [context](super::TraceContext) it is made in, or that its headers bring. Of calls that begin one each has the same chance whatever came before
//! it, and the lower 63 bits of its trace's id say what was decided, so that whoever else goes by them decides alike. Decided it is by a countdown to the
//! next call that is sampled, a few instructions, and the id is drawn to fit if there is to be one.
//!
//! **What servers hear.** Of a call that is sampled, as ever. Of one that is not but has a parent, the parent, whose flag says it is not. Of one that
//! is not and has none, nothing, unless [`Sampling::tell_unsampled`] is asked for.
//!
//! **When not.** With OpenTelemetry leave its own sampler as it is by default, which follows parents and takes all others: two ratios multiply.
//! Sampling by the outcome of a call, such as all that failed, is not for here: it needs spans to be made first. A
//! [`CallLog`](super::CallLog) of failures is independent of this.

use std::num::NonZeroU64;

use lb_core::ConfigError;

use super::context::TraceContext;
use super::dice::{self, ALL};
use super::ids;

/// Which calls are traced: those that continue a sampled trace, and a share of those that begin one. For
/// [`Tracing::sampling`](super::Tracing::sampling), and for servers [`TraceLayer::sampling`](super::TraceLayer::sampling). See the
/// [module](super#sampling).
///
/// ```
/// use lb_telemetry::trace::{Sampling, Tracing};
///
/// let tracing = Tracing::new().sampling(Sampling::ratio(0.01)?);
/// # Ok::<(), lb_core::ConfigError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sampling {
    /// Ids whose lower 63 bits are below this are sampled.
    below: u64,
    tells: bool,
}

/// What becomes of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Decision {
    pub(super) sampled: bool,
    /// By which numbers it was decided, if it begins a trace: those below this.
    begins: Option<u64>,
    tells: bool,
}

impl Sampling {
    /// Of the calls that begin a trace so many, from 0, none of them, to 1, all. Those within a trace follow it.
    ///
    /// # Errors
    /// If `share` is no number from 0 to 1.
    pub fn ratio(share: f64) -> Result<Self, ConfigError> {
        if !(0.0..=1.0).contains(&share) {
            return Err(ConfigError::new("sampling.ratio", share, "a number from 0 to 1"));
        }
        // Exact at both ends; between them a double has fewer digits than an id has.
        Ok(Self { below: (share * ALL as f64) as u64, tells: false })
    }

    /// Also tells servers of calls that begin a trace and are not sampled, so that a server whose own rule is to trace what has no parent
    /// does not trace those. It costs such a call what handing on a parent costs; without it, it costs next to nothing.
    #[must_use]
    pub fn tell_unsampled(mut self) -> Self {
        self.tells = true;
        self
    }

    /// What becomes of a call with this parent.
    #[inline]
    pub(super) fn decide(self, parent: Option<&TraceContext>) -> Decision {
        let Self { below, tells } = self;
        match parent {
            Some(parent) => Decision { sampled: parent.is_sampled(), begins: None, tells },
            None => Decision { sampled: dice::takes(below), begins: Some(below), tells },
        }
    }
}

impl Decision {
    /// Whether there is no span to be made, and nothing to be told.
    pub(super) fn is_nothing(self) -> bool {
        !self.sampled && !self.tells
    }

    /// The context of the trace that the call begins, if it does: another one each time.
    pub(super) fn root(self) -> Option<TraceContext> {
        self.begins.map(|below| TraceContext::beginning(self.low(below), self.sampled))
    }

    /// The lower half of an id that says what was decided.
    fn low(self, below: u64) -> NonZeroU64 {
        let (number, last) = (dice::number_of(below, self.sampled, ids::number()), ids::number() & 1);
        // It must not be zero, and nothing goes by the last bit.
        NonZeroU64::new(number << 1 | last).unwrap_or(NonZeroU64::MIN)
    }

    /// And that of one that is not traced, if servers are to know.
    pub(super) fn told(self) -> Option<TraceContext> {
        if self.tells { self.root() } else { None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAMPLED: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn the_parent_decides_where_there_is_one() {
        let (sampled, unsampled) = (TraceContext::parse(SAMPLED), TraceContext::parse(&SAMPLED.replace("-01", "-00")));
        for share in [0.0, 1.0] {
            let sampling = Sampling::ratio(share).unwrap();
            for (parent, is_sampled) in [(&sampled, true), (&unsampled, false)] {
                let decision = sampling.decide(parent.as_ref());
                assert_eq!((decision.sampled, decision.root()), (is_sampled, None), "share {share}");
            }
            let decision = sampling.decide(None);
            assert_eq!((decision.sampled, decision.root().unwrap().is_sampled()), (share == 1.0, share == 1.0));
        }
    }

    #[test]
    fn the_id_of_a_trace_says_what_was_decided() {
        let sampling = Sampling::ratio(0.5).unwrap();
        for _ in 0..100 {
            let decision = sampling.decide(None);
            assert_eq!(number(decision) < sampling.below, decision.sampled);
        }
    }

    #[test]
    fn a_larger_share_takes_whatever_a_smaller_one_takes() {
        let [few, some, many] = [0.1, 0.2, 0.3].map(|share| Sampling::ratio(share).unwrap());
        for _ in 0..1_000 {
            let decision = some.decide(None);
            // Who goes by the number finds it below the larger share, or not below the smaller.
            assert!(if decision.sampled { number(decision) < many.below } else { number(decision) >= few.below });
        }
    }

    /// What the id says of the trace that a call begins.
    fn number(decision: Decision) -> u64 {
        decision.root().unwrap().trace.get() as u64 >> 1
    }

    #[test]
    fn a_share_is_no_less_than_none_and_no_more_than_all() {
        for share in [-0.1, 1.1, f64::NAN, f64::INFINITY] {
            let error = Sampling::ratio(share).unwrap_err();
            assert_eq!((&*error.field, &*error.allowed), ("sampling.ratio", "a number from 0 to 1"));
        }
    }
}
