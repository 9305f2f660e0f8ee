//! What happens in a channel, told to other programs over HTTP.
//!
//! | to | use |
//! |---|---|
//! | have an autoscaler, a chat or a deployment manager told of events | [`Webhook`] |
//! | follow a circuit breaker that a backend keeps for many processes | [`HttpBreaker`] |
//! | send `LbChannel::stats` to a backend every so often | [`StatsReporter`] |
//! | check on the receiving side that a webhook is genuine | [`Signer::verify`] |
//!
//! All of it runs on tasks of its own: a backend that is slow, down or hostile costs a channel nothing but what waits in a bounded
//! queue, and calls never wait for it. HTTP/1.1, over TLS where the features for it are on; redirects are not followed.
//!
//! When not: metrics for a Prometheus or an OpenTelemetry collector are exported by `lb-telemetry`, and events within the program are
//! an [`Observer`](lb_core::Observer)'s or a subscriber's.
#![forbid(unsafe_code)]

mod breaker;
mod http;
mod reporter;
mod signature;
mod webhook;

pub use crate::breaker::HttpBreaker;
pub use crate::http::{HookError, HttpBackend};
pub use crate::reporter::{ReporterStats, StatsReporter};
pub use crate::signature::{Signer, Unverified};
pub use crate::webhook::{Overflow, Webhook, WebhookConfig, WebhookObserver, WebhookStats};
