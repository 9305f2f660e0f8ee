//! Asking a server how loaded it is right now.
//!
//! A picker names an endpoint after a pick; the call goes on without waiting. All probes of a connection share one stream, opened with
//! the first of them. At most one is under way per connection: whoever asks meanwhile has asked the same thing. So an answered probe
//! costs two small messages and no task of its own, and a call that asks nothing costs nothing.
//!
//! A server that has no such service is not asked again on this connection; one that does not answer in time is asked anew with the
//! next wish, on the same stream, so that an overloaded server is not loaded further.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::stream;
use http::uri::PathAndQuery;
use lb_core::{LoadReport, Trigger, Triggered};
use lb_orca::{ProbeReply, ProbeRequest};
use tokio::sync::mpsc;
use tokio::task::{AbortHandle, coop};
use tokio::time::timeout;
use tonic::client::Grpc;
use tonic::{Code, Request, Status, Streaming};
use tonic_prost::ProstCodec;

use super::{MAX_MESSAGE, Readers, Subject};
use crate::connection_service::ConnectionService;

/// An answer that takes longer says little of the present: pools of answers forget them at that age.
const LATEST: Duration = Duration::from_secs(1);

/// Where the probes of one connection are asked for.
pub(crate) struct Probes {
    /// Whether a probe is under way, or none may be sent: one look is all an unwanted wish costs.
    busy: AtomicBool,
    started: AtomicBool,
    wish: Trigger,
    task: Mutex<Task>,
}

enum Task {
    /// Nobody has asked yet.
    Idle(Box<Prober>),
    Running(AbortHandle),
    Ended,
}

/// Ends the probes of a connection when dropped.
#[derive(Debug)]
pub(crate) struct ProbesHandle(Arc<Probes>);

impl Probes {
    /// Asks the server, unless it is being asked. Never waits.
    #[inline]
    pub(crate) fn ask(self: &Arc<Self>) {
        if self.busy.load(Ordering::Relaxed) || self.busy.swap(true, Ordering::AcqRel) {
            return;
        }
        if !self.started.load(Ordering::Acquire) {
            self.start();
        }
        self.wish.fire();
    }

    #[cold]
    fn start(self: &Arc<Self>) {
        let mut task = self.lock();
        match std::mem::replace(&mut *task, Task::Ended) {
            Task::Idle(prober) => {
                let runtime = prober.readers.runtime.clone();
                *task = Task::Running(runtime.spawn(prober.run(Arc::clone(self))).abort_handle());
            }
            other => *task = other,
        }
        self.started.store(true, Ordering::Release);
    }

    fn lock(&self) -> MutexGuard<'_, Task> {
        // No code that can panic runs under the lock.
        self.task.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ProbesHandle {
    /// The probes of a connection; nothing runs until the first is asked for.
    pub(crate) fn new(readers: Readers, subject: Subject, connection: ConnectionService) -> Self {
        let (wish, wished) = Trigger::pair();
        let prober = Prober { readers, subject, connection, wished, last: 0, heard: false };
        let task = Mutex::new(Task::Idle(Box::new(prober)));
        Self(Arc::new(Probes { busy: AtomicBool::new(false), started: AtomicBool::new(false), wish, task }))
    }

    pub(crate) fn probes(&self) -> &Arc<Probes> {
        &self.0
    }
}

impl Drop for ProbesHandle {
    fn drop(&mut self) {
        // Snapshots and calls may hold the probes for longer; from here on they ask in vain.
        self.0.busy.store(true, Ordering::Release);
        if let Task::Running(task) = std::mem::replace(&mut *self.0.lock(), Task::Ended) {
            task.abort();
        }
    }
}

impl fmt::Debug for Probes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Probes").field("busy", &self.busy).field("started", &self.started).finish_non_exhaustive()
    }
}

struct Prober {
    readers: Readers,
    subject: Subject,
    connection: ConnectionService,
    wished: Triggered,
    /// The number of the last probe sent.
    last: u64,
    /// Whether the present stream brought an answer.
    heard: bool,
}

impl Prober {
    async fn run(mut self: Box<Self>, probes: Arc<Probes>) {
        let mut pace = self.readers.pace(&self.subject);
        loop {
            self.wished.fired().await;
            probes.busy.store(true, Ordering::Release);
            let end = self.converse(&probes).await;
            let endpoint = self.subject.endpoint.key();
            if end.code() == Code::Unimplemented {
                tracing::debug!(%endpoint, "the server does not answer probes");
                return;
            }
            tracing::debug!(%endpoint, status = %end, "the stream of probes has ended");
            probes.busy.store(true, Ordering::Release);
            pace.wait(self.heard).await;
            probes.busy.store(false, Ordering::Release);
        }
    }

    /// Sends the probe that is wished for and those after it, until the stream ends.
    async fn converse(&mut self, probes: &Probes) -> Status {
        self.heard = false;
        // Room for one: a server that does not even read them gets no more.
        let (sender, receiver) = mpsc::channel(1);
        self.send(&sender);
        let mut replies = match timeout(LATEST, self.open(receiver)).await {
            Ok(Ok(replies)) => replies,
            Ok(Err(status)) => return status,
            Err(_) => return Status::deadline_exceeded("the stream was not opened in time"),
        };
        loop {
            if let Ok(Some(end)) = timeout(LATEST, self.answer(&mut replies)).await {
                return end;
            }
            probes.busy.store(false, Ordering::Release);
            if let Some(end) = self.next_wish(&mut replies).await {
                return end;
            }
            self.send(&sender);
        }
    }

    async fn open(&self, receiver: mpsc::Receiver<ProbeRequest>) -> Result<Streaming<ProbeReply>, Status> {
        let requests = stream::unfold(receiver, |mut receiver| async move { Some((receiver.recv().await?, receiver)) });
        let mut grpc = Grpc::new(self.connection.clone()).max_decoding_message_size(MAX_MESSAGE);
        let codec = ProstCodec::<ProbeRequest, ProbeReply>::default();
        let response = grpc.streaming(Request::new(requests), PathAndQuery::from_static(lb_orca::PROBES), codec).await?;
        Ok(response.into_inner())
    }

    fn send(&mut self, sender: &mpsc::Sender<ProbeRequest>) {
        self.last += 1;
        // Where there is no room the server has yet to read an earlier one, and its answer to that is not waited for any more.
        let _ = sender.try_send(ProbeRequest { id: self.last });
    }

    /// Takes the answer to the last probe, passing over late ones to earlier probes. `Some` is the end of the stream.
    async fn answer(&mut self, replies: &mut Streaming<ProbeReply>) -> Option<Status> {
        loop {
            match next(replies).await {
                Ok(reply) if reply.id == self.last => {
                    self.heard = true;
                    self.readers.tell(&self.subject, &LoadReport::from(&reply), true);
                    return None;
                }
                Ok(_) => {}
                Err(end) => return Some(end),
            }
        }
    }

    /// Waits until somebody asks. `Some` is the end of the stream.
    async fn next_wish(&mut self, replies: &mut Streaming<ProbeReply>) -> Option<Status> {
        loop {
            tokio::select! {
                () = self.wished.fired() => return None,
                // An answer that comes now comes too late.
                late = next(replies) => if let Err(end) = late {
                    return Some(end);
                },
            }
        }
    }
}

/// The next answer, or the end. Cancel safe.
async fn next(replies: &mut Streaming<ProbeReply>) -> Result<ProbeReply, Status> {
    // A server that sends without a pause must not keep its channel from everything else.
    coop::consume_budget().await;
    replies.message().await?.ok_or_else(|| Status::ok("the server closed the stream"))
}
