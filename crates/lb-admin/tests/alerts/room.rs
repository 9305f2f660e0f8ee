//! A configured channel, its servers, the admin server, and a scraper.

use std::net::SocketAddr;
use std::time::Duration;

use lb_admin::Admin;
use lb_config::{Channels, Config};
use lb_testkit::EchoServer;
use lb_testkit::pb::EchoRequest;
use lb_testkit::pb::echo_client::EchoClient;
use lb_tonic::{LbChannel, LbChannelBuilder};
use serde_json::{Value, json};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::client::{ask, get};

const PATIENCE: Duration = Duration::from_secs(40);

/// What `/metrics` said.
pub(crate) struct Scrape(String);

impl Scrape {
    /// The sum over the series of this name with these labels.
    pub(crate) fn sum(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let begin = format!("{name}{{");
        let has = |line: &str| labels.iter().all(|(label, value)| line.contains(&format!("{label}=\"{value}\"")));
        let lines = self.0.lines().filter(|line| line.starts_with(&begin) && has(line));
        lines.map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap()).sum()
    }
}

/// Whether an alert would fire.
type Alert = fn(&Scrape, &Scrape) -> bool;

pub(crate) struct Room {
    pub(crate) servers: Vec<EchoServer>,
    channels: Channels,
    admin: Admin,
}

impl Room {
    /// A service `orders` of so many servers, all of them connected.
    pub(crate) async fn new(count: usize, mut settings: Value) -> Self {
        let mut servers = Vec::new();
        for index in 0..count {
            servers.push(EchoServer::start(&format!("s{index}")).await.unwrap());
        }
        settings["endpoints"] = servers.iter().map(|server| server.addr().to_string()).collect();
        let room = Self::with(servers, settings, |builder| builder).await;
        let connected = async {
            let mut events = room.channel().subscribe();
            while room.channel().stats().totals.taking_calls < count {
                events.next().await.unwrap();
            }
        };
        tokio::time::timeout(PATIENCE, connected).await.unwrap();
        room
    }

    pub(crate) async fn with(
        servers: Vec<EchoServer>,
        settings: Value,
        customize: impl Fn(LbChannelBuilder) -> LbChannelBuilder + Send + Sync + 'static,
    ) -> Self {
        let sources = Config::sources().defaults(json!({"metrics": true, "services": {"orders": settings}}));
        let channels = Channels::build_with(sources.load().unwrap(), move |_, builder| customize(builder)).unwrap();
        channels.get("orders").unwrap().exit_idle();
        let admin = Admin::builder().configured(&channels, sources).serve().await.unwrap();
        Self { servers, channels, admin }
    }

    pub(crate) fn channel(&self) -> LbChannel {
        self.channels.get("orders").unwrap()
    }

    pub(crate) fn addr(&self) -> SocketAddr {
        self.admin.local_addr()
    }

    pub(crate) async fn get(&self, path: &str) -> Value {
        get(path).of(self.addr()).await.json()
    }

    /// Drains, enables or disables the endpoint of a server.
    pub(crate) async fn lever(&self, index: usize, lever: &str) {
        let instance = self.servers[index].addr().to_string().replace(':', "%3A");
        let answer = ask("POST", format!("/api/v1/loadbalancer/instances/orders/{instance}/{lever}")).of(self.addr()).await;
        assert!(answer.status == 200 || answer.status == 202, "{answer:?}");
    }

    /// A call that is on its way.
    pub(crate) fn call(&self) -> JoinHandle<bool> {
        let mut client = EchoClient::new(self.channel());
        tokio::spawn(async move { client.unary(EchoRequest::default()).await.is_ok() })
    }

    /// Makes so many calls, one after the other, and says how many failed.
    pub(crate) async fn calls(&self, count: usize) -> usize {
        let mut failed = 0;
        for _ in 0..count {
            failed += usize::from(!tokio::time::timeout(PATIENCE, self.call()).await.unwrap().unwrap());
        }
        failed
    }

    pub(crate) async fn scrape(&self) -> Scrape {
        let answer = get("/metrics").of(self.addr()).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        Scrape(answer.body)
    }

    async fn becomes(&self, since: Option<&Scrape>, alert: Alert, fires: bool) {
        let limit = Instant::now() + PATIENCE;
        let mut last = self.scrape().await;
        loop {
            let now = self.scrape().await;
            if alert(since.unwrap_or(&last), &now) == fires {
                return;
            }
            assert!(Instant::now() < limit, "it should {}: {}", if fires { "fire" } else { "end" }, now.0);
            last = now;
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Until the alert would fire.
    pub(crate) async fn fires(&self, alert: Alert) {
        self.becomes(None, alert, true).await;
    }

    /// The same over all that has been since.
    pub(crate) async fn fires_since(&self, since: &Scrape, alert: Alert) {
        self.becomes(Some(since), alert, true).await;
    }

    /// Until it would not.
    pub(crate) async fn ends(&self, alert: Alert) {
        self.becomes(None, alert, false).await;
    }

    /// It does not fire for what has been since.
    pub(crate) async fn is_over_since(&self, since: &Scrape, alert: Alert) {
        let now = self.scrape().await;
        assert!(!alert(since, &now), "{}", now.0);
    }
}
