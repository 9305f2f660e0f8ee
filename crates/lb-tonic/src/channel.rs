//! The channel a generated client calls.

mod begin;

use std::fmt;
use std::future::Future;
use std::sync::{Arc, Weak};
use std::task::{Context, Poll};
use std::time::Duration;

use arc_swap::Cache;
use http::{Request, Response};
use lb_core::breaker::BreakerForce;
use lb_core::machine::{Command, NamedPolicy};
use lb_core::queue::QueueStats;
use lb_core::service_config::ServiceConfig;
use lb_core::stages::{FailoverState, PanicState, Promotion};
use lb_core::{
    ConfigError, ConnectivityState, EndpointKey, Explained, Performance, PickArgs, PickHints, PickResult, Scratch,
    ServiceConfigUpdate,
};
use serde_json::Value;
use tokio::time::Instant;
use tonic::Status;
use tonic::body::Body;
use tower_service::Service;

use crate::breakers::NoBreaker;
use crate::builder::LbChannelBuilder;
use crate::call::{Call, Configured, Exchange, Head, LastFailure, Read, ResponseBody, find_endpoint};
use crate::endpoints::EndpointInfo;
use crate::error::CallError;
use crate::events::Events;
use crate::inbox::Order;
use crate::options::PickOptions;
use crate::pick_handle::PickHandle;
use crate::resolver_status::ResolverStatus;
use crate::selection::Picks;
use crate::sessions::{ChannelSessions, SessionStore, SessionTokens, TokenStats};
use crate::shared::Handle;
use crate::snapshot::{ChannelSnapshot, SnapshotSource};
use crate::stats::ChannelStats;

/// A gRPC channel that balances calls over the endpoints of its target.
///
/// It is a [`tower_service::Service`] that any tonic generated client takes in place of tonic's own channel. Cloning it is cheap
/// and every clone balances on its own, exactly: kept for long or made for one call, the calls of all clones together are spread
/// as the policy says. It is always ready: whatever waiting there is happens inside the call, under its deadline.
///
/// The channel does its work on a task of its own, with or without traffic; the task and every connection end with the last clone
/// and the last call.
pub struct LbChannel {
    handle: Arc<Handle>,
    snapshot: Cache<SnapshotSource, Arc<ChannelSnapshot>>,
    /// Not shared with other clones, so that picking writes to no shared memory.
    scratch: Scratch,
    /// Its picks that the channel has not heard of.
    pub(crate) picks: Picks,
}

/// A reference to a channel that does not keep it alive; see [`LbChannel::downgrade`].
#[derive(Debug, Clone)]
pub struct WeakChannel(Weak<Handle>);

impl WeakChannel {
    /// The channel, if anybody still has it.
    pub fn upgrade(&self) -> Option<LbChannel> {
        self.0.upgrade().map(LbChannel::new)
    }

    /// Whether it is a reference to this channel, of which all clones are one.
    pub fn is(&self, channel: &LbChannel) -> bool {
        std::ptr::eq(self.0.as_ptr(), Arc::as_ptr(&channel.handle))
    }
}

impl Clone for LbChannel {
    fn clone(&self) -> Self {
        let (scratch, picks) = (self.handle.scratch(), Picks::new(self.handle.clones()));
        Self { handle: Arc::clone(&self.handle), snapshot: self.snapshot.clone(), scratch, picks }
    }
}

impl LbChannel {
    /// Begins a channel to a target such as `dns:///orders.internal:50051` or `static:///10.0.0.1:50051,10.0.0.2:50051`.
    pub fn builder(target: impl Into<String>) -> LbChannelBuilder {
        LbChannelBuilder::new(target.into())
    }

    pub(crate) fn new(handle: Arc<Handle>) -> Self {
        let snapshot = Cache::new(SnapshotSource(Arc::clone(handle.shared())));
        let (scratch, picks) = (handle.scratch(), Picks::new(handle.clones()));
        Self { handle, snapshot, scratch, picks }
    }

    /// A reference that does not keep the channel alive: for those who watch it and must not make it outlive its users.
    pub fn downgrade(&self) -> WeakChannel {
        WeakChannel(Arc::downgrade(&self.handle))
    }

