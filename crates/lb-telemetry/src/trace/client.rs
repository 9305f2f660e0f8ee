//! The client's side: a span for each call and each of its attempts.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use http::HeaderMap;
use lb_tonic::observe::{
    AttemptEnd, AttemptKind, AttemptStart, AttemptTrace, CallEnd, CallObserver, CallStart, CallTrace, Message, Placed,
};
use tracing::Span;
use tracing::field::Empty;

use super::bridge;
use super::call_line::CallLine;
use super::call_log::CallLog;
use super::context::TraceContext;
use super::headers::Propagation;
use super::sampling::{Decision, Sampling};
use super::span::{self, Name};

/// Traces the calls of channels: to be passed to [`LbChannelBuilder::call_observer`](lb_tonic::LbChannelBuilder::call_observer).
/// Cloning is cheap, and clones are the same. See the [module](super).
#[derive(Debug, Clone)]
pub struct Tracing {
    settings: Arc<Settings>,
}

#[derive(Debug, Clone)]
struct Settings {
    propagation: Propagation,
    spans: bool,
    /// `None` leaves it to the subscriber.
    sampling: Option<Sampling>,
    log: Option<Arc<CallLog>>,
}

impl Default for Tracing {
    fn default() -> Self {
        let (propagation, sampling, log) = (Propagation::default(), None, None);
        Self { settings: Arc::new(Settings { propagation, spans: true, sampling, log }) }
    }
}

impl Tracing {
    /// Spans, and contexts sent along in W3C's headers; no log.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets in which headers contexts travel.
    #[must_use]
    pub fn propagation(self, propagation: Propagation) -> Self {
        self.with(|settings| settings.propagation = propagation)
    }

    /// Makes no spans: for a log alone. Contexts that are there travel on all the same.
    #[must_use]
    pub fn without_spans(self) -> Self {
        self.with(|settings| settings.spans = false)
    }

    /// Makes spans only of calls that this takes, and follows the decision of the trace that a call is in. Without, every call has spans if
    /// the subscriber wants them.
    #[must_use]
    pub fn sampling(self, sampling: Sampling) -> Self {
        self.with(|settings| settings.sampling = Some(sampling))
    }

    /// Writes a line per call as well. Channels that share this share the log's limits.
    #[must_use]
    pub fn log(self, log: CallLog) -> Self {
        self.with(|settings| settings.log = Some(Arc::new(log)))
    }

    fn with(mut self, change: impl FnOnce(&mut Settings)) -> Self {
        change(Arc::make_mut(&mut self.settings));
        self
    }
}

impl CallObserver for Tracing {
    fn call(&self, call: &CallStart<'_>) -> Option<Arc<dyn CallTrace>> {
        let settings = &*self.settings;
        let decision = settings.decide_alone(call);
        if settings.log.is_none() && decision.is_some_and(Decision::is_nothing) {
            return None;
        }
        settings.trace(call, decision)
    }
}

impl Settings {
    /// What becomes of a call that begins a trace, which most do and are not sampled: a look at whether there is a parent is cheaper than one at
    /// what it says. `None` if it has one, or nobody asks.
    #[inline]
    fn decide_alone(&self, call: &CallStart<'_>) -> Option<Decision> {
        let sampling = self.sampling.filter(|_| self.spans)?;
        let has_parent = bridge::is_in_one() || TraceContext::is_set() || self.propagation.is_in(call.headers());
        (!has_parent).then(|| sampling.decide(None))
    }

    fn trace(&self, call: &CallStart<'_>, decision: Option<Decision>) -> Option<Arc<dyn CallTrace>> {
        let (span, mut context) = self.begin(call, decision);
        let log = self.log.as_ref().filter(|log| log.is_read());
        if log.is_some() && context.is_none() {
            context = self.propagation.extract(call.headers());
        }
        if span.is_disabled() && log.is_none() && context.is_none() {
            return None;
        }
        let trace_id = context.as_ref().map(TraceContext::trace_id);
        let line = log.map(|log| CallLine::new(log, call, trace_id));
        let method = if span.is_disabled() { Box::default() } else { call.method().into() };
        Some(Arc::new(TracedCall { propagation: self.propagation, span: Handle::new(span), context, method, line }))
    }

    /// The span of a call and the context it is in, each if there is one.
    fn begin(&self, call: &CallStart<'_>, alone: Option<Decision>) -> (Span, Option<TraceContext>) {
        let attached = bridge::of_current();
        let is_linked = attached.is_some();
        let outer = attached.or_else(TraceContext::current);
        if !self.spans {
            return (Span::none(), outer);
        }
        let came = if outer.is_none() && self.sampling.is_some() { self.propagation.extract(call.headers()) } else { None };
        let decision = alone.or_else(|| Some(self.sampling?.decide(outer.as_ref().or(came.as_ref()))));
        if let Some(decision) = decision.filter(|decision| !decision.sampled) {
            // What the caller has put into the headers itself travels by itself.
            return (Span::none(), outer.or_else(|| decision.told()));
        }
        let span = call_span(call);
        if span.is_disabled() {
            return (span, outer);
        }
        let parent = outer.or(came).or_else(|| self.propagation.extract(call.headers()));
        if let Some(parent) = parent.as_ref().filter(|_| !is_linked) {
            bridge::set_parent(&span, parent);
        }
        let root = || decision.and_then(Decision::root).unwrap_or_else(TraceContext::root);
        let context = span::context(&span, parent, root);
        (span, Some(context))
    }
}

