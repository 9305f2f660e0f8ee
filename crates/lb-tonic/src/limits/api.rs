//! What users of a channel see of its limits.

use std::time::Duration;

use lb_core::ConfigError;
use lb_core::limits::{GradientConfig, RateLimits};
use tonic::Status;
use tonic::metadata::MetadataValue;

use crate::builder::LbChannelBuilder;
use crate::channel::LbChannel;

use super::LimitStats;

/// When to come again where only the end of a call makes room: about as long as calls take.
pub(super) const A_CALL: Duration = Duration::from_millis(20);

/// A hint for whoever gets the status, in the form that servers have for it (gRFC A6): a server that hands the status on tells its own
/// client.
const PUSHBACK: &str = "grpc-retry-pushback-ms";

/// Rounded up to what anybody wants to read, and to what the hint can say: at least 1 ms, and at most what is left of an `i32`.
pub(crate) fn whole_millis(retry_after: Duration) -> Duration {
    let millis = u64::try_from(retry_after.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX);
    Duration::from_millis(millis.clamp(1, i32::MAX.unsigned_abs().into()))
}

/// Says in the status when to come again, in whole milliseconds.
pub(crate) fn hint(status: &mut Status, retry_after: Duration) {
    let millis = whole_millis(retry_after).as_millis();
    status.metadata_mut().insert(PUSHBACK, MetadataValue::from(u64::try_from(millis).unwrap_or(u64::MAX)));
}

impl LbChannelBuilder {
    /// Limits on calls a second: of the channel, of keys, methods and endpoints, and in a flood. Off by default; see [`lb_core::limits`].
    ///
    /// A call beyond one is shed: it fails at once with RESOURCE_EXHAUSTED, [`CallError::Shed`](crate::CallError::Shed) and the hint
    /// `grpc-retry-pushback-ms`, and is not retried. At the limit of an endpoint calls go to others while there are any. Each call counts
    /// once, however often it is attempted, but for the limits of endpoints, which count attempts. What is shed before the pick waits for
    /// nothing, whether it waits for ready or not.
    ///
    /// ```
    /// # fn example() -> Result<(), Box<dyn std::error::Error>> {
    /// use lb_core::limits::{RateLimit, RateLimits};
    /// use lb_tonic::LbChannel;
    ///
    /// let limits = RateLimits::new().channel(RateLimit::per_second(1000)?.with_burst(1500)?);
    /// let channel = LbChannel::builder("dns:///orders.internal:50051").rate_limits(limits).build()?;
    /// println!("{} calls shed", channel.limits().shed());
    /// # Ok(())
    /// # }
    /// ```
    pub fn rate_limits(mut self, limits: RateLimits) -> Self {
        self.limits.rates = limits;
        self
    }

    /// Limits the calls at once at each endpoint to what it has shown to bear, measured from latency. Off by default; for unary calls. See
    /// [`Gradient`](lb_core::limits::Gradient) for how, and when not to. Beyond the limit calls go to other endpoints, or are shed.
    pub fn concurrency_limit(mut self, config: GradientConfig) -> Self {
        self.limits.concurrency = Some(config);
        self
    }
}

impl LbChannel {
    /// What the limits did so far, and what they are now. Linear in the endpoints, and in the keys a limit by key has room for.
    pub fn limits(&self) -> LimitStats {
        self.handle().shared().limits.stats()
    }

    /// Other rate limits from now on. What stays as it was keeps its state; a bucket at another rate keeps its tokens, as far as they
    /// fit, so that a change is no burst. [`RateLimits::new`] takes all away.
    ///
    /// # Errors
    /// A limit of endpoints, if the channel was built without any (neither that nor a concurrency limit); nothing is changed then.
    pub fn set_rate_limits(&self, limits: RateLimits) -> Result<(), ConfigError> {
        self.handle().shared().limits.set_rates(limits)?;
        self.handle().shared().gate_signal().opened();
        Ok(())
    }

    /// Other bounds of the adaptive concurrency limit from now on; `None` takes it away. What was found so far stays, within the bounds.
    ///
    /// # Errors
    /// The channel was built without any limit of endpoints.
    pub fn set_concurrency_limit(&self, config: impl Into<Option<GradientConfig>>) -> Result<(), ConfigError> {
        self.handle().shared().limits.set_concurrency(config.into())?;
        self.handle().shared().gate_signal().opened();
        Ok(())
    }
}
