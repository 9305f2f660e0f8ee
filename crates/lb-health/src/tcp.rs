//! The check by connecting.

use std::io;
use std::sync::Arc;

use futures_util::stream;
use lb_core::{Address, EndpointStats, HealthCheck, HealthStream, HealthSubject, ServingStatus, Triggered};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::{Instant, timeout};

use crate::config::PollConfig;
use crate::entropy::Seeds;
use crate::poll::{Poller, Verdict};

/// Connects to the address of a connection at intervals, sends nothing, and closes.
///
/// It judges whether the address accepts, not whether the service serves, and not the connection it was started for: prefer
/// [`GrpcHealthCheck`](crate::GrpcHealthCheck) where the server has a health service. Host names are looked up at each probe. A server may log a
/// connection without a request at every interval.
///
/// ```
/// use std::time::Duration;
/// use lb_health::{PollConfig, TcpProbe};
///
/// let probe = TcpProbe::new(PollConfig::default().with_interval(Duration::from_secs(10))?);
/// # let _ = probe;
/// # Ok::<(), lb_core::ConfigError>(())
/// ```
#[derive(Debug)]
pub struct TcpProbe {
    config: PollConfig,
    seeds: Seeds,
}

impl TcpProbe {
    /// A probe as configured.
    pub fn new(config: PollConfig) -> Self {
        Self { config, seeds: Seeds::random() }
    }

    /// Makes the spread of probes repeatable.
    #[must_use]
    pub fn with_seed(self, seed: u64) -> Self {
        Self { seeds: Seeds::from(seed), ..self }
    }
}

impl Default for TcpProbe {
    /// Probes with [`PollConfig`]'s default.
    fn default() -> Self {
        Self::new(PollConfig::default())
    }
}

impl<T> HealthCheck<T> for TcpProbe {
    fn watch(&self, subject: HealthSubject<T>) -> HealthStream {
        let HealthSubject { address, check_now, stats, .. } = subject;
        let probing = Probing { address, check_now, stats, poller: Poller::new(self.config, self.seeds.entropy()) };
        Box::pin(stream::unfold(probing, |probing| async move { Some(probing.next().await) }))
    }
}

struct Probing {
    address: Address,
    check_now: Triggered,
    stats: Option<Arc<EndpointStats>>,
    poller: Poller,
}

impl Probing {
    async fn next(mut self) -> (ServingStatus, Self) {
        loop {
            self.poller.turn(&mut self.check_now).await;
            let asked = Instant::now();
            let verdict = self.probe().await;
            self.stats.iter().for_each(|stats| {
                stats.checked(Instant::now().into_std(), Some(asked.elapsed()), verdict.is_ok());
            });
            if let Some(status) = self.poller.take(verdict) {
                return (status, self);
            }
        }
    }

    async fn probe(&self) -> Verdict {
        let limit = self.poller.config().timeout;
        match timeout(limit, connect(&self.address)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(format!("TCP probe of {}: {error}", self.address).into()),
            Err(_) => Err(format!("TCP probe of {}: not connected within {limit:?}", self.address).into()),
        }
    }
}

async fn connect(address: &Address) -> io::Result<()> {
    match address {
        Address::Tcp(addr) => TcpStream::connect(addr).await.map(drop),
        Address::Host(name, port) => TcpStream::connect((&**name, *port)).await.map(drop),
        Address::Unix(path) => UnixStream::connect(path).await.map(drop),
        // tokio takes a path that begins with NUL for an abstract name.
        Address::UnixAbstract(name) => UnixStream::connect(format!("\0{name}")).await.map(drop),
        other => Err(io::Error::new(io::ErrorKind::Unsupported, format!("{other} cannot be connected to"))),
    }
}
