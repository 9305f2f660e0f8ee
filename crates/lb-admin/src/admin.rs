//! The door: an admin server, from its builder to its end.

use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use lb_tonic::LbChannel;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::app::{App, Settings};
use crate::config::ConfigSource;
#[cfg(feature = "config")]
use crate::configured::Configured;
use crate::error::AdminError;
use crate::limits::AdminLimits;
use crate::services::Services;
use crate::token::AdminToken;
use crate::{api, dashboard, server};

/// An admin server that runs; it stops when this is dropped, and gracefully by [`stop`](Self::stop).
#[derive(Debug)]
#[must_use = "an admin server that is dropped stops"]
pub struct Admin {
    addr: SocketAddr,
    services: Services,
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

/// Everything that can be chosen of an admin server. By default it listens on 127.0.0.1 at a port the system chooses, asks for no token,
/// and allows changes.
#[must_use = "nothing is served before `serve`"]
pub struct AdminBuilder {
    addr: SocketAddr,
    duplicate: Option<String>,
    settings: Settings,
}

impl Admin {
    /// Begins an admin server.
    pub fn builder() -> AdminBuilder {
        AdminBuilder { addr: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), duplicate: None, settings: Settings::default() }
    }

    /// Where it listens.
    pub fn local_addr(&self) -> SocketAddr {
        self.addr
    }

    /// Its channels: more can be added, and some removed, at any time.
    pub fn services(&self) -> &Services {
        &self.services
    }

    /// Stops: takes no more connections, lets requests in progress finish for a second, ends streams, and closes. Cancel safe: once called
    /// it stops, whether or not anybody waits.
    pub async fn stop(mut self) {
        self.stop.send_replace(true);
        // It was not cancelled by anybody; a panic of it is an end as well.
        let _ = (&mut self.task).await;
    }
}

impl Drop for Admin {
    fn drop(&mut self) {
        self.stop.send_replace(true);
    }
}

impl AdminBuilder {
    /// Shows and steers this channel under the name of a service. The channel is not kept alive.
    pub fn service(mut self, name: impl Into<Arc<str>>, channel: &LbChannel) -> Self {
        let name = name.into();
        if self.settings.services.get(&name).is_some() {
            self.duplicate.get_or_insert_with(|| name.to_string());
        }
        self.settings.services.add(name, channel);
        self
    }

    /// Shows and steers these channels, and those that are added to them later, in place of those named so far.
    pub fn services(mut self, services: &Services) -> Self {
        self.settings.services = services.clone();
        self
    }

    /// Listens on this address; port 0 is one the system chooses. Beyond loopback a [`token`](Self::token) is needed, and something before
    /// it that speaks TLS: tokens travel as they are.
    pub fn bind(mut self, addr: SocketAddr) -> Self {
        self.addr = addr;
        self
    }

    /// Asks for a token, everywhere, on loopback too. May be given several times: each opens.
    pub fn token(mut self, token: AdminToken) -> Self {
        self.settings.tokens.push(token);
        self
    }

    /// Allows nobody to change anything, whatever their token.
    pub fn read_only(mut self, read_only: bool) -> Self {
        self.settings.read_only = read_only;
        self
    }

    /// What one client may take of the server.
    pub fn limits(mut self, limits: AdminLimits) -> Self {
        self.settings.limits = limits;
        self
    }

    /// Serves what this returns at `/metrics`: metrics in Prometheus' text form, as those of `lb-telemetry`:
    /// `.metrics(move || prometheus.text())`. Called once per request; must not block for long.
    pub fn metrics<E: fmt::Display>(mut self, text: impl Fn() -> Result<String, E> + Send + Sync + 'static) -> Self {
        self.settings.metrics = Some(Box::new(move || text().map_err(|error| error.to_string())));
        self
    }

    /// Shows this configuration at `config`, and changes it there and by `reload`. It does not matter in which order they come: the
    /// server makes one change after the other.
    pub fn config(mut self, source: Arc<dyn ConfigSource>) -> Self {
        self.settings.config = Some(source);
        self
    }

    /// Shows and steers the channels of a configuration, whichever they are at any time, and shows and changes the configuration itself:
    /// `PUT config` replaces all that was said of it, `POST reload` reads `sources` again. What of it cannot count for channels that run
    /// is among the changes with `"live": false`. `performance` looks back as far as `metrics.performanceWindow` says, and `/metrics` has what [`exposition`](lb_config::Channels::exposition) says, unless
    /// other [`metrics`](Self::metrics) were given. This keeps the channels alive as long as the server runs.
    #[cfg(feature = "config")]
    pub fn configured(mut self, channels: &lb_config::Channels, sources: lb_config::Sources) -> Self {
        let listed = channels.clone();
        self.settings.services.follow(move || listed.all());
        self.settings.config = Some(Arc::new(Configured::new(channels.clone(), sources)));
        if self.settings.metrics.is_none() && channels.exposition().is_some() {
            let exposed = channels.clone();
            let off = || Err("metrics are switched off".to_owned());
            self.settings.metrics = Some(Box::new(move || exposed.exposition().unwrap_or_else(off)));
        }
        let configured = channels.clone();
        self.settings.window = Some(Box::new(move || configured.config().metrics().window));
        self
    }

    /// Begins to listen and to serve. Cancel safe: a server nobody got does not run.
    ///
    /// # Errors
    /// [`Exposed`](AdminError::Exposed) beyond loopback without a token; [`Duplicate`](AdminError::Duplicate);
    /// [`Bind`](AdminError::Bind).
    pub async fn serve(self) -> Result<Admin, AdminError> {
        if let Some(name) = self.duplicate {
            return Err(AdminError::Duplicate(name));
        }
        if self.settings.tokens.is_empty() && !self.addr.ip().to_canonical().is_loopback() {
            return Err(AdminError::Exposed(self.addr));
        }
        let bind = |source| AdminError::Bind { addr: self.addr, source };
        let listener = TcpListener::bind(self.addr).await.map_err(bind)?;
        let addr = listener.local_addr().map_err(bind)?;
        let (stop, stopping) = watch::channel(false);
        let services = self.settings.services.clone();
        let app = Arc::new(App::new(self.settings, stopping));
        let serving = server::run(listener, api::router(&app), Arc::clone(&app));
        let task = tokio::spawn(async move {
            tokio::join!(serving, dashboard::record(app));
        });
        Ok(Admin { addr, services, stop, task })
    }
}

impl fmt::Debug for AdminBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AdminBuilder")
            .field("addr", &self.addr)
            .field("services", &self.settings.services)
            .field("tokens", &self.settings.tokens)
            .field("read_only", &self.settings.read_only)
            .field("limits", &self.settings.limits)
            .finish_non_exhaustive()
    }
}
