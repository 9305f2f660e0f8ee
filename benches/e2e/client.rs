//! The clients that are compared.

use std::error::Error;
use std::time::Duration;

use evenkeel::{ConnectivityState, LbChannel};
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
}

/// A generated client over one of the channels.
#[derive(Clone)]
pub(crate) enum Client {
    Tonic(EchoClient<Channel>),
    Ours(EchoClient<LbChannel>),
    OursWithDeadline(EchoClient<LbChannel>),
}

impl Kind {
    pub(crate) const ALL: [Self; 5] = [Self::BalanceList, Self::OneChannel, Self::RoundRobin, Self::LeastRequest, Self::Deadline];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::BalanceList => "tonic `balance_list`",
            Self::OneChannel => "tonic `Channel`, one server",
            Self::RoundRobin => "evenkeel round_robin",
            Self::LeastRequest => "evenkeel least_request",
            Self::Deadline => "evenkeel round_robin, deadline",
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
    })
}

async fn channel(policy: &str, servers: &Servers) -> Result<LbChannel, Box<dyn Error>> {
    let target = format!("static:///{}", servers.addresses().join(","));
    let channel = LbChannel::builder(target).policy(policy).connect(Duration::from_secs(10)).await?;
    let mut events = channel.subscribe();
    while channel.endpoints().iter().any(|endpoint| endpoint.state != ConnectivityState::Ready) {
        events.next().await;
    }
    Ok(channel)
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
