//! The attempts and connections of a channel.

use std::collections::HashMap;
use std::fmt;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::StreamExt;
use futures_util::stream::{self, AbortHandle, BoxStream, SelectAll};
use lb_core::machine::{AttemptId, Event};
use lb_core::{
    Address, ConnectivityState, Endpoint, EndpointStats, HealthCheck, HealthSubject, SecurityLevel, Slot, Snapshot, SubchannelView,
    Trigger,
};
use lb_transport::{ConnectAttempt, Connection, ConnectionHandle};
use tokio::task::{AbortHandle as TaskHandle, JoinSet};

use super::leaving::{Departing, Leaving};
use crate::connection_service::ConnectionService;
use crate::load::{OutOfBand, ProbesHandle, Readers, Subject};
use crate::snapshot::Connected;
use crate::transport::{AnyConnector, AnyTransport};

/// How connections are made.
#[derive(Debug)]
pub(crate) struct ConnectorSettings {
    pub(crate) connector: Arc<dyn AnyConnector>,
    /// The target's authority, for endpoints without a name of their own.
    pub(crate) authority: Arc<str>,
    pub(crate) health: Option<Arc<dyn HealthCheck<ConnectionService>>>,
    /// How connections are protected, if that is known.
    pub(crate) security: Option<SecurityLevel>,
}

/// Which service's health is asked for.
#[derive(Debug, Default)]
struct HealthService {
    /// As the service config says.
    name: Option<Arc<str>>,
    /// Nothing is asked while a config that should name it does not.
    off: bool,
}

type Attempted = (Slot, AttemptId, Arc<Endpoint>, Result<Connection<AnyTransport>, Arc<str>>);

/// Everything the driver has open. Dropping it cancels attempts and closes connections gracefully.
pub(crate) struct Connections {
    settings: ConnectorSettings,
    health_service: HealthService,
    readers: Readers,
    attempts: JoinSet<Attempted>,
    attempting: HashMap<AttemptId, TaskHandle>,
    open: HashMap<Slot, Open>,
    leaving: Leaving,
    news: SelectAll<BoxStream<'static, Event>>,
}

struct Open {
    attempt: AttemptId,
    endpoint: Arc<Endpoint>,
    address: Address,
    transport: AnyTransport,
    /// What was published last; kept while it stays true.
    connected: Option<Arc<Connected>>,
    health: Option<Watch>,
    /// Where its health checks are counted, once there are any.
    stats: Option<Arc<EndpointStats>>,
    reports: Option<OutOfBand>,
    probes: Option<ProbesHandle>,
    /// Why its calls were ended, for all descriptions of it.
    ended: Arc<OnceLock<Arc<str>>>,
    /// Dropped last: closes the connection once its streams have ended.
    handle: ConnectionHandle,
}

/// A running health check; ends when dropped.
struct Watch {
    check_now: Trigger,
    abort: AbortHandle,
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.abort.abort();
    }
}

impl Connections {
    pub(crate) fn new(settings: ConnectorSettings, readers: Readers) -> Self {
        let (attempts, attempting, open, news) = (JoinSet::new(), HashMap::new(), HashMap::new(), SelectAll::new());
        let health_service = HealthService::default();
        Self { settings, health_service, readers, attempts, attempting, open, leaving: Leaving::default(), news }
    }

    /// How they are protected, if that is known.
    pub(crate) fn security(&self) -> Option<SecurityLevel> {
        self.settings.security
    }

