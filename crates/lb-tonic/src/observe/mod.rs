//! Calls and attempts as they happen, for metrics, traces and logs.
//!
//! A [`CallObserver`] given to [`LbChannelBuilder::call_observer`](crate::LbChannelBuilder::call_observer) is asked at the beginning of
//! every call, on the caller's task. What it returns hears of the rest of that call, and what that returns hears of one attempt:
//!
//! ```text
//! CallObserver::call ──> CallTrace::resolved   if the call had to wait for the resolver's first answer
//!                                 ::attempt ──> AttemptTrace::placed    an endpoint was found; headers can be added
//!                                 │                         ::message   for each message, either way, if it wants to hear of them
//!                                 │                         ::end       once, whatever happens
//!                                 ::attempted   the same, for who needs nothing else of attempts
//!                                 ::end         once, after the last attempt's end
//! ```
//!
//! An attempt begins before its endpoint is sought, and after the names are resolved (gRFC A66). Several attempts of one call are
//! there at once if it is hedged. A call that is shed, or ends before names are resolved, has no attempt. Dropping a call's future or its
//! response's body ends it with CANCELLED. Health checks, load reports and [`LbChannel::pick`](crate::LbChannel::pick) are no calls.
//!
//! **What it costs.** Without observers a call pays one branch that is always predicted the same way, and allocates nothing. With them a call
//! that finds its endpoint at once and has one attempt pays some 600 instructions and whatever they do, with no allocation and no lock; one that waits or is repeated,
//! an allocation and two short locks per attempt that nobody else wants; where messages are to be told one by one, or requests are
//! streams, one allocation and a lock per message more. An observer that keeps nothing of single calls
//! returns a clone of one `Arc` for all of them, and allocates nothing itself: every end says all that is known.
//!
//! **What not to do here.** All of this runs where calls run: an observer that blocks holds up calls. For what happens to endpoints and not
//! to calls there is [`Observer`](lb_core::Observer).
//!
//! ```
//! use std::sync::Arc;
//! use std::sync::atomic::{AtomicU64, Ordering};
//!
//! use lb_tonic::LbChannel;
//! use lb_tonic::observe::{AttemptStart, AttemptTrace, CallEnd, CallObserver, CallStart, CallTrace};
//!
//! /// Counts the calls that fail.
//! #[derive(Debug, Clone, Default)]
//! struct Failures(Arc<AtomicU64>);
//!
//! impl CallObserver for Failures {
//!     fn call(&self, _call: &CallStart<'_>) -> Option<Arc<dyn CallTrace>> {
//!         Some(Arc::new(self.clone()))
//!     }
//! }
//!
//! impl CallTrace for Failures {
//!     fn attempt(&self, _attempt: &AttemptStart) -> Option<Arc<dyn AttemptTrace>> {
//!         None
//!     }
//!
//!     fn end(&self, end: &CallEnd<'_>) {
//!         self.0.fetch_add(u64::from(end.code != tonic::Code::Ok), Ordering::Relaxed);
//!     }
//! }
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let failures = Failures::default();
//! let channel = LbChannel::builder("static:///10.0.0.1:50051").call_observer(failures.clone()).build()?;
//! # Ok(())
//! # }
//! ```

mod facts;
mod messages;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderMap;

pub use facts::{AttemptEnd, AttemptKind, AttemptStart, CallEnd, CallStart, Direction, Message, Placed};
pub use messages::MessageReader;

/// Is asked at the beginning of every call. See the [module](self).
pub trait CallObserver: fmt::Debug + Send + Sync + 'static {
    /// A call begins, on the task of its caller, before anything is decided about it. What is returned hears of the rest; `None`: this
    /// call is of no interest.
    fn call(&self, call: &CallStart<'_>) -> Option<Arc<dyn CallTrace>>;
}

impl<T: CallObserver + ?Sized> CallObserver for Arc<T> {
    fn call(&self, call: &CallStart<'_>) -> Option<Arc<dyn CallTrace>> {
        (**self).call(call)
    }
}

/// Hears of one call.
pub trait CallTrace: Send + Sync + 'static {
    /// The resolver had not answered when the call began, and has now; the call has waited so long for it.
    fn resolved(&self, waited: Duration) {
        let _ = waited;
    }

    /// An attempt begins. What is returned hears of the rest of it; `None`: nothing more than its [end](Self::attempted) is of interest.
    fn attempt(&self, attempt: &AttemptStart) -> Option<Arc<dyn AttemptTrace>>;

    /// An attempt has ended, and those that [heard of the rest of it](Self::attempt) have been told: for who keeps nothing of single
    /// attempts.
    fn attempted(&self, end: &AttemptEnd<'_>) {
        let _ = end;
    }

    /// The call has ended, and all its attempts.
    fn end(&self, end: &CallEnd<'_>);
}

/// Hears of one attempt.
pub trait AttemptTrace: Send + Sync + 'static {
    /// There is an endpoint for it. What is put into `headers`, the request's, is sent with this attempt alone. Does not happen if none is found.
    fn placed(&self, placed: &Placed<'_>, headers: &mut HeaderMap) {
        let _ = (placed, headers);
    }

    /// Whether it wants to hear of messages one by one; asked once, when the attempt begins. Default yes. Who says no finds their sum at
    /// the end, and spares calls a lock and an allocation.
    fn wants_messages(&self) -> bool {
        true
    }

    /// A message has passed by, whole, if [wanted](Self::wants_messages). Runs on the task that sends or reads it. Nothing more is told after the end.
    fn message(&self, message: &Message) {
        let _ = message;
    }

    /// The attempt has ended: with the response's trailers, a failure, or because nobody wants it any more.
    fn end(&self, end: &AttemptEnd<'_>);
}
