//! The channel's own task.
//!
//! The driver is the only owner of the [`Machine`] and the only one that turns its effects into IO. It waits for whatever comes
//! first (a wish of a call, an answer of the resolver, news of a connection, the time the machine asked for), takes everything
//! else that is ready too, lets the machine settle once, and does what it says. It works with or without traffic, and ends with
//! the last clone of the channel.
//!
//! A rebuild is linear in the number of endpoints, so the driver [rests](rest) after a long turn.

mod change_log;
mod connections;
mod idle;
mod leaving;
mod limiting;
mod loads;
mod rest;
mod service_config;
mod telling;

use std::sync::Arc;

use futures_util::{FutureExt, StreamExt};
use lb_core::machine::{Command, Effect, Event};
use lb_core::{
    ConnectivityState, LbEvent, Machine, Observer, ResolveError, Resolver, ResolverStream, ResolverUpdate, Snapshot, Target,
    Trigger,
};
use tokio::time::{Instant, sleep, sleep_until};

use crate::inbox::{Order, Wishes};
use crate::pick_failures::PickFailureNews;
use crate::sessions::Sweep;
use crate::shared::Shared;
use crate::snapshot::ChannelSnapshot;

use change_log::ChangeLog;
pub(crate) use connections::{Connections, ConnectorSettings};
pub(crate) use idle::Idle;
pub(crate) use loads::Loads;
use loads::Pace;
use service_config::Consequences;
pub(crate) use service_config::{ConfigSettings, ServiceConfigs};

/// How many inputs are taken before the machine settles; bounds how long a storm of them can delay a publication.
const MAX_BURST: usize = 10_000;

/// Where endpoints come from.
#[derive(Debug)]
pub(crate) struct Source {
    pub(crate) resolver: Arc<dyn Resolver>,
    pub(crate) target: Target,
    pub(crate) configs: ServiceConfigs,
}

/// What the driver does from time to time.
#[derive(Debug)]
pub(crate) struct Chores {
    pub(crate) idle: Idle,
    pub(crate) sweep: Option<Sweep>,
    pub(crate) loads: Loads,
}

/// See the module's essay.
pub(crate) struct Driver {
    pub(crate) machine: Machine,
    pub(crate) shared: Arc<Shared>,
    pub(crate) source: Source,
    pub(crate) connections: Connections,
    pub(crate) idle: Idle,
    pub(crate) observers: Vec<Arc<dyn Observer>>,
    pub(crate) sweep: Option<Sweep>,
    loads: Loads,
    pick_failures: PickFailureNews,
    moved: Pace,
    resolving: Option<(ResolverStream, Trigger)>,
    wake_at: Option<Instant>,
    /// When to write down what has happened; `None` while the channel is IDLE.
    look_back_at: Option<Instant>,
    effects: Vec<Effect>,
    /// What to tell once it can be seen.
    news: Vec<LbEvent>,
    log: ChangeLog,
}

/// What the driver waits for.
enum Input {
    Wishes(Wishes),
    Resolved(Option<Result<ResolverUpdate, ResolveError>>),
    Connection(Option<Event>),
    Tick,
    ConfigRetry,
    IdleCheck,
    Sweep,
    QueueDue,
    Leaving,
    LookBack,
    Loads,
    PicksFailed,
}

impl Driver {
    pub(crate) fn new(
        machine: Machine,
        shared: Arc<Shared>,
        source: Source,
        connections: Connections,
        chores: Chores,
        observers: Vec<Arc<dyn Observer>>,
    ) -> Self {
        let Chores { idle, sweep, loads } = chores;
        Self {
            machine,
            shared,
            source,
            connections,
            idle,
            observers,
            sweep,
            loads,
            pick_failures: PickFailureNews::default(),
            moved: Pace::default(),
            resolving: None,
            wake_at: None,
            look_back_at: None,
            effects: Vec::new(),
            news: Vec::new(),
            log: ChangeLog::default(),
        }
    }

    /// Drives until the last clone is gone.
    pub(crate) async fn run(mut self) {
        self.introduce(&self.observers);
        loop {
            let input = self.next().await;
            let started = Instant::now();
            let mut open = self.take(input);
            for _ in 0..MAX_BURST {
                let Some(input) = self.next().now_or_never() else { break };
                open &= self.take(input);
            }
            self.settle();
            if !open {
                return;
            }
            let rest = rest::after(started.elapsed());
            if !rest.is_zero() {
                sleep(rest).await;
            }
        }
    }

