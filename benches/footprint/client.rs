//! The channels that are compared.

use std::error::Error;
use std::time::Duration;

use bytes::Bytes;
use evenkeel::transport::ClientTls;
use evenkeel::{ConnectivityState, LbChannel};
use lb_testkit::pb::{EchoRequest, echo_client::EchoClient};
use serde_json::json;
use tonic::transport::channel::Change;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint};
use tonic::{Request, Status};

use super::servers::NAME;

/// Endpoints of a subset, where there are subsets.
pub(crate) const SUBSET: usize = 20;

type Failure = Box<dyn Error + Send + Sync>;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Ours, connected to all endpoints.
    RoundRobin,
    /// Ours, connected to [`SUBSET`] of them.
    Subset,
    /// tonic's balancer.
    BalanceList,
    /// tonic's channel to one server, for each of them.
    Channels,
}

impl Kind {
    pub(crate) const ALL: [Self; 4] = [Self::RoundRobin, Self::Subset, Self::BalanceList, Self::Channels];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::RoundRobin => "round_robin",
            Self::Subset => "random_subsetting",
            Self::BalanceList => "tonic balance_list",
            Self::Channels => "tonic Channels",
        }
    }

    pub(crate) fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }

    /// How many of so many endpoints it connects to.
    pub(crate) fn connections(self, endpoints: usize) -> usize {
        if self == Self::Subset { endpoints.min(SUBSET) } else { endpoints }
    }
}

/// Generated clients.
#[derive(Clone, Debug)]
pub(crate) enum Client {
    Ours(Box<(EchoClient<LbChannel>, LbChannel)>),
    Tonic(Vec<EchoClient<Channel>>),
}

impl Client {
    /// A lazy one; nothing is connected yet.
    pub(crate) fn build(kind: Kind, addresses: &[String], ca: Option<&str>) -> Result<Self, Failure> {
        if let Kind::BalanceList | Kind::Channels = kind {
            let endpoints = endpoints(addresses, ca)?;
            let channels = if kind == Kind::BalanceList {
                vec![balance_list(endpoints)?]
            } else {
                endpoints.iter().map(Endpoint::connect_lazy).collect()
            };
            return Ok(Self::Tonic(channels.into_iter().map(EchoClient::new).collect()));
        }
        let mut builder = LbChannel::builder(format!("static:///{}", addresses.join(",")));
        if kind == Kind::Subset {
            let config = json!({ "subsetSize": SUBSET, "childPolicy": [{ "round_robin": {} }] });
            builder = builder.policy(("random_subsetting", config));
        } else {
            builder = builder.policy("round_robin");
        }
        if let Some(ca) = ca {
            builder = builder.tls(ClientTls::ca_certificate(ca)).authority(NAME);
        }
        let channel = builder.build()?;
        Ok(Self::Ours(Box::new((EchoClient::new(channel.clone()), channel))))
    }

    /// One unary call on every one of its channels.
    pub(crate) async fn call(&self, payload: &Bytes) -> Result<(), Status> {
        let request = || {
            let mut request = Request::new(EchoRequest { payload: payload.clone(), ..EchoRequest::default() });
            request.set_timeout(Duration::from_secs(30));
            request
        };
        match self {
            Self::Ours(ours) => ours.0.clone().unary(request()).await.map(drop),
            Self::Tonic(clients) => {
                for client in clients {
                    client.clone().unary(request()).await?;
                }
                Ok(())
            }
        }
    }

    /// Connections that can carry calls; tonic's channels do not say.
    pub(crate) fn ready(&self) -> Option<usize> {
        match self {
            Self::Ours(ours) => {
                let channel = &ours.1;
                Some(channel.endpoints().iter().filter(|endpoint| endpoint.state == ConnectivityState::Ready).count())
            }
            Self::Tonic(_) => None,
        }
    }

    /// Calls that together are one for each endpoint.
    pub(crate) fn calls_for(&self, endpoints: usize) -> usize {
        match self {
            Self::Tonic(clients) if clients.len() == endpoints => 1,
            Self::Ours(..) | Self::Tonic(_) => endpoints,
        }
    }
}

/// As tonic's own `balance_list`, which panics beyond 1024 endpoints.
fn balance_list(endpoints: Vec<Endpoint>) -> Result<Channel, Failure> {
    let (channel, changes) = Channel::balance_channel(endpoints.len().max(1024));
    for endpoint in endpoints {
        changes.try_send(Change::Insert(endpoint.uri().clone(), endpoint))?;
    }
    Ok(channel)
}

fn endpoints(addresses: &[String], ca: Option<&str>) -> Result<Vec<Endpoint>, Failure> {
    let scheme = if ca.is_some() { "https" } else { "http" };
    let endpoint = |address: &String| -> Result<Endpoint, Failure> {
        let endpoint = Endpoint::from_shared(format!("{scheme}://{address}"))?;
        Ok(match ca {
            None => endpoint,
            Some(ca) => {
                let tls = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(ca)).domain_name(NAME);
                endpoint.tls_config(tls)?
            }
        })
    };
    addresses.iter().map(endpoint).collect()
}
