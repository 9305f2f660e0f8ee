//! The clients of this process.

mod direct;
mod everything;
mod observed;

use std::error::Error;
use std::time::Duration;

use evenkeel::breaker::BreakerConfig;
use evenkeel::retry::{RetryPolicy, Throttling};
use evenkeel::stages::OutlierConfig;
use evenkeel::transport::ClientTls;
use evenkeel::{ConnectivityState, LbChannel, LbChannelBuilder};
use lb_testkit::pb::{EchoReply, EchoRequest, echo_client::EchoClient};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint};
use tonic::{Request, Response, Status, Streaming};

use super::subject::Subject;
use direct::Direct;

/// The name in the servers' certificates.
pub(crate) const NAME: &str = "localhost";

/// How long connecting may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// Longer than any call here takes, and that of `tests/allocations.rs`: one with more digits costs an allocation more.
const DEADLINE: Duration = Duration::from_secs(5);

type Failure = Box<dyn Error>;

/// What to call.
pub(crate) struct Target<'a> {
    pub(crate) addresses: &'a [String],
    /// The authority of the servers' certificates, in PEM; `None` is plaintext.
    pub(crate) ca: Option<&'a str>,
}

/// A generated client over one of the channels.
#[derive(Clone)]
pub(crate) struct Client {
    over: Over,
    deadline: bool,
}

#[derive(Clone)]
enum Over {
    Tonic(EchoClient<Channel>),
    Ours(EchoClient<LbChannel>),
    Direct(EchoClient<Direct>),
}

/// One stream: a message out, a message back.
pub(crate) struct Conversation {
    requests: mpsc::Sender<EchoRequest>,
    replies: Streaming<EchoReply>,
}

impl Client {
    pub(crate) async fn connect(subject: Subject, target: &Target<'_>) -> Result<Self, Failure> {
        let over = match subject {
            Subject::BalanceList | Subject::BalanceListDeadline => {
                let endpoints = target.addresses.iter().map(|address| target.endpoint(address));
                Over::tonic(Channel::balance_list(endpoints.collect::<Result<Vec<_>, _>>()?.into_iter()))
            }
            Subject::OneChannel | Subject::Peer(_) => Over::tonic(target.endpoint(&target.addresses[0])?.connect().await?),
            Subject::Direct => Over::Direct(EchoClient::new(Direct::connect(target).await?).max_decoding_message_size(usize::MAX)),
            Subject::RoundRobin | Subject::Deadline => Over::ours(ready(target.builder()).await?),
            Subject::LeastRequest => Over::ours(ready(target.builder().policy("least_request")).await?),
            Subject::Guarded => Over::ours(ready(guarded(target.builder())?).await?),
            Subject::Observed => Over::ours(ready(target.builder().call_observer(observed::Nobody::new())).await?),
            Subject::Metrics => Over::ours(observed::with_metrics(target.builder()).await?),
            Subject::Everything => Over::ours(everything::connect(target.builder()).await?),
        };
        Ok(Self { over, deadline: matches!(subject, Subject::Deadline | Subject::BalanceListDeadline) })
    }

    /// One unary call.
    pub(crate) async fn call(&mut self, payload: &bytes::Bytes) -> Result<(), Status> {
        let request = self.dated(message(payload));
        match &mut self.over {
            Over::Tonic(client) => client.unary(request).await.map(drop),
            Over::Ours(client) => client.unary(request).await.map(drop),
            Over::Direct(client) => client.unary(request).await.map(drop),
        }
    }

    /// Opens a stream.
    pub(crate) async fn converse(&mut self) -> Result<Conversation, Status> {
        let (requests, outgoing) = mpsc::channel(1);
        let request = self.dated(ReceiverStream::new(outgoing));
        let replies = match &mut self.over {
            Over::Tonic(client) => client.bidi(request).await,
            Over::Ours(client) => client.bidi(request).await,
            Over::Direct(client) => client.bidi(request).await,
        };
        Ok(Conversation { requests, replies: replies.map(Response::into_inner)? })
    }

    fn dated<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        if self.deadline {
            request.set_timeout(DEADLINE);
        }
        request
    }
}

impl Over {
    fn tonic(channel: Channel) -> Self {
        Self::Tonic(EchoClient::new(channel))
    }

    fn ours(channel: LbChannel) -> Self {
        Self::Ours(EchoClient::new(channel))
    }
}

impl Conversation {
    /// One message out, one back.
    pub(crate) async fn turn(&mut self, payload: &bytes::Bytes) -> Result<(), Status> {
        self.requests.send(message(payload)).await.map_err(|_| Status::cancelled("the stream takes no more"))?;
        self.replies.message().await?.map(drop).ok_or_else(|| Status::cancelled("the stream has ended"))
    }

    /// Ends the stream and waits until the server has ended it too.
    pub(crate) async fn end(self) -> Result<(), Status> {
        let Self { requests, mut replies } = self;
        drop(requests);
        while replies.message().await?.is_some() {}
        Ok(())
    }
}

fn message(payload: &bytes::Bytes) -> EchoRequest {
    EchoRequest { payload: payload.clone(), ..Default::default() }
}

impl Target<'_> {
    fn endpoint(&self, address: &str) -> Result<Endpoint, tonic::transport::Error> {
        let Some(ca) = self.ca else { return Endpoint::from_shared(format!("http://{address}")) };
        let tls = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(ca)).domain_name(NAME);
        Endpoint::from_shared(format!("https://{address}"))?.tls_config(tls)
    }

    fn builder(&self) -> LbChannelBuilder {
        let builder = LbChannel::builder(format!("static:///{}", self.addresses.join(","))).policy("round_robin");
        match self.ca {
            Some(ca) => builder.tls(ClientTls::ca_certificate(ca)).authority(NAME),
            None => builder,
        }
    }
}

fn guarded(builder: LbChannelBuilder) -> Result<LbChannelBuilder, Failure> {
    let retrying = builder.retry(RetryPolicy::three_exponential()).retry_throttling(Throttling::try_new(100.0, 0.1)?);
    Ok(retrying.circuit_breaker(BreakerConfig::default()).outlier_detection(OutlierConfig::default()))
}

async fn ready(builder: LbChannelBuilder) -> Result<LbChannel, Failure> {
    let channel = builder.connect(PATIENCE).await?;
    let mut events = channel.subscribe();
    while channel.endpoints().iter().any(|endpoint| endpoint.state != ConnectivityState::Ready) {
        tokio::time::timeout(PATIENCE, events.next()).await?;
    }
    Ok(channel)
}