    /// Starts an attempt on a task of its own, so that handshakes do not wait for each other.
    pub(crate) fn connect(
        &mut self,
        slot: Slot,
        attempt: AttemptId,
        endpoint: Arc<Endpoint>,
        addresses: Vec<Address>,
        timeout: Duration,
    ) {
        let authority = endpoint.attributes.hostname.clone().unwrap_or_else(|| Arc::clone(&self.settings.authority));
        let request = ConnectAttempt::new(Arc::clone(&endpoint), authority, timeout).with_addresses(addresses);
        let connecting = self.settings.connector.connect(request);
        let task = self.attempts.spawn(async move {
            // A connector that panics has failed like any other, and must not leave its subchannel CONNECTING for ever.
            let result = match AssertUnwindSafe(connecting).catch_unwind().await {
                Ok(result) => result.map_err(|error| error.to_string().into()),
                Err(_) => Err("the connector panicked".into()),
            };
            (slot, attempt, endpoint, result)
        });
        self.attempting.insert(attempt, task);
    }

    /// Cancels an attempt or closes its connection gracefully.
    pub(crate) fn close(&mut self, slot: Slot, attempt: AttemptId) {
        if let Some(task) = self.attempting.remove(&attempt) {
            task.abort();
        }
        if self.open.get(&slot).is_some_and(|open| open.attempt == attempt) {
            self.open.remove(&slot);
        }
    }

    /// Closes a connection gracefully, and ends the calls that are in progress after `within`.
    pub(crate) fn retire(&mut self, slot: Slot, attempt: AttemptId, within: Duration, reason: Arc<str>) {
        if let Some(open) = self.open.remove(&slot).filter(|open| open.attempt == attempt) {
            // One that was never published has no calls.
            if let Some(connected) = open.connected {
                self.leaving.add(Departing { connected, handle: open.handle, reason }, within);
            }
        }
    }

    /// Connections on their way out.
    pub(crate) fn leaving(&mut self) -> &mut Leaving {
        &mut self.leaving
    }

    /// Starts to watch a fresh connection.
    pub(crate) fn watch_health(&mut self, slot: Slot, attempt: AttemptId, stats: Arc<EndpointStats>) {
        if let Some(open) = self.open.get_mut(&slot) {
            open.stats = Some(stats);
            self.watch(slot, attempt);
        }
    }

    fn watch(&mut self, slot: Slot, attempt: AttemptId) {
        let (Some(check), Some(open)) = (&self.settings.health, self.open.get_mut(&slot)) else { return };
        if self.health_service.off {
            return;
        }
        let (check_now, triggered) = Trigger::pair();
        let service = ConnectionService::new(open.transport.clone());
        let subject = HealthSubject::new(service, Arc::clone(&open.endpoint), open.address.clone(), triggered);
        let mut subject = subject.with_service(self.health_service.name.clone());
        subject.stats = open.stats.clone().or_else(|| open.connected.as_ref().map(|connected| Arc::clone(&connected.stats)));
        let stream = check.watch(subject);
        let (events, abort) = stream::abortable(stream.map(move |status| Event::Health { slot, attempt, status }));
        open.health = Some(Watch { check_now, abort });
        self.news.push(events.boxed());
    }

    pub(crate) fn can_check_health(&self) -> bool {
        self.settings.health.is_some()
    }

    /// Asks for another service from now on, or for none. A connection keeps the status it has until the new check has one.
    pub(crate) fn set_health_service(&mut self, name: Option<Arc<str>>, on: bool) {
        self.health_service = HealthService { name, off: !on };
        let open: Vec<(Slot, AttemptId)> = self.open.iter().map(|(slot, open)| (*slot, open.attempt)).collect();
        for (slot, attempt) in open {
            if let Some(open) = self.open.get_mut(&slot) {
                open.health = None;
            }
            self.watch(slot, attempt);
        }
    }

    pub(crate) fn check_health(&self) {
        self.open.values().filter_map(|open| open.health.as_ref()).for_each(|watch| watch.check_now.fire());
    }

    /// Waits for news; `None` is news that means nothing any more. Cancel safe.
    pub(crate) async fn next(&mut self) -> Option<Event> {
        tokio::select! {
            Some(attempted) = self.attempts.join_next(), if !self.attempts.is_empty() => self.attempted(attempted.ok()?),
            Some(event) = self.news.next(), if !self.news.is_empty() => Some(self.heard(event)),
            else => std::future::pending().await,
        }
    }

