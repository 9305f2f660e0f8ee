//! What the whole server is known to do.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use lb_core::{ConfigError, LoadReport};
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use crate::latency::Latencies;
use crate::rates::Rates;
use crate::values;

/// What the whole server is known to do: what the application says and what the [layer](crate::LoadReportLayer) measures.
///
/// Clones are the same recorder. Setters refuse what is out of range and then change nothing; a value that was never set, or was
/// cleared, is not reported. Recording a call costs a handful of relaxed atomic operations; setting copies the values set, so set
/// them a few times a second, not per call (there is a [`CallRecorder`](crate::CallRecorder) for that).
///
/// Measured, without anybody setting it: calls in flight; how long calls take lately at about that many; calls and errors a second,
/// over the last full second.
#[derive(Clone, Default)]
pub struct LoadRecorder(Arc<Inner>);

struct Inner {
    start: Instant,
    /// What the application says; measured fields stay unset.
    said: ArcSwap<LoadReport>,
    in_flight: AtomicU32,
    latencies: Latencies,
    rates: Rates,
    /// Whether somebody waits for the last call to end.
    awaited: AtomicBool,
    idle: Notify,
    closing: watch::Sender<bool>,
}

impl Default for Inner {
    fn default() -> Self {
        Self {
            start: Instant::now(),
            said: ArcSwap::default(),
            in_flight: AtomicU32::new(0),
            latencies: Latencies::default(),
            rates: Rates::default(),
            awaited: AtomicBool::new(false),
            idle: Notify::new(),
            closing: watch::Sender::new(false),
        }
    }
}

impl LoadRecorder {
    /// A recorder that knows nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the share of the CPU in use, from 0, above 1 while the server does more than it was given.
    pub fn set_cpu_utilization(&self, share: f64) -> Result<(), ConfigError> {
        let share = values::load("cpu_utilization", share)?;
        self.change(|said| said.cpu_utilization = share);
        Ok(())
    }

    /// Sets the share of the memory in use, 0 to 1.
    pub fn set_mem_utilization(&self, share: f64) -> Result<(), ConfigError> {
        let share = values::share("mem_utilization", share)?;
        self.change(|said| said.mem_utilization = share);
        Ok(())
    }

    /// Sets the application's own measure of how busy it is, from 0, above 1 while overloaded. Where it is set it counts before the CPU.
    pub fn set_application_utilization(&self, share: f64) -> Result<(), ConfigError> {
        let share = values::load("application_utilization", share)?;
        self.change(|said| said.application_utilization = share);
        Ok(())
    }

    /// Sets the utilisation of a named resource, 0 to 1.
    pub fn set_utilization(&self, name: &str, share: f64) -> Result<(), ConfigError> {
        let share = values::share("utilization", share)?;
        self.try_change(|said| values::put(&mut said.utilization, "utilization", name, share))
    }

    /// Sets a metric of the application's own, any finite number. Clients of this library pass over negative ones.
    pub fn set_named_metric(&self, name: &str, value: f64) -> Result<(), ConfigError> {
        let value = values::metric("named_metrics", value)?;
        self.try_change(|said| values::put(&mut said.named_metrics, "named_metrics", name, value))
    }

    /// Says nothing about the CPU any more.
    pub fn clear_cpu_utilization(&self) {
        self.change(|said| said.cpu_utilization = 0.0);
    }

    /// Says nothing about the memory any more.
    pub fn clear_mem_utilization(&self) {
        self.change(|said| said.mem_utilization = 0.0);
    }

    /// Says nothing about the application any more.
    pub fn clear_application_utilization(&self) {
        self.change(|said| said.application_utilization = 0.0);
    }

    /// Says nothing about this resource any more.
    pub fn clear_utilization(&self, name: &str) {
        self.change(|said| {
            said.utilization.remove(name);
        });
    }

    /// Says nothing about this metric any more.
    pub fn clear_named_metric(&self, name: &str) {
        self.change(|said| {
            said.named_metrics.remove(name);
        });
    }

    /// Calls in flight from everybody, streams included until their end.
    pub fn in_flight(&self) -> u32 {
        self.0.in_flight.load(Ordering::Relaxed)
    }

    /// How long calls take lately at about as many in flight as now: the median; `None` if none has ended lately.
    pub fn latency(&self) -> Option<Duration> {
        self.0.latencies.near(self.in_flight(), self.now())
    }

    /// Everything that is known now.
    pub fn report(&self) -> LoadReport {
        self.report_at(self.now())
    }

    /// The same at a time since the start that is already known.
    pub(crate) fn report_at(&self, now: Duration) -> LoadReport {
        let in_flight = self.in_flight();
        let mut report = LoadReport::clone(&self.0.said.load());
        report.in_flight = Some(in_flight);
        report.latency = self.0.latencies.near(in_flight, now);
        (report.qps, report.eps) = self.0.rates.per_second(now);
        report
    }

    /// Counts a call in; answers how many there were.
    pub(crate) fn begin(&self) -> u32 {
        self.0.in_flight.fetch_add(1, Ordering::Relaxed)
    }

    /// Remembers how long a call took that found so many others in flight.
    pub(crate) fn answered(&self, found: u32, took: Duration, now: Duration) {
        self.0.latencies.add(found, took, now);
    }

    /// Counts a call out; answers which it is.
    pub(crate) fn end(&self, failed: bool, now: Duration) -> u64 {
        // Ordered against the waiter, which announces itself and then looks.
        let before = self.0.in_flight.fetch_sub(1, Ordering::SeqCst);
        if before == 1 && self.0.awaited.load(Ordering::SeqCst) {
            self.0.idle.notify_waiters();
        }
        self.0.rates.count(failed, now)
    }

    /// Waits until no call is in flight. Cancel safe.
    pub(crate) async fn until_idle(&self) {
        self.0.awaited.store(true, Ordering::SeqCst);
        loop {
            let idle = self.0.idle.notified();
            if self.0.in_flight.load(Ordering::SeqCst) == 0 {
                return;
            }
            idle.await;
        }
    }

    /// Ends the streams of reports and of probes, which would outlast every call.
    pub(crate) fn close_streams(&self) {
        self.0.closing.send_replace(true);
    }

    /// Waits until streams shall end. Cancel safe.
    pub(crate) fn closing(&self) -> impl Future<Output = ()> + Send + use<> {
        let mut closing = self.0.closing.subscribe();
        async move { drop(closing.wait_for(|closing| *closing).await) }
    }

    /// The time since the start.
    pub(crate) fn now(&self) -> Duration {
        self.0.start.elapsed()
    }

    fn change(&self, change: impl Fn(&mut LoadReport)) {
        self.0.said.rcu(|said| {
            let mut said = LoadReport::clone(said);
            change(&mut said);
            said
        });
    }

    fn try_change(&self, change: impl Fn(&mut LoadReport) -> Result<(), ConfigError>) -> Result<(), ConfigError> {
        let mut result = Ok(());
        self.0.said.rcu(|said| {
            let mut said = LoadReport::clone(said);
            result = change(&mut said);
            said
        });
        result
    }
}

impl fmt::Debug for LoadRecorder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("LoadRecorder").field(&self.report()).finish()
    }
}