    pub(crate) fn handle(&self) -> &Arc<Handle> {
        &self.handle
    }

    /// The channel's state now.
    pub fn state(&self) -> ConnectivityState {
        self.load().core.state
    }

    /// Waits until the state is another than `seen`, and returns it. States in between may be missed. Ends at once if it is
    /// another already. Cancel safe.
    pub async fn wait_for_state_change(&self, seen: ConnectivityState) -> ConnectivityState {
        let mut generations = self.handle.shared().generations();
        loop {
            let newest = *generations.borrow_and_update();
            let state = self.state();
            if state != seen || generations.wait_for(|generation| *generation > newest).await.is_err() {
                return state;
            }
        }
    }

    /// Leaves IDLE: resolves and connects without waiting for a call. Does nothing in any other state.
    pub fn exit_idle(&self) {
        self.handle.shared().inbox.exit_idle();
    }

    /// Every endpoint of the target with its state, in the resolver's order.
    pub fn endpoints(&self) -> Vec<EndpointInfo> {
        let now = Instant::now();
        self.handle.endpoints(&self.load().core, now)
    }

    /// Everything countable of the channel now, of one generation; linear in the endpoints.
    pub fn stats(&self) -> ChannelStats {
        let now = Instant::now();
        ChannelStats::new(&self.handle, &self.load(), now)
    }

    /// What became of the attempts of the last `window`: how many a second, how many failed, how long they took. Remembered for an hour, in
    /// steps of 10 s up to 5 minutes and of a minute beyond; windows are rounded up to these. Linear in the endpoints.
    pub fn performance(&self, window: Duration) -> Performance {
        self.handle.shared().performance(Instant::now(), window)
    }

    /// Whether the resolver can answer, and if not since when: how far [`endpoints`](Self::endpoints) can be trusted.
    pub fn resolver(&self) -> ResolverStatus {
        self.handle.shared().resolution.status(Instant::now())
    }

    /// The name of the policy in use.
    pub fn policy(&self) -> String {
        self.load().core.policy().to_owned()
    }

    /// Which group of endpoints is in use, since when and why, and when calls return to a better one. `None` without endpoints, or if
    /// the policy uses all groups at once.
    pub fn failover(&self) -> Option<FailoverState> {
        self.load().core.failover.clone()
    }

    /// The replicas that serve in place of their primaries now.
    pub fn promotions(&self) -> Vec<Promotion> {
        self.load().core.promotions.to_vec()
    }

    /// The group of endpoints that panics: so few of it are eligible that all are used.
    pub fn panic(&self) -> Option<PanicState> {
        self.load().core.panic
    }

    /// Follows what happens in the channel from now on. A subscriber that falls behind loses the oldest events and is told how
    /// many; it never holds anybody up.
    pub fn subscribe(&self) -> Events {
        let events = Events::new(self.handle.shared().events.subscribe());
        self.handle.shared().inbox.listen();
        events
    }

    /// The table of sessions, to look at, to clear and to keep over a restart; `None` if the channel has none.
    pub fn sessions(&self) -> Option<&SessionStore> {
        self.handle.sessions().and_then(ChannelSessions::store)
    }

    /// What became of calls and their session tokens; `None` if the channel's sessions are not kept by tokens.
    pub fn session_tokens(&self) -> Option<TokenStats> {
        self.handle.sessions().and_then(ChannelSessions::tokens).map(SessionTokens::stats)
    }

    /// The queue of calls that wait for a place, and what became of those who waited; `None` if the channel has none.
    pub fn queue(&self) -> Option<QueueStats> {
        self.handle.queue().map(|queue| queue.stats())
    }

    /// Switches to another registered policy gracefully: the old one serves until the new one can. `config` is the policy's own,
    /// as in a service config; `Err` names what is wrong with it and changes nothing.
    pub fn set_policy(&self, name: &str, config: &Value) -> Result<(), ConfigError> {
        let policy = self.handle.registry().build(name, config)?;
        self.command(Command::SetPolicy(NamedPolicy::new(name, policy)));
        Ok(())
    }

