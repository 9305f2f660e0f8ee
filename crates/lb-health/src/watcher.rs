//! The state machine of one connection's health (gRFC A17).
//!
//! ```text
//!            ┌──────────── ended, check_now ────────────┐
//!            v                                          │
//! Open ── answered ──> Listening ── message ──> Listening (Serving | NotServing)
//!  │                       │
//!  └──── ended ────────────┤
//!                          ├── UNIMPLEMENTED ──────────────────> Settled (Serving, one log)
//!                          ├── refused with a fallback code ───> Polling
//!                          └── any other end, OK too ──────────> Waiting (NotServing) ── backoff ──> Open
//! ```
//!
//! A Watch that brought a message is retried at once and its failures are forgotten; one that brought none is retried after a
//! growing delay. A server that answers every Watch with one message and closes it would make "at once" a busy loop, so an immediate retry
//! that follows another within the first delay of the backoff waits that delay instead. This is the one difference to gRFC A17.
//!
//! While retrying, the status stays NotServing; gRFC A17 reports CONNECTING there, which every policy that checks health
//! masks with its sticky TRANSIENT_FAILURE.

use std::sync::Arc;

use lb_core::{Backoff, Endpoint, EndpointStats, ServingStatus, Triggered};
use tokio::time::{Instant, sleep_until, timeout};
use tonic::{Code, Status, Streaming};
use tonic_health::pb::HealthCheckResponse;

use crate::ask::{Ask, failure, verdict};
use crate::config::{HealthConfig, HealthMode};
use crate::entropy::Spread;
use crate::poll::{Poller, Verdict};

enum Phase {
    Open,
    Listening(Box<Streaming<HealthCheckResponse>>),
    Waiting(Instant),
    Polling,
    Settled,
}

/// Watches the health of one connection.
pub(crate) struct Watcher {
    ask: Box<dyn Ask>,
    service: Arc<str>,
    config: HealthConfig,
    endpoint: Arc<Endpoint>,
    check_now: Triggered,
    /// Where it notes what it finds.
    stats: Option<Arc<EndpointStats>>,
    entropy: Spread,
    poller: Poller,
    backoff: Backoff,
    phase: Phase,
    /// When the present Watch, or the last Check, was asked for.
    asked: Instant,
    /// Whether the present Watch brought a message.
    heard: bool,
    /// When a Watch was last retried at once.
    retried_at_once: Option<Instant>,
    last: ServingStatus,
}

/// What a step came to: a status, or nothing to say yet.
type Said = Option<ServingStatus>;

impl Watcher {
    pub(crate) fn new(
        ask: Box<dyn Ask>,
        endpoint: Arc<Endpoint>,
        check_now: Triggered,
        stats: Option<Arc<EndpointStats>>,
        config: HealthConfig,
        mut entropy: Spread,
    ) -> Self {
        let phase = match config.mode {
            HealthMode::Watch => Phase::Open,
            HealthMode::Poll => Phase::Polling,
        };
        let poller = Poller::new(config.poll, entropy.fork());
        let (service, backoff, last) = (Arc::clone(&config.service), Backoff::new(config.backoff), ServingStatus::Unknown);
        Self {
            ask,
            service,
            config,
            endpoint,
            check_now,
            stats,
            entropy,
            poller,
            backoff,
            phase,
            asked: Instant::now(),
            heard: false,
            retried_at_once: None,
            last,
        }
    }

    /// The next status that differs from the one before; `None` when the last one stands for good.
    pub(crate) async fn next(mut self) -> Option<(ServingStatus, Self)> {
        loop {
            let said = match &self.phase {
                Phase::Open => self.open().await,
                Phase::Listening(_) => self.listen().await,
                Phase::Waiting(until) => self.wait(*until).await,
                Phase::Polling => self.poll().await,
                Phase::Settled => return None,
            };
            if let Some(status) = said.filter(|status| *status != self.last) {
                self.last = status.clone();
                return Some((status, self));
            }
        }
    }

    async fn open(&mut self) -> Said {
        (self.heard, self.asked) = (false, Instant::now());
        let answer = tokio::select! {
            answer = self.ask.watch(&self.service) => answer,
            () = self.check_now.fired() => return None,
        };
        match answer {
            Ok(stream) => {
                self.phase = Phase::Listening(Box::new(stream));
                None
            }
            Err(status) => self.ended(&status),
        }
    }

    async fn listen(&mut self) -> Said {
        let Phase::Listening(stream) = &mut self.phase else { return None };
        let message = tokio::select! {
            message = stream.message() => message,
            () = self.check_now.fired() => {
                // The server tells its present status at the start of every Watch, so a new one is the freshest answer there is.
                self.phase = Phase::Open;
                return None;
            }
        };
        match message {
            Ok(Some(response)) => {
                let verdict = verdict(&response);
                self.note(verdict.is_ok());
                self.heard = true;
                self.backoff.reset();
                Some(status(verdict))
            }
            Ok(None) => self.ended(&Status::ok("the server closed the watch")),
            Err(status) => self.ended(&status),
        }
    }

    async fn wait(&mut self, until: Instant) -> Said {
        tokio::select! {
            () = sleep_until(until) => {}
            () = self.check_now.fired() => {}
        }
        self.phase = Phase::Open;
        None
    }

    async fn poll(&mut self) -> Said {
        self.poller.turn(&mut self.check_now).await;
        (self.heard, self.asked) = (false, Instant::now());
        let limit = self.poller.config().timeout;
        let verdict = match timeout(limit, self.ask.check(&self.service, limit)).await {
            Ok(Ok(response)) => verdict(&response),
            Ok(Err(status)) if status.code() == Code::Unimplemented => return self.settle(),
            Ok(Err(status)) => Err(failure(&status)),
            Err(_) => Err(format!("health check: no answer within {limit:?}").into()),
        };
        self.note(verdict.is_ok());
        self.poller.take(verdict)
    }

    /// A check has ended, or the server has told of a change.
    fn note(&self, passed: bool) {
        let took = (!self.heard).then(|| self.asked.elapsed());
        self.stats.iter().for_each(|stats| stats.checked(Instant::now().into_std(), took, passed));
    }

    /// A Watch has ended: what it means and what comes next.
    fn ended(&mut self, end: &Status) -> Said {
        if !self.heard && self.config.fallback.contains(&end.code()) {
            tracing::warn!(endpoint = %self.endpoint, status = %end, "health watch refused; polling instead");
            self.phase = Phase::Polling;
            return None;
        }
        if end.code() == Code::Unimplemented {
            return self.settle();
        }
        self.note(false);
        self.phase = Phase::Waiting(self.retry_at());
        Some(ServingStatus::NotServing(failure(end)))
    }

    /// No health service: taken as healthy for the life of the connection.
    fn settle(&mut self) -> Said {
        tracing::error!(endpoint = %self.endpoint, service = %self.service, "no health service; the endpoint counts as healthy");
        self.note(true);
        self.phase = Phase::Settled;
        Some(ServingStatus::Serving)
    }

    fn retry_at(&mut self) -> Instant {
        let now = Instant::now();
        let first = self.config.backoff.nominal(0);
        if self.heard && self.retried_at_once.is_none_or(|last| now >= last + first) {
            self.retried_at_once = Some(now);
            return now;
        }
        self.backoff.begin(now.into_std(), self.entropy.next()).retry_at.into()
    }
}

fn status(verdict: Verdict) -> ServingStatus {
    verdict.map_or_else(ServingStatus::NotServing, |()| ServingStatus::Serving)
}
