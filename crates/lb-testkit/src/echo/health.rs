//! A grpc.health.v1 service that can misbehave and counts what it is asked.
//!
//! tonic's own health server answers a Watch of an unknown service with NOT_FOUND, where the protocol asks for a
//! SERVICE_UNKNOWN message and an open stream; this one follows the protocol, and can also hang, refuse and end streams.

use std::collections::HashMap;
use std::fmt;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use futures_core::Stream;
use futures_util::stream;
use tokio::sync::watch;
use tonic::{Code, Request, Response, Status};
use tonic_health::pb::health_server::Health;
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};

use super::control::lock;

pub use tonic_health::pb::health_check_response::ServingStatus;

/// What goes wrong with one method of the health service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum HealthFault {
    /// Nothing.
    #[default]
    None,
    /// Answers with this code.
    Fail(Code),
    /// Never answers.
    Hang,
}

/// A handle on the health service of an echo server; clones are the same service.
#[derive(Clone, Default)]
pub struct HealthControl(Arc<State>);

#[derive(Default)]
struct State {
    statuses: Mutex<HashMap<String, watch::Sender<ServingStatus>>>,
    watch_fault: Mutex<HealthFault>,
    check_fault: Mutex<HealthFault>,
    /// A new value ends every open Watch with this result.
    ending: watch::Sender<Option<Code>>,
    checks: AtomicU64,
    watches: AtomicU64,
    watching: AtomicUsize,
}

impl HealthControl {
    /// Sets the status of a service; `""` is the whole server. Setting the same status again sends it again.
    pub fn set(&self, service: &str, status: ServingStatus) {
        self.of(service).send_replace(status);
    }

    /// What goes wrong with every Watch from now on; open ones are left alone.
    pub fn set_watch_fault(&self, fault: HealthFault) {
        *lock(&self.0.watch_fault) = fault;
    }

    /// What goes wrong with every Check from now on.
    pub fn set_check_fault(&self, fault: HealthFault) {
        *lock(&self.0.check_fault) = fault;
    }

    /// Ends every open Watch with this code; [`Code::Ok`] closes it cleanly.
    pub fn end_watches(&self, code: Code) {
        self.0.ending.send_replace(Some(code));
    }

    /// Checks asked so far.
    pub fn checks(&self) -> u64 {
        self.0.checks.load(Ordering::Relaxed)
    }

    /// Watches asked so far, refused ones included.
    pub fn watches(&self) -> u64 {
        self.0.watches.load(Ordering::Relaxed)
    }

    /// Watches open now, hanging ones included.
    pub fn watching(&self) -> usize {
        self.0.watching.load(Ordering::Relaxed)
    }

    /// The channel of a service, unknown until it is set. The whole server serves unless told otherwise.
    fn of(&self, service: &str) -> watch::Sender<ServingStatus> {
        let unset = if service.is_empty() { ServingStatus::Serving } else { ServingStatus::ServiceUnknown };
        lock(&self.0.statuses).entry(service.to_owned()).or_insert_with(|| watch::Sender::new(unset)).clone()
    }

    async fn fail(fault: HealthFault) -> Result<(), Status> {
        match fault {
            HealthFault::None => Ok(()),
            HealthFault::Fail(code) => Err(Status::new(code, "the health service was told to fail")),
            HealthFault::Hang => std::future::pending().await,
        }
    }
}

impl fmt::Debug for HealthControl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HealthControl").field("checks", &self.checks()).field("watches", &self.watches()).finish_non_exhaustive()
    }
}

/// An open Watch.
struct Watching(HealthControl);

impl Drop for Watching {
    fn drop(&mut self) {
        self.0.0.watching.fetch_sub(1, Ordering::Relaxed);
    }
}

/// What an open Watch goes on with.
struct WatchState {
    status: watch::Receiver<ServingStatus>,
    ending: watch::Receiver<Option<Code>>,
    first: bool,
    _watching: Watching,
}

impl WatchState {
    /// The next message, or the end.
    async fn next(mut self) -> Option<(Result<HealthCheckResponse, Status>, Option<Self>)> {
        if std::mem::take(&mut self.first) {
            return Some(self.message());
        }
        tokio::select! {
            biased;
            changed = self.status.changed() => changed.ok().map(|()| self.message()),
            ended = self.ending.changed() => {
                ended.ok()?;
                let code = self.ending.borrow().unwrap_or(Code::Ok);
                (code != Code::Ok).then(|| (Err(Status::new(code, "the watch was told to end")), None))
            }
        }
    }

    fn message(mut self) -> (Result<HealthCheckResponse, Status>, Option<Self>) {
        let status = *self.status.borrow_and_update();
        (Ok(HealthCheckResponse { status: status.into() }), Some(self))
    }
}

#[tonic::async_trait]
impl Health for HealthControl {
    async fn check(&self, request: Request<HealthCheckRequest>) -> Result<Response<HealthCheckResponse>, Status> {
        self.0.checks.fetch_add(1, Ordering::Relaxed);
        let fault = *lock(&self.0.check_fault);
        Self::fail(fault).await?;
        let status = *self.of(&request.get_ref().service).borrow();
        if status == ServingStatus::ServiceUnknown {
            return Err(Status::not_found("no such service"));
        }
        Ok(Response::new(HealthCheckResponse { status: status.into() }))
    }

    type WatchStream = Pin<Box<dyn Stream<Item = Result<HealthCheckResponse, Status>> + Send>>;

    async fn watch(&self, request: Request<HealthCheckRequest>) -> Result<Response<Self::WatchStream>, Status> {
        self.0.watches.fetch_add(1, Ordering::Relaxed);
        self.0.watching.fetch_add(1, Ordering::Relaxed);
        let watching = Watching(self.clone());
        let fault = *lock(&self.0.watch_fault);
        Self::fail(fault).await?;
        let status = self.of(&request.get_ref().service).subscribe();
        let state = WatchState { status, ending: self.0.ending.subscribe(), first: true, _watching: watching };
        Ok(Response::new(Box::pin(stream::unfold(Some(state), |state| async move { state?.next().await }))))
    }
}
