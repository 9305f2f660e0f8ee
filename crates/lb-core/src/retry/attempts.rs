//! What follows an attempt that failed.

use std::time::Duration;

use super::{Pushback, RetryPolicy, Throttle};

/// How far a failed attempt got.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reached {
    /// Nothing left this client: the connection was gone, or is about to be.
    NotSent,
    /// A server said that it did nothing with it: a stream refused, or above the last one of a GOAWAY.
    Refused,
    /// The channel found no endpoint for it. A policy may retry that; nothing is known of any server.
    NoEndpoint,
    /// A server has, or may have, worked on it.
    Server,
    /// It was given up because it took longer than an attempt may.
    TimedOut,
}

/// How an attempt ended that did not succeed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ending {
    /// gRPC's code for it.
    pub code: i32,
    /// How far it got.
    pub reached: Reached,
    /// What the server says about retrying.
    pub pushback: Pushback,
    /// Whether the call can still be sent again: no response headers were passed on, and what was sent of the request was kept.
    pub repeatable: bool,
}

impl Ending {
    /// A server answered with this code and nothing else.
    pub fn failed(code: i32) -> Self {
        Self { code, reached: Reached::Server, pushback: Pushback::None, repeatable: true }
    }
}

/// What to do after an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// Pick again at once, as if this attempt had not been.
    Transparent,
    /// Wait so long and make another attempt.
    Retry(Duration),
    /// The caller gets the failure.
    Surface(Surfaced),
}

/// Why a failure is the caller's to see.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Surfaced {
    /// The call cannot be sent again: it has begun to answer, or too much of it was sent.
    Committed,
    /// There is no policy that retries it.
    NoPolicy,
    /// The server forbade it.
    Forbidden,
    /// The policy does not retry this code.
    OtherCode,
    /// Too many attempts of the channel fail.
    Throttled,
    /// It was the last attempt.
    LastAttempt,
}

/// The attempts of one call, and the decision after each.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Attempts {
    /// All of them.
    made: u32,
    /// Those that were in vain without a server working on them; they count for nothing.
    transparent: u32,
    /// Retries since a server last said when.
    steps: u32,
    refused: bool,
    processed: bool,
}

impl Attempts {
    /// Counts an attempt that begins.
    #[inline]
    pub fn begin(&mut self) {
        self.made = self.made.saturating_add(1);
    }

    /// Attempts so far, transparent ones included.
    pub fn made(&self) -> u32 {
        self.made
    }

    /// Attempts before the latest one that a policy counts: what `grpc-previous-rpc-attempts` says.
    pub fn previous(&self) -> u32 {
        self.counted().saturating_sub(1)
    }

    /// Attempts that a policy counts.
    pub fn counted(&self) -> u32 {
        self.made - self.transparent
    }

    /// Decides, in gRPC's order. `policy` is `None` where retries are disabled or not configured; transparent ones remain.
    /// `entropy` is 64 random bits for the jitter.
    pub fn after(&mut self, ending: &Ending, policy: Option<&RetryPolicy>, throttle: &Throttle, entropy: u64) -> Next {
        if ending.repeatable && self.is_transparent(ending.reached) {
            self.transparent += 1;
            return Next::Transparent;
        }
        self.processed |= matches!(ending.reached, Reached::Server | Reached::TimedOut);
        let Some(policy) = policy else { return Next::Surface(Surfaced::NoPolicy) };
        if !ending.repeatable {
            return Next::Surface(Surfaced::Committed);
        }
        if ending.pushback == Pushback::Stop {
            throttle.failed();
            return Next::Surface(Surfaced::Forbidden);
        }
        if ending.reached != Reached::TimedOut && !policy.codes().contains(ending.code) {
            return Next::Surface(Surfaced::OtherCode);
        }
        if !throttle.failed() {
            return Next::Surface(Surfaced::Throttled);
        }
        if self.counted() >= policy.max_attempts() {
            return Next::Surface(Surfaced::LastAttempt);
        }
        Next::Retry(self.delay(ending.pushback, policy, entropy))
    }

    fn is_transparent(&mut self, reached: Reached) -> bool {
        match reached {
            Reached::NotSent => true,
            // Once per call, and never after a server has worked on it.
            Reached::Refused => !self.processed && !std::mem::replace(&mut self.refused, true),
            Reached::NoEndpoint | Reached::Server | Reached::TimedOut => false,
        }
    }

    fn delay(&mut self, pushback: Pushback, policy: &RetryPolicy, entropy: u64) -> Duration {
        if let Pushback::After(delay) = pushback {
            self.steps = 0;
            return delay;
        }
        self.steps += 1;
        policy.delay(self.steps, entropy)
    }
}

#[cfg(test)]
mod tests;