    /// Waits for the next input. Cancel safe.
    async fn next(&mut self) -> Input {
        let leaving = self.connections.leaving().next();
        tokio::select! {
            wishes = self.shared.inbox.wished() => Input::Wishes(wishes),
            update = next_update(&mut self.resolving) => Input::Resolved(update),
            event = self.connections.next() => Input::Connection(event),
            () = wake(self.wake_at) => Input::Tick,
            () = wake(self.source.configs.retry_at().map(Instant::from_std)) => Input::ConfigRetry,
            () = wake(self.idle.next_check()) => Input::IdleCheck,
            () = wake(leaving) => Input::Leaving,
            () = wake(self.look_back_at) => Input::LookBack,
            () = wake(self.loads.next()) => Input::Loads,
            () = wake(self.pick_failures.due_at(Instant::now())) => Input::PicksFailed,
            () = wake(self.sweep.as_ref().map(Sweep::next)) => Input::Sweep,
            () = self.shared.queue_due() => Input::QueueDue,
        }
    }

    /// Tells the machine. `false` when the channel has been closed.
    fn take(&mut self, input: Input) -> bool {
        let event = match input {
            Input::Wishes(wishes) => return self.take_wishes(wishes),
            Input::Resolved(Some(Ok(update))) => {
                self.shared.resolution.succeeded();
                let consequences = self.source.configs.resolved(Instant::now().into_std(), &update.service_config);
                self.configure(consequences);
                self.shared.resolution.refused_config(self.source.configs.refused());
                Event::Resolved(update)
            }
            Input::Resolved(Some(Err(error))) => {
                self.shared.resolution.failed(&error, Instant::now());
                Event::ResolveFailed(error)
            }
            Input::Resolved(None) => {
                // Nothing more to say: the last set stands.
                self.resolving = None;
                return true;
            }
            Input::Connection(Some(event)) => event,
            Input::Connection(None) => return true,
            Input::Tick => {
                self.wake_at = None;
                Event::Tick
            }
            Input::ConfigRetry => {
                self.source.configs.retried();
                self.perform(Effect::ReResolve);
                return true;
            }
            Input::IdleCheck => {
                if !self.idle.check(&self.shared) {
                    return true;
                }
                Event::EnterIdle
            }
            Input::Leaving => {
                let told = self.connections.leaving().end();
                told.iter().for_each(|event| self.emit(event));
                return true;
            }
            Input::Sweep => {
                self.sweep.iter_mut().for_each(Sweep::run);
                return true;
            }
            Input::LookBack => {
                self.look_back();
                return true;
            }
            Input::Loads => {
                self.look_at_loads();
                return true;
            }
            Input::PicksFailed => {
                self.tell_pick_failures();
                return true;
            }
            Input::QueueDue => {
                self.shared.look_all();
                return true;
            }
        };
        self.tell(event);
        true
    }

    /// Follows a service config, before the endpoints it came with.
    fn configure(&mut self, consequences: Consequences) {
        if let Some(changes) = consequences.limits {
            self.limit(changes);
        }
        self.news.extend(consequences.events);
        for command in consequences.commands {
            self.tell(Event::Command(command));
        }
        if let Some(service) = consequences.health_service {
            let checks = self.source.configs.checks_health(service.as_ref());
            self.tell(Event::Command(Command::WatchHealth(checks && self.connections.can_check_health())));
            self.connections.set_health_service(service, checks);
        }
    }

    fn take_wishes(&mut self, wishes: Wishes) -> bool {
        self.attach(wishes.observers);
        self.begin_loads();
        if wishes.exit_idle {
            self.idle.exit();
            self.tell(Event::ExitIdle);
        }
        for slot in wishes.connect {
            self.tell(Event::ConnectRequested(slot));
        }
        for order in wishes.orders {
            match order {
                Order::Machine(command) => self.tell(Event::Command(command)),
                Order::Configure(config) => {
                    let consequences = self.source.configs.set(config);
                    self.configure(consequences);
                }
                Order::Announce(event) => self.news.push(event),
            }
        }
        if wishes.rebuild {
            self.tell_breakers();
            self.tell(Event::Command(Command::Rebuild));
        }
        if wishes.check_health {
            self.connections.check_health();
        }
        if wishes.picks_failed {
            self.pick_failures.wake();
        }
        self.tell_moved(wishes.moved);
        if wishes.close {
            self.tell(Event::Shutdown);
        }
        !wishes.close
    }

