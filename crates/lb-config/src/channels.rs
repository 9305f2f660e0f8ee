//! The channels of a configuration, changed as it changes.

mod hooks;
mod running;
mod watch;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use lb_core::LbEvent;
use lb_tonic::{LbChannel, LbChannelBuilder};

use crate::build::ConfigureError;
use crate::config::Config;
use crate::diff::Diff;
use crate::settings::ServiceSettings;

use hooks::Hooks;
use running::Running;
pub use watch::{Reload, Watching};

type Customize = dyn Fn(&ServiceSettings, LbChannelBuilder) -> LbChannelBuilder + Send + Sync;

/// The channels of a configuration, one for each service, which follow it while they run. Cheap to clone; clones are the same channels.
///
/// What of a new configuration can count at once does: endpoints and their weights, policies, service configs, limits. What cannot, such
/// as timeouts and TLS, counts for channels built from then on, and [`rebuild`](Self::rebuild) builds one. A configuration counts
/// whole or not at all.
///
/// ```no_run
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// use lb_config::{Channels, Config};
///
/// let sources = Config::sources().file("/etc/shop/lb.json").environment(std::env::vars_os());
/// let channels = Channels::build(sources.load()?)?;
/// let orders = channels.get("orders").ok_or("orders are not configured")?;
/// // let mut client = OrdersClient::new(orders);
/// let mut watching = channels.watch(sources);
/// while let Some(reload) = watching.next().await {
///     println!("{reload}");
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Channels {
    inner: Arc<Inner>,
}

struct Inner {
    state: Mutex<State>,
    customize: Box<Customize>,
}

struct State {
    config: Config,
    hooks: Hooks,
    running: BTreeMap<Arc<str>, Running>,
}

impl Channels {
    /// Builds a channel for each service; must be called within a tokio runtime. Reads the files that TLS and tokens name.
    ///
    /// # Errors
    /// The first that cannot be built; then none is.
    pub fn build(config: Config) -> Result<Self, ConfigureError> {
        Self::build_with(config, |_, builder| builder)
    }

    /// The same, where the program has its say on every builder, now and later: observers, resolvers and policies of its own, a remote
    /// breaker. What it says counts before what is configured.
    ///
    /// # Errors
    /// The first that cannot be built; then none is.
    pub fn build_with(
        config: Config,
        customize: impl Fn(&ServiceSettings, LbChannelBuilder) -> LbChannelBuilder + Send + Sync + 'static,
    ) -> Result<Self, ConfigureError> {
        let (mut hooks, mut running) = (Hooks::default().prepare(&config)?, BTreeMap::new());
        for settings in config.services() {
            running.insert(Arc::clone(&settings.name), Running::build(&config, settings, &hooks, &customize)?);
        }
        hooks.report(&config, named(&running))?;
        Ok(Self { inner: Arc::new(Inner { state: Mutex::new(State { config, hooks, running }), customize: Box::new(customize) }) })
    }

    /// The channel of a service.
    pub fn get(&self, service: &str) -> Option<LbChannel> {
        self.state().running.get(service).map(|running| running.channel().clone())
    }

    /// All of them, by service.
    pub fn all(&self) -> Vec<(Arc<str>, LbChannel)> {
        self.state().running.iter().map(|(name, running)| (Arc::clone(name), running.channel().clone())).collect()
    }

    /// The metrics of all of them in Prometheus' text form, for a scraper; `None` unless `metrics.enabled` is set and the feature `prometheus` on. Their
    /// `grpc.target` is the target, `configured:///` and the service's name where the endpoints are configured themselves. Those that were built before metrics were enabled are not among them.
    pub fn exposition(&self) -> Option<Result<String, String>> {
        self.state().hooks.exposition()
    }

    /// The configuration that counts.
    pub fn config(&self) -> Config {
        self.state().config.clone()
    }

    /// What of the configuration waits for [`rebuild`](Self::rebuild).
    pub fn waiting(&self) -> Diff {
        let state = self.state();
        let changed = state.running.values().flat_map(|running| running.waiting(&state.config)).collect();
        Diff { changed, ..Diff::default() }
    }