fn call_span(call: &CallStart<'_>) -> Span {
    tracing::info_span!(
        target: "evenkeel::call",
        "call",
        otel.name = %Name("Sent", call.method()),
        otel.kind = "client",
        otel.status_code = Empty,
        otel.status_description = Empty,
        grpc.target = &**call.target(),
        trace_id = Empty,
        span_id = Empty,
        parent_span_id = Empty,
    )
}

/// A span that ends when its call or attempt does, whoever still holds on to what belongs to it.
struct Handle(Mutex<Span>);

impl Handle {
    fn new(span: Span) -> Self {
        Self(Mutex::new(span))
    }

    fn get(&self) -> MutexGuard<'_, Span> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&self) -> Span {
        std::mem::replace(&mut *self.get(), Span::none())
    }
}

struct TracedCall {
    propagation: Propagation,
    span: Handle,
    context: Option<TraceContext>,
    method: Box<str>,
    line: Option<CallLine>,
}

impl TracedCall {
    /// The span of an attempt and the context it sends along.
    fn begin(&self, attempt: &AttemptStart) -> (Span, Option<TraceContext>) {
        let call = self.span.get();
        if call.is_disabled() {
            return (Span::none(), self.context.clone());
        }
        let span = tracing::info_span!(
            target: "evenkeel::attempt",
            parent: &*call,
            "attempt",
            otel.name = %Name("Attempt", &self.method),
            otel.status_code = Empty,
            otel.status_description = Empty,
            "previous-rpc-attempts" = attempt.previous,
            "transparent-retry" = attempt.kind == AttemptKind::Transparent,
            evenkeel.attempt = attempt.kind.as_str(),
            evenkeel.endpoint = Empty,
            evenkeel.policy = Empty,
            trace_id = Empty,
            span_id = Empty,
            parent_span_id = Empty,
        );
        drop(call);
        // A subscriber may want calls and not attempts.
        let own = self.context.as_ref().filter(|_| !span.is_disabled());
        let context = match (bridge::of_span(&span), own) {
            (Some(context), _) => {
                let baggage = self.context.as_ref().and_then(|call| call.baggage.clone());
                Some(TraceContext { baggage, ..context })
            }
            (None, Some(call)) => {
                let own = call.child();
                span::identify(&span, &own, Some(call.span_id()));
                Some(own)
            }
            (None, None) => self.context.clone(),
        };
        (span, context)
    }
}

impl CallTrace for TracedCall {
    fn resolved(&self, waited: Duration) {
        let (span, waited) = (self.span.get(), waited.as_secs_f64());
        if !span.is_disabled() {
            tracing::debug!(target: "evenkeel::delay", parent: &*span, waited, "Delayed name resolution complete");
        }
    }

    fn attempt(&self, attempt: &AttemptStart) -> Option<Arc<dyn AttemptTrace>> {
        let (span, context) = self.begin(attempt);
        let reads_messages = !span.is_disabled() && span::reads_messages();
        let (propagation, line) = (self.propagation, self.line.clone());
        Some(Arc::new(TracedAttempt { propagation, span: Handle::new(span), context, reads_messages, line }))
    }

    fn end(&self, end: &CallEnd<'_>) {
        span::end(&self.span.take(), end.code, end.message);
        if let Some(line) = &self.line {
            line.write(end);
        }
    }
}

struct TracedAttempt {
    propagation: Propagation,
    span: Handle,
    context: Option<TraceContext>,
    reads_messages: bool,
    line: Option<CallLine>,
}

impl AttemptTrace for TracedAttempt {
    fn placed(&self, placed: &Placed<'_>, headers: &mut HeaderMap) {
        if let Some(context) = &self.context {
            self.propagation.inject(context, headers);
        }
        let span = self.span.get();
        if span.is_disabled() {
            return;
        }
        tracing::record_all!(span, evenkeel.endpoint = placed.endpoint().key().as_str(), evenkeel.policy = placed.policy());
        if let Some(waited) = placed.waited() {
            let waited = waited.as_secs_f64();
            tracing::debug!(target: "evenkeel::delay", parent: &*span, waited, "Delayed LB pick complete");
        }
    }

    fn wants_messages(&self) -> bool {
        self.reads_messages
    }

    fn message(&self, message: &Message) {
        if self.reads_messages {
            span::message(&self.span.get(), message);
        }
    }

    fn end(&self, end: &AttemptEnd<'_>) {
        span::end(&self.span.take(), end.code, end.message);
        if let Some(line) = &self.line {
            line.attempted(end);
        }
    }
}
