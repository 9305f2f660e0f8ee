//! Leaving without losing a call: see [`Drain`].

use std::fmt;
use std::future::Future;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::{sleep, timeout};
use tonic_health::ServingStatus;
use tonic_health::server::HealthReporter;

use crate::recorder::LoadRecorder;

/// What clients that watch health need is a round trip; this leaves time for a registry that looks every few seconds.
const NOTICE: Duration = Duration::from_secs(5);

/// What orchestrators usually leave a process in all is 30 s.
const DEADLINE: Duration = Duration::from_secs(20);

/// How long connections get to close by themselves after their last call: the last bytes must leave, and a client may keep a health
/// watch open for ever.
const LINGER: Duration = Duration::from_millis(500);

/// Leaves without losing a call.
///
/// ```text
/// serving ── signal ──> NOT_SERVING, still answering ── notice ──> GOAWAY, no new connections ──> calls end, or the deadline
/// ```
///
/// A server that just stops fails the calls that are on their way to it. So it first says that it does not serve any more, which
/// clients that check health hear at once and registries that ask at their next look, and goes on answering while the word gets around; only
/// then it asks its clients to leave, and waits for the calls in flight.
///
/// Bounds: what is not over at the deadline is cut off with the process; a client that neither checks health nor obeys GOAWAY is not saved.
pub struct Drain {
    load: LoadRecorder,
    health: Option<HealthReporter>,
    services: Vec<String>,
    notice: Duration,
    deadline: Duration,
}

/// How a server ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Drained {
    /// By itself, before it was told to.
    Stopped,
    /// After its last call.
    Complete,
    /// At the deadline, with so many calls in flight.
    Deadline {
        /// Calls that were cut off, or will be with the process.
        in_flight: u32,
    },
}

/// Tells a server to stop; for `serve_with_shutdown`.
#[derive(Debug)]
pub struct Shutdown(oneshot::Receiver<()>);

impl Future for Shutdown {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        Pin::new(&mut self.0).poll(cx).map(|_| ())
    }
}

impl Drain {
    /// Drains by the calls `load` counts, so it must be the recorder of the server's [`LoadReportLayer`](crate::LoadReportLayer): without
    /// the layer no call is ever in flight, and nothing is waited for.
    pub fn new(load: LoadRecorder) -> Self {
        Self { load, health: None, services: Vec::new(), notice: NOTICE, deadline: DEADLINE }
    }

    /// Says NOT_SERVING for the whole server and for these services before it stops.
    #[must_use]
    pub fn health<S: Into<String>>(self, reporter: HealthReporter, services: impl IntoIterator<Item = S>) -> Self {
        Self { health: Some(reporter), services: services.into_iter().map(Into::into).collect(), ..self }
    }

    /// Sets how long it goes on as if nothing were after it said NOT_SERVING; default 5 s.
    #[must_use]
    pub fn notice(self, notice: Duration) -> Self {
        Self { notice, ..self }
    }

    /// Sets how long calls get to end after the notice; default 20 s.
    #[must_use]
    pub fn deadline(self, deadline: Duration) -> Self {
        Self { deadline, ..self }
    }

    /// Serves until `signal`, then drains: says NOT_SERVING, goes on for the notice, tells the server to stop (its clients are asked to
    /// leave by GOAWAY, and the streams of this crate end), and returns when the last call has ended or the deadline has passed.
    ///
    /// `serve` starts the server, such as `|shutdown| router.serve_with_shutdown(address, shutdown)`; its error is returned as it is.
    /// Connections that outlive the return end with the runtime. Not cancel safe: dropping the future drops the server.
    pub async fn serve<F, E>(self, signal: impl Future<Output = ()>, serve: impl FnOnce(Shutdown) -> F) -> Result<Drained, E>
    where
        F: Future<Output = Result<(), E>>,
    {
        let (stop, stopped) = oneshot::channel();
        let mut serving = pin!(serve(Shutdown(stopped)));
        tokio::select! {
            result = &mut serving => return result.map(|()| Drained::Stopped),
            () = signal => {}
        }
        self.say_not_serving().await;
        tracing::info!(in_flight = self.load.in_flight(), "draining");
        tokio::select! {
            result = &mut serving => return result.map(|()| Drained::Stopped),
            () = sleep(self.notice) => {}
        }
        self.load.close_streams();
        // A server that does not listen has nothing to be told.
        let _ = stop.send(());
        match timeout(self.deadline, self.last_call(serving)).await {
            Ok(result) => result.map(|()| Drained::Complete),
            Err(_) => Ok(Drained::Deadline { in_flight: self.load.in_flight() }),
        }
    }

    async fn say_not_serving(&self) {
        let Some(health) = &self.health else { return };
        for service in std::iter::once("").chain(self.services.iter().map(String::as_str)) {
            health.set_service_status(service, ServingStatus::NotServing).await;
        }
    }

    /// Waits for the server to end, or for its calls to: connections may stay open for streams that are no calls.
    async fn last_call<F, E>(&self, mut serving: Pin<&mut F>) -> Result<(), E>
    where
        F: Future<Output = Result<(), E>>,
    {
        loop {
            tokio::select! {
                result = &mut serving => return result,
                () = self.load.until_idle() => {}
            }
            if let Ok(result) = timeout(LINGER, &mut serving).await {
                return result;
            }
            if self.load.in_flight() == 0 {
                return Ok(());
            }
        }
    }
}

impl fmt::Debug for Drain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Drain")
            .field("services", &self.services)
            .field("notice", &self.notice)
            .field("deadline", &self.deadline)
            .finish_non_exhaustive()
    }
}