    /// Lets another configuration count, whole or not at all. Channels of new services are built, those of services that are gone are let
    /// go: they live on where the program still has them. Every channel tells its observers and subscribers what has changed for it.
    ///
    /// # Errors
    /// What cannot be built or changed; then all is as it was.
    pub fn apply(&self, new: Config) -> Result<Diff, ConfigureError> {
        let mut state = self.state();
        let applied = state.apply(&new, &*self.inner.customize);
        if let Err(error) = &applied {
            state.refuse(&error.to_string());
        }
        applied
    }

    /// Tells every channel that a new configuration could not even be read.
    pub(crate) fn refuse(&self, why: &str) {
        self.state().refuse(why);
    }

    /// Builds the channel of a service anew, by all that is configured. Clones of the one before live on as they are.
    ///
    /// # Errors
    /// No such service, or what cannot be built; the one before stays.
    pub fn rebuild(&self, service: &str) -> Result<LbChannel, ConfigureError> {
        let mut state = self.state();
        let config = state.config.clone();
        let settings = config.service(service).ok_or_else(|| unknown(&config, service))?;
        let running = Running::build(&config, settings, &state.hooks, &*self.inner.customize)?;
        let channel = running.channel().clone();
        state.running.insert(Arc::clone(&settings.name), running);
        state.report()?;
        Ok(channel)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Whoever panicked left a whole state: it changes at the end.
        self.inner.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn apply(&mut self, new: &Config, customize: &Customize) -> Result<Diff, ConfigureError> {
        let mut diff = self.config.diff(new);
        let hooks = self.hooks.prepare(new)?;
        let mut added = BTreeMap::new();
        for name in &diff.added {
            let settings = new.service(name).ok_or_else(|| unknown(new, name))?;
            added.insert(Arc::clone(name), Running::build(new, settings, &hooks, customize)?);
        }
        self.change_all(new)?;
        for (name, running) in &self.running {
            // A limit the channel was built without is no lever, whatever was said meanwhile.
            let waiting = running.waiting(new);
            let own = diff.changed.iter_mut().filter(|changed| changed.service.as_ref() == Some(name));
            own.for_each(|changed| changed.live &= !waiting.iter().any(|waiting| waiting.key == changed.key));
        }
        self.running.retain(|name, _| new.service(name).is_some());
        self.running.values().for_each(|running| running.tell(&diff));
        self.running.extend(added);
        self.config = new.clone();
        self.hooks = hooks;
        self.report()?;
        Ok(diff)
    }

    /// Reports the channels there are.
    fn report(&mut self) -> Result<(), ConfigureError> {
        self.hooks.report(&self.config, named(&self.running))
    }

    /// Changes every channel that stays, or none.
    fn change_all(&self, new: &Config) -> Result<(), ConfigureError> {
        let stays =
            self.running.iter().filter_map(|(name, running)| Some((running, self.config.service(name)?, new.service(name)?)));
        let stays: Vec<_> = stays.collect();
        for (at, (running, before, after)) in stays.iter().enumerate() {
            let Err(error) = running.change(before, after) else { continue };
            for (running, before, after) in &stays[..=at] {
                if let Err(error) = running.change(after, before) {
                    tracing::error!(target: "evenkeel", %error, "a configuration that counted is refused now");
                }
            }
            return Err(error);
        }
        Ok(())
    }

    fn refuse(&self, why: &str) {
        self.running.values().for_each(|running| running.channel().announce(LbEvent::SettingsRefused(why.into())));
    }
}

fn named(running: &BTreeMap<Arc<str>, Running>) -> impl Iterator<Item = (&str, &LbChannel)> {
    running.iter().map(|(name, running)| (&**name, running.channel()))
}

fn unknown(config: &Config, name: &str) -> ConfigureError {
    let known: Vec<&str> = config.services().map(|settings| &*settings.name).collect();
    ConfigureError::UnknownService { name: name.to_owned(), known: known.join(", ") }
}

impl fmt::Debug for Channels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.all()).finish()
    }
}
