//! The line of one call.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use lb_core::{EndpointKey, EndpointStats};
use lb_tonic::observe::{AttemptEnd, CallEnd, CallStart};
use tonic::Code;
use tracing::Level;

use super::call_log::{CallLog, Room};
use super::context::TraceId;
use super::span::{code_name, cut};

/// Bytes of a method and of a reason in a line. Strangers can choose both.
const LONGEST_TEXT: usize = 1_024;

/// What is known of a call that will be written, shared with its attempts.
#[derive(Debug, Clone)]
pub(super) struct CallLine(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    log: Arc<CallLog>,
    channel: Arc<str>,
    method: Box<str>,
    trace_id: Option<TraceId>,
    last: Mutex<Option<Last>>,
}

/// Where the attempt went that counts.
#[derive(Debug, Clone)]
struct Last {
    code: Code,
    endpoint: EndpointKey,
    stats: Arc<EndpointStats>,
    score: Option<f64>,
}

/// A line at one of the levels: each is a place in the code of its own, which a subscriber may want or not.
macro_rules! write_line {
    ($level:expr, $inner:expr, $end:expr, $last:expr) => {{
        let (service, method) = $inner.method.rsplit_once('/').unwrap_or(("", &$inner.method));
        let stats = $last.as_ref().map(|last| &last.stats);
        tracing::event!(
            target: "evenkeel::calls",
            $level,
            channel = &*$inner.channel,
            service,
            method,
            endpoint = $last.as_ref().map(|last| last.endpoint.as_str()),
            status = code_name($end.code),
            duration = $end.duration.as_secs_f64(),
            attempts = $end.attempts,
            score = $last.as_ref().and_then(|last| last.score),
            connections = stats.map(|stats| stats.in_flight()),
            success_rate = stats.and_then(|stats| stats.success_rate()),
            trace_id = $inner.trace_id.map(tracing::field::display),
            reason = (!$end.message.is_empty()).then(|| cut($end.message, LONGEST_TEXT)),
            "call {}",
            if $end.code == Code::Ok { "succeeded" } else { "failed" }
        )
    }};
}

impl CallLine {
    pub(super) fn new(log: &Arc<CallLog>, call: &CallStart<'_>, trace_id: Option<TraceId>) -> Self {
        let (log, channel) = (Arc::clone(log), Arc::clone(call.target()));
        let method = cut(call.method(), LONGEST_TEXT).into();
        Self(Arc::new(Inner { log, channel, method, trace_id, last: Mutex::default() }))
    }

    /// An attempt has ended. One that was given up for another that answered does not count.
    pub(super) fn attempted(&self, end: &AttemptEnd<'_>) {
        let (Some(endpoint), Some(stats)) = (end.endpoint(), end.stats()) else { return };
        let mut last = self.0.last.lock().unwrap_or_else(PoisonError::into_inner);
        if end.code != Code::Cancelled || last.is_none() {
            let (endpoint, stats, score) = (endpoint.key().clone(), Arc::clone(stats), end.score());
            *last = Some(Last { code: end.code, endpoint, stats, score });
        }
    }

    /// The call has ended.
    pub(super) fn write(&self, end: &CallEnd<'_>) {
        let inner = &*self.0;
        if !inner.log.wants(end.code) {
            return;
        }
        let Room::After(lines) = inner.log.room(Instant::now()) else { return };
        if lines > 0 {
            tracing::warn!(target: "evenkeel::calls", lines, "{lines} lines of calls were left out");
        }
        // A call may fail for a reason of its own, without an endpoint, after attempts that failed elsewhere.
        let last = inner.last.lock().unwrap_or_else(PoisonError::into_inner).take().filter(|last| last.code == end.code);
        if end.code == Code::Ok {
            write_line!(Level::INFO, inner, end, last);
        } else {
            write_line!(Level::WARN, inner, end, last);
        }
    }
}
