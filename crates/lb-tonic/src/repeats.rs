//! What a channel does about calls that fail or take long, and what all its calls share for it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use lb_core::retry::{DEFAULT_MAX_ATTEMPTS, HedgingPolicy, RetryPolicy, Throttling};
use lb_core::service_config::MethodConfig;

/// How many bytes of a request are kept for another attempt; gRPC's default per call.
const PER_CALL: usize = 256 * 1024;

/// How many bytes all calls of a channel keep together: 64 calls that keep all they may (as in grpc-java).
const PER_CHANNEL: usize = 16 * 1024 * 1024;

/// As the builder collects it, and as calls see it.
#[derive(Debug)]
pub(crate) struct Repeats {
    pub(crate) retry: Option<RetryPolicy>,
    pub(crate) hedging: Option<HedgingPolicy>,
    pub(crate) throttling: Option<Throttling>,
    /// Whether policies count at all; transparent retries are made in any case.
    pub(crate) enabled: bool,
    /// The most attempts, whatever a policy says.
    pub(crate) max_attempts: u32,
    pub(crate) allowance: Allowance,
}

/// What a call may keep of its request for another attempt.
#[derive(Debug, Clone)]
pub(crate) struct Allowance {
    /// In bytes.
    pub(crate) per_call: usize,
    /// Shared by the calls of a channel.
    pub(crate) budget: Arc<Budget>,
}

impl Default for Repeats {
    fn default() -> Self {
        Self {
            retry: None,
            hedging: None,
            throttling: None,
            enabled: true,
            max_attempts: DEFAULT_MAX_ATTEMPTS,
            allowance: Allowance::new(PER_CALL, PER_CHANNEL),
        }
    }
}

impl Allowance {
    pub(crate) fn new(per_call: usize, per_channel: usize) -> Self {
        Self { per_call, budget: Arc::new(Budget { limit: per_channel, used: AtomicUsize::new(0) }) }
    }
}

/// How a call is repeated.
#[derive(Debug)]
pub(crate) enum Repeat<'a> {
    Retry(&'a RetryPolicy),
    Hedge(&'a HedgingPolicy),
}

impl Repeats {
    /// How a call of this method is repeated: as its service config says, or the channel for all that say nothing. The policy is under
    /// the channel's limit of attempts, whatever it says itself.
    #[inline]
    pub(crate) fn of<'a>(&'a self, method: Option<&'a Arc<MethodConfig>>) -> Option<Repeat<'a>> {
        let method = method.map(|method| (&method.hedging, &method.retry));
        match method {
            _ if self.max_attempts < 2 => None,
            Some((Some(policy), _)) => Some(Repeat::Hedge(policy)),
            Some((_, Some(policy))) => Some(Repeat::Retry(policy)),
            _ => match &self.hedging {
                Some(policy) => Some(Repeat::Hedge(policy)),
                None => self.retry.as_ref().map(Repeat::Retry),
            },
        }
    }

    /// As calls see it, once all is said.
    pub(crate) fn settle(mut self) -> Self {
        if !self.enabled {
            self.max_attempts = 1;
        }
        self
    }
}

/// Bytes that calls may keep of their requests.
#[derive(Debug)]
pub(crate) struct Budget {
    limit: usize,
    used: AtomicUsize,
}

impl Budget {
    /// Takes so many bytes; whether there were so many.
    pub(crate) fn take(&self, bytes: usize) -> bool {
        let room = |used: usize| used.checked_add(bytes).filter(|used| *used <= self.limit);
        self.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, room).is_ok()
    }

    pub(crate) fn give_back(&self, bytes: usize) {
        self.used.fetch_sub(bytes, Ordering::Relaxed);
    }

    #[cfg(test)]
    pub(crate) fn used(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_budget_gives_no_more_than_it_has() {
        let budget = Allowance::new(0, 10).budget;
        assert!(budget.take(6) && !budget.take(5) && budget.take(4) && !budget.take(1) && !budget.take(usize::MAX));
        budget.give_back(4);
        assert!(budget.take(0) && budget.take(4) && budget.used() == 10);
    }

    #[test]
    fn the_methods_policy_counts_before_the_channels_and_the_switch_before_both() {
        let repeats = |enabled, max_attempts| {
            let retry = Some(RetryPolicy::retries(1).unwrap());
            Repeats { retry, enabled, max_attempts, ..Repeats::default() }.settle()
        };
        let of = |repeats: &Repeats, method: Option<MethodConfig>| match repeats.of(method.map(Arc::new).as_ref()) {
            Some(Repeat::Retry(policy)) => Some(policy.max_attempts()),
            Some(Repeat::Hedge(policy)) => Some(100 * policy.max_attempts()),
            None => None,
        };
        let (mut retried, mut hedged) = (MethodConfig::default(), MethodConfig::default());
        retried.retry = Some(RetryPolicy::retries(3).unwrap());
        hedged.hedging = Some(HedgingPolicy::try_new(3, std::time::Duration::ZERO).unwrap());
        let on = repeats(true, DEFAULT_MAX_ATTEMPTS);
        assert_eq!((of(&on, None), of(&on, Some(MethodConfig::default()))), (Some(2), Some(2)));
        assert_eq!((of(&on, Some(retried.clone())), of(&on, Some(hedged.clone()))), (Some(4), Some(300)));
        for off in [repeats(false, 5), repeats(true, 1), repeats(true, 0)] {
            assert_eq!([of(&off, None), of(&off, Some(retried.clone())), of(&off, Some(hedged.clone()))], [None; 3]);
        }
        assert_eq!(of(&Repeats::default(), None), None);
    }
}
