//! Who calls.

use std::error::Error;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use evenkeel::{ConnectivityState, LbChannel};
use lb_testkit::pb::{EchoRequest, echo_client::EchoClient};
use serde_json::{Value, json};
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status};

/// A call that takes longer has failed.
pub(crate) const DEADLINE: Duration = Duration::from_secs(1);

/// Before measuring begins: connections, and what a policy learns in its first moments.
const WARM_UP: Duration = Duration::from_millis(600);
/// Servers report calls per second of the last whole second, without which `weighted_round_robin` has no weights.
const WARM_UP_OF_WEIGHTS: Duration = Duration::from_millis(2200);

/// With the settings of ours: see [`all`].
const PEER_WEIGHTS: &str = r#"weighted_round_robin={"blackoutPeriod":"0s","weightUpdatePeriod":"0.1s"}"#;

type Failure = Box<dyn Error + Send + Sync>;

/// One client of the comparison.
#[derive(Clone, Debug)]
pub(crate) struct Arm {
    pub(crate) name: String,
    pub(crate) kind: Kind,
    pub(crate) warm_up: Duration,
}

#[derive(Clone, Debug)]
pub(crate) enum Kind {
    /// Ours with this policy, so configured.
    Ours(&'static str, Value),
    /// tonic's own balancer.
    BalanceList,
    /// One of tonic's channels per endpoint, taken in turn, as programs do without a balancer.
    Channels,
    /// A program of its own with this policy.
    Peer(&'static str),
}

/// What is compared unless other names are asked for.
pub(crate) const USUAL: [&str; 14] = [
    "tonic balance_list",
    "tonic Channels",
    "grpc-go round_robin",
    "grpc-go weighted_round_robin",
    "grpc-go least_request",
    "round_robin",
    "weighted_round_robin",
    "least_request",
    "peak_ewma",
    "least_latency",
    "prequal",
    "prequal, no probes",
    "adaptive",
    "performance",
];

/// Every arm there is. Policies that pick by keys, wishes, localities or order are not: their shares do not depend on how endpoints do.
pub(crate) fn all() -> Vec<Arm> {
    let mut arms = vec![
        arm("tonic balance_list", Kind::BalanceList),
        arm("tonic Channels", Kind::Channels),
        arm("grpc-go round_robin", Kind::Peer("round_robin")),
        Arm { warm_up: WARM_UP_OF_WEIGHTS, ..arm("grpc-go weighted_round_robin", Kind::Peer(PEER_WEIGHTS)) },
        arm("grpc-go least_request", Kind::Peer("least_request_experimental")),
    ];
    let plain = ["round_robin", "random", "least_request", "peak_ewma", "least_latency", "prequal", "adaptive"];
    let scores = ["weighted", "performance", "task", "health_aware", "capability_aware", "cost_aware", "workload_aware"];
    arms.extend(plain.into_iter().chain(scores).map(|name| arm(name, Kind::Ours(name, json!({})))));
    // By default reports are gathered for 10 s before they count, longer than a measurement.
    let weights = json!({ "blackoutPeriod": "0s", "weightUpdatePeriod": "0.1s" });
    arms.push(Arm { warm_up: WARM_UP_OF_WEIGHTS, ..arm("weighted_round_robin", Kind::Ours("weighted_round_robin", weights)) });
    for (name, policy, config) in [
        ("least_request, full scan", "least_request", json!({ "selectionMethod": "FULL_SCAN" })),
        ("least_latency, full scan", "least_latency", json!({ "selectionMethod": "FULL_SCAN" })),
        ("prequal, no probes", "prequal", json!({ "probesPerCall": 0 })),
    ] {
        arms.push(arm(name, Kind::Ours(policy, config)));
    }
    arms
}

fn arm(name: &str, kind: Kind) -> Arm {
    Arm { name: name.to_owned(), kind, warm_up: WARM_UP }
}

/// A generated client.
#[derive(Clone, Debug)]
pub(crate) enum Client {
    Ours(EchoClient<LbChannel>),
    Tonic(EchoClient<Channel>),
    InTurn(Vec<EchoClient<Channel>>, Arc<AtomicUsize>),
}

impl Client {
    /// Ours has a connection to every endpoint when this returns; tonic's balancer connects with the first calls.
    pub(crate) async fn connect(kind: &Kind, addresses: &[SocketAddr]) -> Result<Self, Failure> {
        let endpoints = addresses.iter().map(|address| Endpoint::from_shared(format!("http://{address}")));
        let endpoints: Vec<Endpoint> = endpoints.collect::<Result<_, _>>()?;
        Ok(match kind {
            Kind::Ours(policy, config) => Self::Ours(EchoClient::new(ours(policy, config.clone(), addresses).await?)),
            Kind::BalanceList => Self::Tonic(EchoClient::new(Channel::balance_list(endpoints.into_iter()))),
            Kind::Channels => {
                let mut clients = Vec::new();
                for endpoint in endpoints {
                    clients.push(EchoClient::new(endpoint.connect().await?));
                }
                Self::InTurn(clients, Arc::default())
            }
            Kind::Peer(policy) => return Err(format!("{policy} of a peer is called in another process").into()),
        })
    }

    /// One unary call of 100 bytes.
    pub(crate) async fn call(&self, payload: &bytes::Bytes) -> Result<(), Status> {
        let mut request = Request::new(EchoRequest { payload: payload.clone(), ..EchoRequest::default() });
        request.set_timeout(DEADLINE);
        match self {
            Self::Ours(client) => client.clone().unary(request).await.map(drop),
            Self::Tonic(client) => client.clone().unary(request).await.map(drop),
            Self::InTurn(clients, turn) => {
                let mut client = clients[turn.fetch_add(1, Ordering::Relaxed) % clients.len()].clone();
                client.unary(request).await.map(drop)
            }
        }
    }
}

async fn ours(policy: &str, config: Value, addresses: &[SocketAddr]) -> Result<LbChannel, Failure> {
    let addresses: Vec<String> = addresses.iter().map(SocketAddr::to_string).collect();
    let builder = LbChannel::builder(format!("static:///{}", addresses.join(","))).policy((policy, config));
    let channel = builder.connect(Duration::from_secs(10)).await?;
    let mut events = channel.subscribe();
    while channel.endpoints().iter().any(|endpoint| endpoint.state != ConnectivityState::Ready) {
        events.next().await;
    }
    Ok(channel)
}
