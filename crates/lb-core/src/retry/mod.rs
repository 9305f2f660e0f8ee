//! Sending a call again, and sending it twice at once: what is allowed, when, and how often.
//!
//! An attempt that failed may be followed by another one. [`Attempts`] decides that for one call, in gRPC's order: what no server has
//! worked on goes elsewhere at once and for nothing (a *transparent retry*); what a server failed with a code of the
//! [`RetryPolicy`] waits a jittered, growing backoff and goes to another endpoint first; what has begun to answer is never repeated.
//! A [`HedgingPolicy`] does not wait for failures: it sends further attempts while earlier ones run and takes the first answer.
//! The [`Throttle`] is what all calls of a channel share: it forbids both while too many attempts fail, so that retries cannot
//! multiply an overload.
//!
//! Bound: a call makes at most `max_attempts` attempts that a server worked on. With throttling, once every attempt fails, the attempts
//! of all calls exceed their number by at most half of the tokens, and then by nothing until calls succeed again.
//!
//! When not: calls that must not be done twice. A retried call may have been done by the server whose answer was lost; list only
//! codes by which a server says that it did nothing. A hedged call *is* done several times, as a rule.
//!
//! ```
//! use std::time::Duration;
//! use lb_core::retry::{Attempts, Ending, Next, RetryPolicy, Throttle, Throttling};
//!
//! let policy = RetryPolicy::retries(2)?.with_codes([14])?.with_initial_backoff(Duration::from_millis(50))?;
//! let throttle = Throttle::new(Some(Throttling::try_new(10.0, 0.1)?));
//! let mut attempts = Attempts::default();
//! attempts.begin();
//! let Next::Retry(delay) = attempts.after(&Ending::failed(14), Some(&policy), &throttle, 1 << 63) else { panic!("it may") };
//! assert_eq!(delay, Duration::from_millis(50));
//! # Ok::<(), lb_core::ConfigError>(())
//! ```
//!
//! Source: gRFC A6; grpc-go and grpc-java where it leaves a choice.

mod attempts;
mod codes;
mod hedges;
mod hedging;
mod policy;
mod pushback;
mod throttle;

pub use attempts::{Attempts, Ending, Next, Reached, Surfaced};
pub use codes::{CODE_NAMES, StatusCodes};
pub use hedges::{HedgeStep, Hedges};
pub use hedging::HedgingPolicy;
pub use policy::RetryPolicy;
pub use pushback::Pushback;
pub use throttle::{Throttle, Throttling};

/// The most attempts of a call, whatever its policy says, unless the channel sets another limit (gRFC A6).
pub const DEFAULT_MAX_ATTEMPTS: u32 = 5;