    /// The service config in use; `None` if nobody gave one.
    pub fn service_config(&self) -> Option<Arc<ServiceConfig>> {
        self.load().rules.config.clone()
    }

    /// Sets a service config that counts before the resolver's and the default one, as JSON or its text, until it is taken back with
    /// [`ServiceConfigUpdate::Absent`]. Calls in progress keep what they began with; policies that stay the same keep their state. Takes effect soon after;
    /// [`LbEvent::ConfigChanged`](lb_core::LbEvent::ConfigChanged) says when.
    ///
    /// # Errors
    /// What is wrong with it, and where; then nothing changes.
    pub fn set_service_config(&self, config: impl Into<ServiceConfigUpdate>) -> Result<(), ConfigError> {
        let config = match config.into() {
            ServiceConfigUpdate::Json(config) => {
                let config = ServiceConfig::from_json(&config, self.handle.registry())?;
                self.handle.shared().limits.gates().check(&config)?;
                Some(Arc::new(config))
            }
            ServiceConfigUpdate::Broken(reason) => return Err(ConfigError::new("service config", reason, "a JSON object")),
            _ => None,
        };
        self.handle.shared().inbox.order(Order::Configure(config));
        Ok(())
    }

    /// Gives an endpoint no new calls; those in progress finish and its connection stays. Remembered while it is not listed.
    pub fn drain(&self, endpoint: impl Into<EndpointKey>) {
        self.command(Command::Drain(endpoint.into(), true));
    }

    /// Drains an endpoint and gives its calls in progress so much time; those that take longer end with UNAVAILABLE. Its connection is
    /// closed with the last of them, and made again only when the endpoint is taken back, which also gives them all the time they
    /// need. More than 30 days is for ever.
    pub fn drain_within(&self, endpoint: impl Into<EndpointKey>, within: Duration) {
        self.command(Command::DrainWithin(endpoint.into(), within));
    }

    /// Takes a drained endpoint back.
    pub fn undrain(&self, endpoint: impl Into<EndpointKey>) {
        self.command(Command::Drain(endpoint.into(), false));
    }

    /// Forces the circuit breaker of an endpoint for a group of methods, or all of the endpoint's with `None`, those of groups that are
    /// called later included. Remembered while the endpoint is not listed, until it is reset. Its state is in [`EndpointInfo::breakers`].
    ///
    /// # Errors
    /// The channel has no breakers, or none for this group.
    pub fn force_breaker(
        &self,
        endpoint: impl Into<EndpointKey>,
        group: Option<&str>,
        force: BreakerForce,
    ) -> Result<(), NoBreaker> {
        let breakers = self.handle.shared().breakers.as_ref().ok_or(NoBreaker::NotConfigured)?;
        breakers.force(endpoint.into(), group, force)
    }

    /// Ends every wait between connection attempts, as if none had failed.
    pub fn reset_connect_backoff(&self) {
        self.command(Command::ResetBackoff);
    }

    /// Asks every health check for a check right now.
    pub fn check_health_now(&self) {
        self.handle.shared().inbox.check_health();
    }

    /// Picks an endpoint as a call with these options would, its session's too, without calling it; for placing a session or a task. It counts as a call in
    /// flight until it is reported or dropped.
    ///
    /// Waits as a call does: for a first connection always, and while no endpoint can take it if it
    /// [waits for ready](PickOptions::wait_for_ready). It has no deadline of its own. Cancel safe.
    ///
    /// # Errors
    /// What a call would fail with before it has an endpoint: [`CallError::NoEndpoint`], [`NothingFits`](CallError::NothingFits),
    /// [`Dropped`](CallError::Dropped), [`DroppedByCategory`](CallError::DroppedByCategory), [`UnknownPolicy`](CallError::UnknownPolicy) or [`Closed`](CallError::Closed).
    pub async fn pick(&self, options: PickOptions) -> Result<PickHandle, CallError> {
        let mut request = Request::new(());
        request.extensions_mut().insert(options);
        let arrival = self.handle.shared().limits.flood()?;
        let read = Read::new(&mut request);
        let (mut head, ()) = Head::new(request, read);
        // No method is called.
        head.configured = Configured::none();
        self.handle.shared().limits.admit(arrival, &head)?;
        if let Some(sessions) = self.handle.sessions() {
            sessions.prepare(&mut head);
        }
        find_endpoint(&self.handle, &mut head, &LastFailure::default()).await.map(PickHandle::new)
    }

