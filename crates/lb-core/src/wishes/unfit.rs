//! Why no endpoint fits: how many of them each condition removed.

use std::fmt;
use std::sync::Arc;

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
    /// Others are preferred, and can take the call. It would do if they could not.
    Outranked,
}

impl Misfit {
    /// Whether the reason may go away with the next call that ends, rather than with the next change of the set.
    pub fn is_load(&self) -> bool {
        matches!(self, Self::AboveLoad(_) | Self::NoRoom(_))
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
            Self::Outranked => f.write_str("less preferred"),
        }
    }
}

/// How many endpoints each condition of a call removed, when it left none. Every endpoint is counted once, under the first condition
/// that removed it, in the order of [`Misfit`].
///
/// ```text
/// of 12 endpoints: 5 without gpu, 3 excluded, 4 above load 0.8
/// ```
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Unfit {
    /// How many endpoints there are.
    pub endpoints: usize,
    /// Reasons and how many endpoints each removed; the most frequent first.
    pub removed: Vec<(Misfit, usize)>,
}

impl Unfit {
    /// Counts the reasons; `None` stands for an endpoint that fits.
    pub(super) fn count(reasons: impl IntoIterator<Item = Option<Misfit>>) -> Self {
        let mut unfit = Self { endpoints: 0, removed: Vec::new() };
        for reason in reasons {
            unfit.endpoints += 1;
            let Some(reason) = reason else { continue };
            match unfit.removed.iter_mut().find(|(known, _)| *known == reason) {
                Some((_, count)) => *count += 1,
                None => unfit.removed.push((reason, 1)),
            }
        }
        unfit.removed.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        unfit
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
        let unfit = Unfit::count(reasons);
        assert_eq!(unfit.to_string(), "of 7 endpoints: 3 without gpu, 2 above load 0.8, 1 excluded");
        assert_eq!((unfit.removed_by(&Misfit::Excluded), unfit.removed_by(&Misfit::NoRoom(1))), (1, 0));
        assert!(unfit.is_load() && !Unfit::count([lacks()]).is_load());
        assert_eq!(Unfit::count([lacks()]).to_string(), "of 1 endpoint: 1 without gpu");
        let json = serde_json::to_string(&Unfit::count([lacks(), Some(Misfit::NotPinned("a:1".into()))])).unwrap();
        assert_eq!(json, r#"{"endpoints":2,"removed":[[{"lacks":"gpu"},1],[{"not_pinned":"a:1"},1]]}"#);
    }
}
