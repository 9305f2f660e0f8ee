//! What a channel does about calls that fail or take long.

use lb_core::retry::{HedgingPolicy, RetryPolicy, Throttling};

use super::LbChannelBuilder;
use crate::repeats::Allowance;

impl LbChannelBuilder {
    /// Sends calls that failed again, to another endpoint first; default none. For every method that has no policy of its own.
    ///
    /// Where a hedging policy is set as well, that counts.
    ///
    /// ```no_run
    /// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
    /// use lb_core::retry::{RetryPolicy, Throttling};
    /// use lb_tonic::LbChannel;
    ///
    /// let channel = LbChannel::builder("static:///10.0.0.1:50051,10.0.0.2:50051")
    ///     .retry(RetryPolicy::retries(2)?.with_codes([tonic::Code::Unavailable, tonic::Code::Aborted])?)
    ///     .retry_throttling(Throttling::default())
    ///     .build()?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn retry(mut self, policy: RetryPolicy) -> Self {
        self.repeats.retry = Some(policy);
        self
    }

    /// Sends further attempts of a call while earlier ones are without an answer, to other endpoints first; default none. Only for
    /// calls that may be done several times.
    pub fn hedging(mut self, policy: HedgingPolicy) -> Self {
        self.repeats.hedging = Some(policy);
        self
    }

    /// Makes no retries and hedges while too many attempts of the channel fail; default off. `retryThrottling` of a service config counts
    /// instead while there is one; a change of it leaves the bucket as full as it was.
    pub fn retry_throttling(mut self, throttling: Throttling) -> Self {
        self.repeats.throttling = Some(throttling);
        self
    }

    /// Follows no retry or hedging policy, wherever it comes from. Calls that no server has worked on still go elsewhere.
    pub fn disable_retries(mut self) -> Self {
        self.repeats.enabled = false;
        self
    }

    /// The most attempts of a call, whatever its policy says, the first included; default 5. With 1 there are no retries and no hedges.
    pub fn max_attempts(mut self, attempts: u32) -> Self {
        self.repeats.max_attempts = attempts;
        self
    }

    /// How many bytes of its request a call keeps for another attempt, and all calls of the channel together; default 256 KiB and
    /// 16 MiB. A call that goes beyond either is sent once and not repeated. Requests of one message below 4 KiB are not counted, and
    /// while no policy can repeat them none is: they are kept for a transparent retry by reference, whatever their size.
    pub fn retry_buffer(mut self, per_call: usize, per_channel: usize) -> Self {
        self.repeats.allowance = Allowance::new(per_call, per_channel);
        self
    }
}
