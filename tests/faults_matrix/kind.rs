//! The kinds of calls.

use std::time::Duration;

use evenkeel::{LbChannel, PickOptions};
use lb_testkit::CALL_ID;
use lb_testkit::pb::EchoRequest;
use lb_testkit::pb::echo_client::EchoClient;
use tokio::sync::mpsc;
use tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::{Request, Status, Streaming};

/// Far beyond what any fault costs a call: a call that ends by its deadline is a finding.
const DEADLINE: Duration = Duration::from_secs(30);

/// Messages of a stream.
const MESSAGES: u32 = 3;

/// How long a server thinks before each reply, so that calls are in progress at any moment.
const THINK_MS: u32 = 2;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Unary, and may be executed twice.
    Unary,
    /// Unary, and must not.
    UnaryOnce,
    ServerStream,
    ClientStream,
    Bidi,
}

/// How far a call came that failed.
pub(crate) enum Broken {
    /// Not to the headers of a response.
    Unanswered(Status),
    /// Beyond them.
    Begun(Status),
}

impl From<Status> for Broken {
    fn from(status: Status) -> Self {
        Self::Unanswered(status)
    }
}

impl Kind {
    pub(crate) const ALL: [Self; 5] = [Self::Unary, Self::UnaryOnce, Self::ServerStream, Self::ClientStream, Self::Bidi];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Unary => "unary",
            Self::UnaryOnce => "unary, not idempotent",
            Self::ServerStream => "server stream",
            Self::ClientStream => "client stream",
            Self::Bidi => "bidi",
        }
    }

    /// Whether it may be executed twice.
    pub(crate) fn may_repeat(self) -> bool {
        self != Self::UnaryOnce
    }

    /// Whether the server answers with headers before it is done.
    pub(crate) fn answers_early(self) -> bool {
        matches!(self, Self::ServerStream | Self::Bidi)
    }

    /// Makes one call, and checks that it got all it asked for.
    pub(crate) async fn call(self, client: &mut EchoClient<LbChannel>, id: u64) -> Result<(), Broken> {
        match self {
            Self::Unary | Self::UnaryOnce => Ok(client.unary(named(echo(), id)).await.map(drop)?),
            Self::ServerStream => {
                let replies = client.server_stream(named(echo(), id)).await?.into_inner();
                complete(replies).await.map_err(Broken::Begun)
            }
            Self::ClientStream => {
                let messages = tokio_stream::iter((0..MESSAGES).map(|_| echo()));
                let reply = client.client_stream(named(messages, id)).await?.into_inner();
                assert_eq!(reply.received, MESSAGES, "the server missed messages of a call that succeeded");
                Ok(())
            }
            Self::Bidi => bidi(client, id).await,
        }
    }
}

/// Each message is sent when the one before is answered.
async fn bidi(client: &mut EchoClient<LbChannel>, id: u64) -> Result<(), Broken> {
    let (messages, sent) = mpsc::unbounded_channel();
    let _ = messages.send(echo());
    let mut replies = client.bidi(named(UnboundedReceiverStream::new(sent), id)).await?.into_inner();
    for number in 1..=MESSAGES {
        let reply = replies.message().await.map_err(Broken::Begun)?.expect("a stream that ends well answers every message");
        assert_eq!(reply.received, number);
        let _ = messages.send(echo());
    }
    // What was sent last is not waited for.
    drop(messages);
    while replies.message().await.map_err(Broken::Begun)?.is_some() {}
    Ok(())
}

async fn complete(mut replies: Streaming<lb_testkit::pb::EchoReply>) -> Result<(), Status> {
    let mut received = 0;
    while replies.message().await?.is_some() {
        received += 1;
    }
    assert_eq!(received, MESSAGES, "a stream that ended well lacks messages");
    Ok(())
}

fn echo() -> EchoRequest {
    EchoRequest { delay_ms: THINK_MS, count: MESSAGES, ..EchoRequest::default() }
}

/// A request that servers can tell from every other, with a deadline, and a key for policies that hash.
fn named<T>(message: T, id: u64) -> Request<T> {
    let id = id.to_string();
    let mut request = Request::new(message);
    request.set_timeout(DEADLINE);
    request.extensions_mut().insert(PickOptions::new().hash_key(&id));
    request.metadata_mut().insert(CALL_ID, id.parse().unwrap());
    request
}
