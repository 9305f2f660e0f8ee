//! The servers of a cell, one of which gets the fault, and the channel to them.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use evenkeel::transport::TransportConfig;
use evenkeel::{BackoffConfig, LbChannel, LbChannelBuilder};
use lb_testkit::netns::Namespace;
use lb_testkit::{EchoProcess, EchoServer, EchoServerBuilder, FaultProxy, Ledger};
use tokio::task::JoinSet;

#[cfg(feature = "dns")]
use crate::dns;
use crate::support::target;
#[cfg(feature = "tls-ring")]
use crate::tls;
use crate::watch::Watch;

/// How long nothing may arrive on a connection before it is asked whether it lives.
pub(crate) const KEEPALIVE_TIME: Duration = Duration::from_millis(200);
/// How long it may take to answer. Long enough for a server that shares a busy machine.
pub(crate) const KEEPALIVE_TIMEOUT: Duration = Duration::from_millis(1_500);
/// How long an attempt to connect may take.
pub(crate) const CONNECT_TIMEOUT: Duration = Duration::from_millis(1_000);
/// The longest pause between two attempts, without its jitter.
pub(crate) const LONGEST_BACKOFF: Duration = Duration::from_millis(500);

/// What the victim is, and with it the other endpoints.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// A server behind a network that can misbehave.
    Proxied,
    /// A process of its own.
    Process,
    /// A process with a network of its own.
    Apart,
    /// As `Proxied`, and everybody speaks TLS.
    #[cfg(feature = "tls-ring")]
    Tls,
    /// The name server that lists the endpoints.
    #[cfg(feature = "dns")]
    Dns,
}

impl Place {
    /// Whether the victim is an endpoint, the first one of the target.
    pub(crate) fn is_endpoint(self) -> bool {
        #[cfg(feature = "dns")]
        if self == Self::Dns {
            return false;
        }
        true
    }
}

/// The servers of a cell. The victim is `process` or, where there is none, `proxy` with `server` behind it.
pub(crate) struct Site {
    pub(crate) proxy: Arc<FaultProxy>,
    pub(crate) server: EchoServer,
    process: Option<EchoProcess>,
    others: Vec<EchoServer>,
    /// What the fault puts in place of `server`.
    pub(crate) bad: Option<EchoServer>,
    #[cfg(feature = "dns")]
    names: Option<lb_testkit::services::Knot>,
    #[cfg(feature = "tls-ring")]
    certificates: Option<tls::Certificates>,
    pub(crate) ledger: Ledger,
    /// How often connections were lost with calls on them.
    pub(crate) losses: Arc<AtomicU64>,
    tasks: JoinSet<()>,
}

impl Site {
    /// `None` where something is missing that this place needs.
    pub(crate) async fn start(place: Place) -> Option<Self> {
        let ledger = Ledger::new().unwrap();
        #[cfg(feature = "tls-ring")]
        let certificates = (place == Place::Tls).then(tls::Certificates::new);
        let builder = |name: &str| {
            let builder = EchoServer::builder().name(name).ledger(ledger.path());
            #[cfg(feature = "tls-ring")]
            let builder = match &certificates {
                Some(certificates) => certificates.good(builder),
                None => builder,
            };
            builder
        };
        let others = vec![builder("first").start().await.unwrap(), builder("second").start().await.unwrap()];
        let server = builder("victim").start().await.unwrap();
        let flags = ["--ledger", ledger.path().to_str().unwrap()];
        let process = match place {
            Place::Process => Some(EchoProcess::spawn_with("victim", &flags).await.unwrap()),
            Place::Apart => Some(EchoProcess::spawn_in(Namespace::new().unwrap(), "victim", &flags).await.unwrap()),
            _ => None,
        };
        #[allow(unused_mut, reason = "only with DNS")]
        let mut site = Self {
            proxy: Arc::new(FaultProxy::start(server.addr()).await.unwrap()),
            server,
            process,
            others,
            bad: None,
            #[cfg(feature = "dns")]
            names: None,
            #[cfg(feature = "tls-ring")]
            certificates,
            ledger,
            losses: Arc::default(),
            tasks: JoinSet::new(),
        };
        #[cfg(feature = "dns")]
        if place == Place::Dns {
            site.names = Some(dns::start(&site.addrs())?);
        }
        Some(site)
    }

    /// The victim is the first one, which matters to a policy that takes the first.
    fn addrs(&self) -> Vec<SocketAddr> {
        [self.addr()].into_iter().chain(self.others.iter().map(EchoServer::addr)).collect()
    }

    /// Where the channel finds the victim.
    pub(crate) fn addr(&self) -> SocketAddr {
        self.process.as_ref().map_or_else(|| self.proxy.addr(), EchoProcess::addr)
    }

    /// What to watch: the victim, or the resolver where its name server is the victim.
    pub(crate) fn watch(&self) -> Watch {
        #[cfg(feature = "dns")]
        if self.names.is_some() {
            return Watch::new(None);
        }
        Watch::new(Some(self.addr().to_string()))
    }

    /// The channel's settings, all but the policy.
    pub(crate) fn builder(&self) -> LbChannelBuilder {
        let backoff = BackoffConfig::try_new(Duration::from_millis(50), 1.6, LONGEST_BACKOFF, 0.2, CONNECT_TIMEOUT).unwrap();
        let transport = TransportConfig::new()
            .keepalive_time_unchecked(KEEPALIVE_TIME)
            .keepalive_timeout(KEEPALIVE_TIMEOUT)
            .connect_timeout(CONNECT_TIMEOUT);
        let builder = self.targeted().backoff(backoff).transport(transport);
        #[cfg(feature = "tls-ring")]
        let builder = match &self.certificates {
            Some(certificates) => builder.authority(tls::NAME).tls(certificates.client()),
            None => builder,
        };
        builder
    }

    fn targeted(&self) -> LbChannelBuilder {
        #[cfg(feature = "dns")]
        if let Some(names) = &self.names {
            return dns::builder(names);
        }
        LbChannel::builder(target(self.addrs()))
    }

    pub(crate) fn process(&mut self) -> &mut EchoProcess {
        self.process.as_mut().expect("this fault is one of processes")
    }

    /// What leads to the process.
    pub(crate) fn cable(&mut self) -> &Namespace {
        self.process().namespace().expect("this fault is one of cables")
    }

    #[cfg(feature = "dns")]
    pub(crate) fn names(&self) -> &lb_testkit::services::Knot {
        self.names.as_ref().expect("this fault is one of name servers")
    }

    #[cfg(feature = "tls-ring")]
    pub(crate) fn certificates(&self) -> &tls::Certificates {
        self.certificates.as_ref().expect("this fault is one of TLS")
    }

    /// A server for the victim's place; it writes into the same ledger.
    pub(crate) fn another(&self) -> EchoServerBuilder {
        EchoServer::builder().name("bad").ledger(self.ledger.path())
    }

    /// New connections lead to `bad`; the server sends those that are open away, in good order.
    pub(crate) fn replace(&mut self, bad: EchoServer) {
        self.proxy.redirect(bad.addr());
        self.server.goaway();
        self.bad = Some(bad);
    }

    /// The opposite.
    pub(crate) fn put_back(&self) {
        self.proxy.redirect(self.server.addr());
        self.bad.iter().for_each(EchoServer::goaway);
    }

    /// Goes on beside the calls until [`calm`](Self::calm).
    pub(crate) fn beside(&mut self, task: impl Future<Output = ()> + Send + 'static) {
        self.tasks.spawn(task);
    }

    pub(crate) async fn calm(&mut self) {
        self.tasks.shutdown().await;
    }
}
