//! The clients that are compared.

use std::error::Error;
use std::time::Duration;

use evenkeel::breaker::BreakerConfig;
use evenkeel::retry::{RetryPolicy, Throttling};
use evenkeel::stages::OutlierConfig;
use evenkeel::{ConnectivityState, LbChannel, LbChannelBuilder};
use lb_testkit::pb::{EchoRequest, echo_client::EchoClient};
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status};

use super::server::Servers;

/// Which channel carries the calls.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// The base of all ratios.
    BalanceList,
    /// One connection to one server.
    OneChannel,
    RoundRobin,
    LeastRequest,
    /// Round robin, every call with a deadline.
    Deadline,
    /// Round robin with retries, circuit breakers and outlier ejection, none of which has anything to do.
    Guarded,
    /// Round robin, observed by nobody who wants to hear more than the ends: what observing itself costs.
    #[cfg(feature = "prometheus")]
    Observed,
    /// Round robin, with every metric there is of channels and calls.
    #[cfg(feature = "prometheus")]
    Metrics,
}

/// A generated client over one of the channels.
#[derive(Clone)]
pub(crate) enum Client {
    Tonic(EchoClient<Channel>),
    Ours(EchoClient<LbChannel>),
    OursWithDeadline(EchoClient<LbChannel>),
}

impl Kind {
    pub(crate) const ALL: &[Self] = &[
        Self::BalanceList,
        Self::OneChannel,
        Self::RoundRobin,
        Self::LeastRequest,
        Self::Deadline,
        Self::Guarded,
        #[cfg(feature = "prometheus")]
        Self::Observed,
        #[cfg(feature = "prometheus")]
        Self::Metrics,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::BalanceList => "tonic `balance_list`",
            Self::OneChannel => "tonic `Channel`, one server",
            Self::RoundRobin => "evenkeel round_robin",
            Self::LeastRequest => "evenkeel least_request",
            Self::Deadline => "evenkeel round_robin, deadline",
            Self::Guarded => "evenkeel round_robin, guarded",
            #[cfg(feature = "prometheus")]
            Self::Observed => "evenkeel round_robin, observed",
            #[cfg(feature = "prometheus")]
            Self::Metrics => "evenkeel round_robin, metrics",
        }
    }
}

pub(crate) async fn connect(kind: Kind, servers: &Servers) -> Result<Client, Box<dyn Error>> {
    let endpoints = servers.addresses().iter().map(|address| Endpoint::from_shared(format!("http://{address}")));
    let endpoints: Vec<Endpoint> = endpoints.collect::<Result<_, _>>()?;
    Ok(match kind {
        Kind::BalanceList => Client::Tonic(EchoClient::new(Channel::balance_list(endpoints.into_iter()))),
        Kind::OneChannel => Client::Tonic(EchoClient::new(endpoints[0].connect().await?)),
        Kind::RoundRobin => Client::Ours(EchoClient::new(channel("round_robin", servers).await?)),
        Kind::LeastRequest => Client::Ours(EchoClient::new(channel("least_request", servers).await?)),
        Kind::Deadline => Client::OursWithDeadline(EchoClient::new(channel("round_robin", servers).await?)),
        Kind::Guarded => Client::Ours(EchoClient::new(ready(guarded(builder(servers))?).await?)),
        #[cfg(feature = "prometheus")]
        Kind::Observed => Client::Ours(EchoClient::new(ready(builder(servers).call_observer(observed::Nobody::new())).await?)),
        #[cfg(feature = "prometheus")]
        Kind::Metrics => Client::Ours(EchoClient::new(observed::with_metrics(builder(servers)).await?)),
    })
}

async fn channel(policy: &str, servers: &Servers) -> Result<LbChannel, Box<dyn Error>> {
    ready(builder(servers).policy(policy)).await
}

fn builder(servers: &Servers) -> LbChannelBuilder {
    LbChannel::builder(format!("static:///{}", servers.addresses().join(",")))
}

fn guarded(builder: LbChannelBuilder) -> Result<LbChannelBuilder, Box<dyn Error>> {
    let retrying = builder.retry(RetryPolicy::three_exponential()).retry_throttling(Throttling::try_new(100.0, 0.1)?);
    Ok(retrying.circuit_breaker(BreakerConfig::default()).outlier_detection(OutlierConfig::default()))
}

async fn ready(builder: LbChannelBuilder) -> Result<LbChannel, Box<dyn Error>> {
    let channel = builder.connect(Duration::from_secs(10)).await?;
    let mut events = channel.subscribe();
    while channel.endpoints().iter().any(|endpoint| endpoint.state != ConnectivityState::Ready) {
        events.next().await;
    }
    Ok(channel)
}

/// Calls that are observed.
#[cfg(feature = "prometheus")]
mod observed {
    use std::sync::Arc;

    use evenkeel::observe::{AttemptEnd, AttemptStart, AttemptTrace, CallEnd, CallObserver, CallStart, CallTrace};
    use evenkeel::telemetry::{MetricsConfig, Prometheus};

    use super::{Error, LbChannel, LbChannelBuilder, ready};

    /// Listens, and does nothing.
    #[derive(Debug, Clone)]
    pub(super) struct Nobody(Arc<Nothing>);

    #[derive(Debug)]
    pub(super) struct Nothing(Option<Arc<Self>>);

    impl Nobody {
        pub(super) fn new() -> Self {
            Self(Arc::new(Nothing(Some(Arc::new(Nothing(None))))))
        }
    }

    impl CallObserver for Nobody {
        fn call(&self, _: &CallStart<'_>) -> Option<Arc<dyn CallTrace>> {
            Some(Arc::clone(&self.0) as Arc<dyn CallTrace>)
        }
    }

    impl CallTrace for Nothing {
        fn attempt(&self, _: &AttemptStart) -> Option<Arc<dyn AttemptTrace>> {
            self.0.clone().map(|attempt| attempt as Arc<dyn AttemptTrace>)
        }

        fn end(&self, _: &CallEnd<'_>) {}
    }

    impl AttemptTrace for Nothing {
        fn end(&self, _: &AttemptEnd<'_>) {}
    }

    pub(super) async fn with_metrics(builder: LbChannelBuilder) -> Result<LbChannel, Box<dyn Error>> {
        let prometheus = Prometheus::new(MetricsConfig::new().per_endpoint(true).locality_label(true))?;
        let metrics = prometheus.metrics();
        let channel = ready(builder.observer(metrics.observer("bench")).call_observer(metrics.calls("bench"))).await?;
        metrics.watch(&channel);
        // Kept to the end of the process, as a program would.
        Box::leak(Box::new(prometheus));
        Ok(channel)
    }
}

impl Client {
    /// One unary call of 100 bytes.
    pub(crate) async fn call(&mut self, payload: &bytes::Bytes) -> Result<(), Status> {
        let mut request = Request::new(EchoRequest { payload: payload.clone(), ..Default::default() });
        let client = match self {
            Self::Tonic(client) => {
                client.unary(request).await?;
                return Ok(());
            }
            Self::Ours(client) => client,
            Self::OursWithDeadline(client) => {
                request.set_timeout(Duration::from_secs(10));
                client
            }
        };
        client.unary(request).await?;
        Ok(())
    }
}