    /// What the policy thinks of every endpoint for a call with these options, or why the call would not go there; in the resolver's
    /// order. Linear in the endpoints.
    ///
    /// # Errors
    /// [`CallError::UnknownPolicy`] if the options ask for a policy that no call has used yet and that was not added in advance.
    pub fn explain(&self, options: &PickOptions) -> Result<Vec<Explained>, CallError> {
        let snapshot = self.load();
        let (headers, mut scratch) = (http::HeaderMap::new(), self.handle.scratch());
        let mut args = PickArgs::new(Instant::now().into_std(), "", &headers, &options.hints, &mut scratch);
        snapshot.core.explain(&mut args).ok_or_else(|| CallError::UnknownPolicy {
            asked: options.hints.policy.clone().unwrap_or_default(),
            available: snapshot.core.pickers.iter().map(|named| &*named.name).collect::<Vec<_>>().join(", "),
        })
    }

    /// The endpoints a call with these options may go to now, the best first, as [`explain`](Self::explain) has them.
    ///
    /// # Errors
    /// As for [`explain`](Self::explain).
    pub fn scores(&self, options: &PickOptions) -> Result<Vec<Explained>, CallError> {
        let mut rows = self.explain(options)?;
        rows.retain(|row| row.excluded.is_none());
        rows.sort_by(|one, other| other.total.total_cmp(&one.total));
        Ok(rows)
    }

    /// Why the channel is not READY, for people.
    pub(crate) fn failure(&self) -> String {
        let snapshot = self.load();
        let (headers, hints, mut scratch) = (http::HeaderMap::new(), PickHints::default(), self.handle.scratch());
        let result = snapshot
            .core
            .picker(None)
            .map(|picker| picker.pick(&mut PickArgs::new(Instant::now().into_std(), "", &headers, &hints, &mut scratch)));
        match result {
            Some(PickResult::Fail(error) | PickResult::Drop(error)) => error.to_string(),
            _ => format!("the channel is {}", snapshot.core.state),
        }
    }

    pub(crate) fn command(&self, command: Command) {
        self.handle.shared().inbox.command(command);
    }

    pub(crate) fn load(&self) -> arc_swap::Guard<Arc<ChannelSnapshot>> {
        self.handle.shared().snapshot.load()
    }
}

impl Service<Request<Body>> for LbChannel {
    type Response = Response<ResponseBody>;
    type Error = Status;
    type Future = Call;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Status>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, mut request: Request<Body>) -> Call {
        let begun = self.handle.config().observers.as_ref().and_then(|observers| observers.begin(&request));
        match self.handle.shared().limits.flood() {
            Ok(arrival) => {
                let (handle, tally) = (Arc::clone(&self.handle), self.handle.birth().tally());
                let (read, mut call) = (Read::new(&mut request), Call::new());
                if let Some(seat @ None) = call.seat() {
                    *seat = Some(Exchange::new(handle, tally, read, request));
                    if let Some(exchange) = seat {
                        self.begin(exchange, arrival, begun);
                    }
                }
                call
            }
            Err(shed) => Call::refused(Arc::clone(&self.handle), shed, begun),
        }
    }
}

impl fmt::Debug for LbChannel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let snapshot = self.load();
        f.debug_struct("LbChannel")
            .field("target", &self.handle.config().target)
            .field("state", &snapshot.core.state)
            .field("policy", &snapshot.core.policy())
            .field("endpoints", &snapshot.core.rows.len())
            .finish()
    }
}

/// What makes a channel usable from everywhere; checked where the compiler reads it.
const _: () = {
    const fn shared<T: Clone + Send + Sync + Unpin + 'static>() {}
    const fn future<T: Future + Send + 'static>() {}
    shared::<LbChannel>();
    future::<Call>();
};
