//! Traces and logs of calls.
//!
//! [`Tracing`] observes the calls of a channel and makes, by gRFC A72, a span `Sent.<service>.<method>` of each and in it a span
//! `Attempt.<service>.<method>` of each of its attempts: retries, transparent retries and hedges too. Every attempt tells its server which span it is,
//! and [`TraceLayer`] makes the server's span `Recv.<service>.<method>` its child:
//!
//! ```text
//! whatever the caller is in
//! └─ Sent.shop.v1.Orders.Place
//!    ├─ Attempt.shop.v1.Orders.Place   previous-rpc-attempts=0  UNAVAILABLE
//!    │  └─ Recv.shop.v1.Orders.Place   at the first server
//!    └─ Attempt.shop.v1.Orders.Place   previous-rpc-attempts=1
//!       └─ Recv.shop.v1.Orders.Place   at the second server, and the calls it makes
//! ```
//!
//! Spans and events are of the crate `tracing`, so who takes part is the program's subscriber to say:
//!
//! | target | level | what |
//! |---|---|---|
//! | `evenkeel::call`, `evenkeel::attempt`, `evenkeel::server` | INFO | the spans |
//! | `evenkeel::delay` | DEBUG | `Delayed name resolution complete`, `Delayed LB pick complete` |
//! | `evenkeel::message` | DEBUG | `Outbound message`, `Inbound message`: `sequence-number`, and `message-size` or `message-size-compressed` |
//! | `evenkeel::calls` | INFO, WARN | a line per call, if a [`CallLog`] is asked for |
//! | `evenkeel` | DEBUG to WARN | a line per change in a channel; needs nothing of this module |
//!
//! **Ids.** With the feature `otel-trace` and a layer of `tracing-opentelemetry` in the subscriber, spans are OpenTelemetry's, with its ids and its
//! sampling. Without either, ids are ours, and stand in the fields `trace_id`, `span_id` and `parent_span_id`: enough to put the lines of several
//! programs together. Where nobody wants spans a context that came is handed on as it came.
//!
//! **What a call belongs to**, in this order: the `tracing` span or OpenTelemetry context it is made in; [`TraceContext::current`]; the
//! headers that its caller has set; otherwise a trace of its own.
//!
//! # Sampling
//!
//! Spans of every call cost more than the rest of what a channel tells of itself together. [`Tracing::sampling`] decides once per call, before any
//! span is made: a call within a trace follows its parent's `sampled` flag, and of the others a share is traced. What is not sampled makes no
//! span, and hands its parent on if it has one. [`TraceLayer::sampling`] is the same for servers. [`Sampling`] has the rules.
//!
//! ```
//! # use lb_telemetry::trace::{Sampling, Tracing};
//! let one_in_a_hundred = Tracing::new().sampling(Sampling::ratio(0.01)?);
//! # Ok::<(), lb_core::ConfigError>(())
//! ```
//!
//! # The rest
//!
//! **What it costs.** Nothing without [`Tracing`]. With it and without a subscriber that wants spans or lines, two looks at what is wanted and one
//! at the thread's context. A call that is not sampled pays a look at whether there is a context, and a step of a
//! countdown to the next that is: some 150 instructions.
//!
//! **Bounds.** Names are cut after 256 bytes of method, and a server's words after 1 024. Of a context that comes, what is not well formed is dropped: two
//! `traceparent`s, bad digits, a `tracestate` with a bad member or more than 32, `baggage` beyond 8 kB. A `tracestate` beyond 512 bytes
//! loses whole members.
//!
//! **Not as gRFC A72 has it:** the uncompressed size of a compressed message is known only to its codec, and is not told.
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use lb_telemetry::trace::{CallLog, Tracing};
//! use lb_tonic::LbChannel;
//!
//! let tracing = Tracing::new().log(CallLog::failures());
//! let channel = LbChannel::builder("static:///10.0.0.1:50051,10.0.0.2:50051").call_observer(tracing).build()?;
//! # Ok(())
//! # }
//! ```
//!
//! Source: gRFC A72; W3C Trace Context level 2, and Baggage.

mod bridge;
mod call_line;
mod call_log;
mod client;
mod context;
mod current;
mod dice;
mod headers;
mod ids;
mod sampling;
mod server;
mod server_body;
mod span;
mod state;

pub use call_log::CallLog;
pub use client::Tracing;
pub use context::{SpanId, TraceContext, TraceId};
pub use current::Scope;
pub use headers::Propagation;
pub use sampling::Sampling;
pub use server::{TraceLayer, TraceService};
pub use server_body::{TraceBody, TraceFuture};
