//! Circuit breakers: an endpoint that fails is left alone, and tried again with a few calls after a while.
//!
//! Each endpoint has a breaker for each [group of methods](MethodGroups). *Closed*, it lets all calls through and counts how they end;
//! after [so many failures in a row](BreakerConfig::consecutive_failures), or when the [share of
//! failures](BreakerConfig::failure_rate) among the latest calls is too high, it *opens*: no calls go there, others take them. After
//! [a time](BreakerConfig::open_time) it is *half-open*: a few trial calls go, and how they end closes it or opens it again.
//!
//! ```text
//!              too many failures                   time over
//!   closed ───────────────────────────> open ───────────────────> half-open
//!      ^                                  ^                           │ │
//!      │                                  └────── a trial fails ──────┘ │
//!      └───────────────── enough trials succeed ────────────────────────┘
//! ```
//!
//! A breaker is a [`Gate`](crate::gate::Gate): it refuses at the pick, so an open endpoint keeps its connection and its health check, and a
//! call, a retry or a hedge goes elsewhere without having lost anything. When all are open, calls that do not wait fail with the time
//! of the next trial, and calls that wait for ready wait for it.
//!
//! **Why this way.** The state is one word, and each of its steps a compare-and-swap, so a call costs a load at its beginning and one
//! at its end while all is well, and no lock ever. An outcome counts only in the period its call began in: a slow call that fails
//! after the breaker has closed again does not count against the new period. A trial that is cancelled gives its place to another;
//! one that does not end within [`trial_timeout`](BreakerConfig::trial_timeout) does too, and still counts if it succeeds.
//!
//! **Bound.** An endpoint that fails every call gets `consecutive_failures` calls, plus those in flight when it opens, and then at most
//! [`trial_calls`](BreakerConfig::trial_calls) at once per `open_time`. Memory: about 300 bytes per endpoint and group, for at most
//! [`max_groups`](BreakerConfig::max_groups) groups.
//!
//! From its opening on no call goes there, and one whose policy chose it is offered the others of its group. What looks beyond them, `pick_first`
//! going on to its next endpoint, a group failing over, a replica taking over, does so with the next generation. The breaker asks for that at
//! once, so it is one turn of the channel's task away, under a millisecond unless the runtime is starved; a call that comes in between, and has
//! neither a retry policy nor wait-for-ready, may be told that the breaker is open though a standby is there.
//!
//! **When not.** For endpoints that are a little worse than the others: a breaker compares with nobody and opens for all at once if all
//! fail, which [outlier ejection](crate::stages::OutlierStage) does not. For overload: limits shed a part, a breaker sheds all.
//!
//! ```
//! use std::time::{Duration, Instant};
//! use lb_core::breaker::{BreakerConfig, BreakerState, Breakers};
//! use lb_core::gate::{Entry, Gate, GateSignal};
//! use lb_core::{Done, Endpoint, Outcome, PickArgs, PickHints, Scratch, Slot};
//!
//! let now = Instant::now();
//! let endpoint = Endpoint::new(std::net::SocketAddr::from(([10, 0, 0, 1], 50051)));
//! let breakers = Breakers::try_new(BreakerConfig::default().consecutive_failures(2), 7, false)?;
//! let gate = breakers.endpoint(&endpoint, &GateSignal::default());
//!
//! let (headers, hints, mut scratch) = (http::HeaderMap::new(), PickHints::default(), Scratch::new(1));
//! let args = PickArgs::new(now, "/orders.v1.Orders/Place", &headers, &hints, &mut scratch);
//! let failed = Done::new(Slot::new(0, 0), now, Duration::ZERO, Outcome::Failure).with_code(14);
//! for _ in 0..2 {
//!     let token = gate.enter(&Entry::new(&args, &endpoint)).unwrap();
//!     gate.left(token, &failed);
//! }
//! assert_eq!(gate.info(now)[0].state, BreakerState::Open);
//! let refusal = gate.enter(&Entry::new(&args, &endpoint)).unwrap_err();
//! assert!(refusal.until.unwrap() >= now + Duration::from_secs(60));
//! # Ok::<(), lb_core::ConfigError>(())
//! ```
//!
//! Sources: M. Nygard, *Release It!*, for the pattern; the defaults are the promised ones. The rate over a window and limited trials
//! follow what resilience4j does, the growing time gRFC A50's ejection time.

mod cell;
mod change;
mod config;
mod endpoint;
#[cfg(test)]
mod endpoint_tests;
mod groups;
mod log;
#[cfg(test)]
mod model;
mod one;
#[cfg(test)]
mod properties;
mod remote;
mod state;
#[cfg(test)]
mod tests;
mod window;

pub use change::{BreakerChange, BreakerInfo, BreakerReason, BreakerState};
pub use config::{BreakerConfig, FailureRate};
pub use endpoint::{BreakerForce, Breakers, EndpointBreakers};
pub use groups::{GroupFn, MethodGroups};
pub use remote::{RemoteBreaker, RemoteError, RemoteReport, RemoteState, RemoteUpdate};
