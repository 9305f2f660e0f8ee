//! Calls and attempts, counted and timed as gRPC does (gRFCs A66, A96 and A108).
//!
//! | instrument | kind | unit | attributes |
//! |---|---|---|---|
//! | `grpc.client.attempt.started` | counter | `{attempt}` | `grpc.method`, `grpc.target` |
//! | `grpc.client.attempt.duration` | histogram | `s` | and `grpc.status` |
//! | `grpc.client.attempt.sent_total_compressed_message_size` | histogram | `By` | the same |
//! | `grpc.client.attempt.rcvd_total_compressed_message_size` | histogram | `By` | the same |
//! | `grpc.client.call.duration` | histogram | `s` | the same |
//! | `grpc.client.call.retries`, `.transparent_retries`, `.hedges` | histogram | `{retry}`, `{transparent_retry}`, `{hedge}` | `grpc.method`, `grpc.target` |
//! | `grpc.client.call.retry_delay` | histogram | `s` | the same |
//!
//! The last four are recorded at the end of a call, and not if they are zero. On request attempts have `grpc.lb.locality` and
//! `grpc.lb.backend_service` beside their status, and all have `grpc.client.call.custom`; see [`MetricsConfig`](crate::MetricsConfig).
//!
//! **Bound.** Only methods of generated clients have series of their own, and others that the program has named; all the rest together are
//! `other`. A channel has at most 1 000 methods, and 100 localities, with names of their own.
//!
//! **What it costs.** Every series is looked up once and kept, by method, status and locality, so a call pays a look among the methods
//! and five updates, four of them behind a lock each: 900 instructions, of which OpenTelemetry's instruments have 600. No allocation. The
//! first eight methods are found without a hash. Nothing is kept of single calls and attempts.

mod instruments;
mod labels;
mod method;
mod names;

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, OnceLock};

use arc_swap::ArcSwap;
use lb_tonic::observe::{CallObserver, CallStart, CallTrace};

pub(crate) use instruments::Instruments;
pub use labels::CallLabel;
pub(crate) use labels::{BACKEND_SERVICE, LOCALITY, Labels};

use method::Method;
use names::BuildNames;

/// Methods of one channel that are told apart. Far more than a program has; a bound where names come from elsewhere.
const MAX_METHODS: usize = 1_000;

/// Methods that are found without a hash: the first ones that are called, which are mostly all there are.
const FIRST: usize = 8;

/// What unknown methods are called.
const OTHER: &str = "other";

type Methods = HashMap<Box<str>, Arc<Method>, BuildNames>;

/// A method, and what it is found by.
type Named = (Box<str>, Arc<Method>);

/// Counts and times the calls of one channel. Made by [`Metrics::calls`](crate::Metrics::calls), for
/// [`LbChannelBuilder::call_observer`](lb_tonic::LbChannelBuilder::call_observer).
#[derive(Clone)]
pub struct CallMetrics(Arc<Inner>);

struct Inner {
    instruments: Arc<Instruments>,
    labels: Labels,
    target: Arc<str>,
    first: [OnceLock<Named>; FIRST],
    methods: ArcSwap<Methods>,
    other: Arc<Method>,
}

impl CallMetrics {
    pub(crate) fn new(instruments: &Arc<Instruments>, labels: &Labels, target: Arc<str>) -> Self {
        let other = Method::new(instruments, labels, &target, OTHER, "");
        Self(Arc::new(Inner {
            instruments: Arc::clone(instruments),
            labels: labels.clone(),
            first: Default::default(),
            methods: ArcSwap::default(),
            other: Arc::new(other),
            target,
        }))
    }
}

impl Inner {
    fn method(&self, call: &CallStart<'_>) -> Arc<Method> {
        let method = call.method();
        let named = call.is_registered() || self.labels.names(method);
        let method = if named { method } else { OTHER };
        let custom = self.labels.custom_of(call);
        if !custom.is_empty() {
            // No name of a method has a line break.
            return self.find(&format!("{method}\n{custom}"), method, custom);
        }
        if named { self.find(method, method, "") } else { Arc::clone(&self.other) }
    }

    /// The method that is known by this.
    #[inline]
    fn find(&self, key: &str, method: &str, custom: &str) -> Arc<Method> {
        for place in &self.first {
            let (known, found) = place.get_or_init(|| (key.into(), self.new_method(method, custom)));
            if **known == *key {
                return Arc::clone(found);
            }
        }
        let found = self.methods.load().get(key).map(Arc::clone);
        found.unwrap_or_else(|| self.add(key, method, custom))
    }

    #[cold]
    fn new_method(&self, method: &str, custom: &str) -> Arc<Method> {
        Arc::new(Method::new(&self.instruments, &self.labels, &self.target, method, custom))
    }

    #[cold]
    fn add(&self, key: &str, method: &str, custom: &str) -> Arc<Method> {
        if FIRST + self.methods.load().len() >= MAX_METHODS {
            return Arc::clone(&self.other);
        }
        let new = self.new_method(method, custom);
        self.methods.rcu(|methods| {
            let mut methods = Methods::clone(methods);
            methods.entry(key.into()).or_insert_with(|| Arc::clone(&new));
            methods
        });
        // Another call may have been faster.
        self.methods.load().get(key).map_or(new, Arc::clone)
    }
}

impl CallObserver for CallMetrics {
    fn call(&self, call: &CallStart<'_>) -> Option<Arc<dyn CallTrace>> {
        Some(self.0.method(call))
    }
}

impl fmt::Debug for CallMetrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CallMetrics").field("target", &self.0.target).finish_non_exhaustive()
    }
}