    fn attempted(&mut self, (slot, attempt, endpoint, result): Attempted) -> Option<Event> {
        self.attempting.remove(&attempt)?;
        match result {
            Ok(connection) => Some(self.opened(slot, attempt, endpoint, connection)),
            Err(error) => Some(Event::ConnectFailed { slot, attempt, error }),
        }
    }

    fn opened(&mut self, slot: Slot, attempt: AttemptId, endpoint: Arc<Endpoint>, connection: Connection<AnyTransport>) -> Event {
        let Connection { transport, address, closed, handle, .. } = connection;
        self.news
            .push(stream::once(async move { Event::Closed { slot, attempt, reason: closed.await.to_string().into() } }).boxed());
        let open = Open {
            attempt,
            endpoint,
            address: address.clone(),
            transport,
            connected: None,
            health: None,
            stats: None,
            reports: None,
            probes: None,
            ended: Arc::default(),
            handle,
        };
        self.open.insert(slot, open);
        Event::Connected { slot, attempt, address }
    }

    fn heard(&mut self, event: Event) -> Event {
        if let Event::Closed { slot, attempt, .. } = event {
            self.close(slot, attempt);
        }
        event
    }

    /// The connections that go with a snapshot, by slot index.
    pub(crate) fn table(&mut self, core: &Snapshot) -> Box<[Option<Arc<Connected>>]> {
        let size = core.rows.iter().map(|row| row.view.slot.index() + 1).max().unwrap_or(0);
        let mut table = vec![None; size];
        for row in &core.rows {
            if let Some(open) = self.open.get_mut(&row.view.slot) {
                table[row.view.slot.index()] = Some(open.connected(&row.view, &self.readers));
                let period = core.load_reports.out_of_band.filter(|_| row.view.state == ConnectivityState::Ready);
                self.news.extend(open.want_reports(period, &row.view, &self.readers));
            }
        }
        table.into()
    }
}

impl Open {
    /// What calls see of this connection; the same value as long as the endpoint is described the same.
    fn connected(&mut self, view: &SubchannelView, readers: &Readers) -> Arc<Connected> {
        match &self.connected {
            Some(connected) if Arc::ptr_eq(&connected.endpoint, &view.endpoint) => Arc::clone(connected),
            _ => {
                let service = || ConnectionService::new(self.transport.clone());
                let probes = self.probes.get_or_insert_with(|| ProbesHandle::new(readers.clone(), subject(view), service()));
                let connected = Arc::new(Connected {
                    slot: view.slot,
                    endpoint: Arc::clone(&view.endpoint),
                    address: self.address.clone(),
                    stats: Arc::clone(&view.stats),
                    transport: self.transport.clone(),
                    probes: Arc::clone(probes.probes()),
                    ended: Arc::clone(&self.ended),
                });
                self.connected = Some(Arc::clone(&connected));
                connected
            }
        }
    }

    /// Asks the server for reports this often, or for none. Answers what must be polled for them to come, if it is not yet.
    fn want_reports(
        &mut self,
        period: Option<Duration>,
        view: &SubchannelView,
        readers: &Readers,
    ) -> Option<BoxStream<'static, Event>> {
        if self.reports.is_none() && period.is_none() {
            return None;
        }
        let mut news = None;
        let reports = self.reports.get_or_insert_with(|| {
            let (reports, silent) = OutOfBand::new(readers.clone(), subject(view), ConnectionService::new(self.transport.clone()));
            news = Some(silent);
            reports
        });
        reports.want(period);
        news
    }
}

fn subject(view: &SubchannelView) -> Subject {
    Subject { slot: view.slot, endpoint: Arc::clone(&view.endpoint), stats: Arc::clone(&view.stats) }
}

impl fmt::Debug for Connections {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connections")
            .field("attempts", &self.attempting.len())
            .field("open", &self.open.len())
            .finish_non_exhaustive()
    }
}