    fn tell(&mut self, event: Event) {
        self.machine.handle(Instant::now().into_std(), event, &mut self.effects);
    }

    /// Lets the machine decide and does what it says.
    fn settle(&mut self) {
        let mut effects = std::mem::take(&mut self.effects);
        self.machine.settle(Instant::now().into_std(), &mut effects);
        // Nobody hears of a change before calls go by it.
        let told = effects.iter().position(|effect| matches!(effect, Effect::Emit(_))).unwrap_or(effects.len());
        effects.drain(..told).for_each(|effect| self.perform(effect));
        self.publish_rules();
        for event in std::mem::take(&mut self.news) {
            self.emit(&event);
        }
        effects.drain(..).for_each(|effect| self.perform(effect));
        self.effects = effects;
    }

    fn perform(&mut self, effect: Effect) {
        match effect {
            Effect::StartResolver => {
                let (trigger, again) = Trigger::pair();
                self.resolving = Some((self.source.resolver.resolve(&self.source.target, again), trigger));
                self.look_back();
                self.begin_loads();
            }
            Effect::StopResolver => {
                self.resolving = None;
                // While its endpoints are still listed.
                self.shared.look_back(Instant::now());
                self.look_back_at = None;
                self.loads.end();
                self.shared.resolution.stopped();
                self.source.configs.resolver_stopped();
                self.idle.enter();
            }
            Effect::ReResolve => {
                if let Some((_, trigger)) = &self.resolving {
                    trigger.fire();
                }
            }
            Effect::Connect { slot, attempt, endpoint, addresses, timeout } => {
                self.connections.connect(slot, attempt, endpoint, addresses, timeout);
            }
            Effect::Close { slot, attempt } => self.connections.close(slot, attempt),
            Effect::Retire { slot, attempt, within, reason } => self.connections.retire(slot, attempt, within, reason),
            Effect::Spare(slot) => self.connections.leaving().spare(slot),
            Effect::WatchHealth { slot, attempt, stats } => self.connections.watch_health(slot, attempt, stats),
            Effect::WakeAt(at) => self.wake_at = at.map(Instant::from_std),
            Effect::Publish(snapshot) => self.publish(snapshot),
            Effect::Emit(event) => self.emit(&event),
            Effect::Measured(measurement) => self.observers.iter().for_each(|observer| observer.on_measurement(&measurement)),
            // The machine may learn to ask for more than this driver knows; what it does not know it cannot do.
            _ => {}
        }
    }

    fn publish(&mut self, core: Arc<Snapshot>) {
        let connected = self.connections.table(&core);
        self.shared.publish(ChannelSnapshot::new(core, connected, self.source.configs.rules()));
        self.source.configs.take_unpublished();
    }

    /// Publishes the machine's last snapshot again, if calls are to see other rules and nothing else has changed.
    fn publish_rules(&mut self) {
        if self.source.configs.take_unpublished() {
            let core = Arc::clone(&self.shared.snapshot.load().core);
            self.publish(core);
        }
    }
}

impl Drop for Driver {
    /// Also when the runtime shuts down under a channel that is still used: its calls fail instead of waiting for ever.
    fn drop(&mut self) {
        if std::thread::panicking() {
            // An observer that has panicked must not get the chance to do it again, which would end the process.
            self.observers.clear();
        }
        if self.shared.snapshot.load().core.state != ConnectivityState::Shutdown {
            self.tell(Event::Shutdown);
            self.settle();
        }
    }
}

async fn next_update(resolving: &mut Option<(ResolverStream, Trigger)>) -> Option<Result<ResolverUpdate, ResolveError>> {
    match resolving {
        Some((stream, _)) => stream.next().await,
        None => std::future::pending().await,
    }
}

async fn wake(at: Option<Instant>) {
    match at {
        Some(at) => sleep_until(at).await,
        None => std::future::pending().await,
    }
}
