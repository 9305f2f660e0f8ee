//! Where OpenTelemetry's context of a span comes from, if there is one.
//!
//! With the feature `otel-trace`, and a layer of `tracing-opentelemetry` in the subscriber, the ids of a span are OpenTelemetry's. Without
//! either they are ours. Everything else is the same.

#[cfg(feature = "otel-trace")]
pub(super) use with::{is_in_one, of_current, of_span, set_parent};
#[cfg(not(feature = "otel-trace"))]
pub(super) use without::{is_in_one, of_current, of_span, set_parent};

#[cfg(feature = "otel-trace")]
mod with {
    use std::str::FromStr;

    use opentelemetry::trace::{SpanContext, TraceContextExt, TraceFlags, TraceState};
    use opentelemetry::{Context, SpanId, TraceId};
    use tracing::Span;
    use tracing_opentelemetry::OpenTelemetrySpanExt;

    use crate::trace::context::TraceContext;
    use crate::trace::headers::checked_state;

    /// The context of a span. Whether the span is sampled is decided by then.
    pub(in crate::trace) fn of_span(span: &Span) -> Option<TraceContext> {
        of(&span.context())
    }

    /// The context that calls of this task are in: that of its `tracing` span, or the one that was attached.
    pub(in crate::trace) fn of_current() -> Option<TraceContext> {
        of_span(&Span::current()).or_else(|| Context::map_current(of))
    }

    /// Whether this task is in a span or a context at all.
    #[inline]
    pub(in crate::trace) fn is_in_one() -> bool {
        !Span::current().is_disabled() || Context::map_current(Context::has_active_span)
    }

    /// Makes a span that has not been looked at the child of a span elsewhere.
    pub(in crate::trace) fn set_parent(span: &Span, parent: &TraceContext) {
        let state = parent.tracestate().and_then(|state| TraceState::from_str(state).ok()).unwrap_or_default();
        let (trace, id) = (TraceId::from(parent.trace.get()), SpanId::from(parent.span.get()));
        let context = SpanContext::new(trace, id, TraceFlags::new(parent.flags), true, state);
        // Without a layer there is nobody to tell.
        drop(span.set_parent(Context::current().with_remote_span_context(context)));
    }

    fn of(context: &Context) -> Option<TraceContext> {
        let span = context.span();
        let known = span.span_context();
        let (trace, id) = (known.trace_id().to_bytes(), known.span_id().to_bytes());
        let mut context = TraceContext::new(u128::from_be_bytes(trace), u64::from_be_bytes(id), known.trace_flags().to_u8())?;
        let state = known.trace_state().header();
        context.state = if state.is_empty() { None } else { checked_state(&state) };
        Some(context)
    }
}

#[cfg(not(feature = "otel-trace"))]
mod without {
    use tracing::Span;

    use crate::trace::context::TraceContext;

    pub(in crate::trace) fn of_span(_: &Span) -> Option<TraceContext> {
        None
    }

    pub(in crate::trace) fn of_current() -> Option<TraceContext> {
        None
    }

    pub(in crate::trace) fn is_in_one() -> bool {
        false
    }

    pub(in crate::trace) fn set_parent(_: &Span, _: &TraceContext) {}
}
