//! A channelz server, its client, and channels to look at.

use std::time::Duration;

use lb_admin::channelz::{Channelz, ChannelzConfig};
use lb_testkit::EchoServer;
use lb_testkit::channelz::channelz_client::ChannelzClient;
use lb_testkit::channelz::{Channel, GetChannelRequest, GetSocketRequest, GetSubchannelRequest, GetTopChannelsRequest};
use lb_testkit::channelz::{Socket, Subchannel};
use lb_testkit::pb::EchoRequest;
use lb_testkit::pb::echo_client::EchoClient;
use lb_tonic::LbChannel;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::Status;
use tonic::transport::{Endpoint, Server};

const PATIENCE: Duration = Duration::from_secs(20);

/// A server that shows `channelz`, and a client of it.
pub(crate) struct Looking {
    pub(crate) channelz: Channelz,
    /// Where it listens.
    pub(crate) address: String,
    pub(crate) client: ChannelzClient<tonic::transport::Channel>,
    serving: JoinHandle<()>,
}

impl Looking {
    pub(crate) async fn new() -> Self {
        Self::at(Channelz::with_config(ChannelzConfig::new().subchannel_events(32))).await
    }

    pub(crate) async fn at(channelz: Channelz) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let server = Server::builder().add_service(channelz.service());
        let serving = tokio::spawn(async move { server.serve_with_incoming(TcpListenerStream::new(listener)).await.unwrap() });
        let transport = Endpoint::from_shared(format!("http://{address}")).unwrap().connect().await.unwrap();
        Self { channelz, address, client: ChannelzClient::new(transport), serving }
    }

    /// Every channel, page by page.
    pub(crate) async fn channels(&mut self) -> Vec<Channel> {
        let (mut found, mut start_channel_id) = (Vec::new(), 0);
        loop {
            let page = self.page(start_channel_id, 0).await.unwrap();
            start_channel_id = page.0.last().map_or(0, |last| channel_id(last) + 1);
            found.extend(page.0);
            if page.1 {
                return found;
            }
        }
    }

    /// One page and whether it is the last.
    pub(crate) async fn page(&mut self, start_channel_id: i64, max_results: i64) -> Result<(Vec<Channel>, bool), Status> {
        let answer = self.client.get_top_channels(GetTopChannelsRequest { start_channel_id, max_results }).await?.into_inner();
        Ok((answer.channel, answer.end))
    }

    pub(crate) async fn channel(&mut self, channel_id: i64) -> Result<Channel, Status> {
        Ok(self.client.get_channel(GetChannelRequest { channel_id }).await?.into_inner().channel.unwrap())
    }

    pub(crate) async fn subchannel(&mut self, subchannel_id: i64) -> Result<Subchannel, Status> {
        Ok(self.client.get_subchannel(GetSubchannelRequest { subchannel_id }).await?.into_inner().subchannel.unwrap())
    }

    pub(crate) async fn socket(&mut self, socket_id: i64) -> Result<Socket, Status> {
        Ok(self.client.get_socket(GetSocketRequest { socket_id }).await?.into_inner().socket.unwrap())
    }

    /// The subchannels of a channel.
    pub(crate) async fn subchannels(&mut self, channel: &Channel) -> Vec<Subchannel> {
        let mut found = Vec::new();
        for child in &channel.subchannel_ref {
            found.push(self.subchannel(child.subchannel_id).await.unwrap());
        }
        found
    }

    /// Looks at the subchannel of an endpoint of the first channel until it is as wanted.
    pub(crate) async fn until(&mut self, what: &str, wanted: impl Fn(&Subchannel) -> bool) -> Subchannel {
        let look = async {
            loop {
                let channel = self.channels().await.remove(0);
                for child in &channel.subchannel_ref {
                    // It may go between two looks.
                    match self.subchannel(child.subchannel_id).await {
                        Ok(subchannel) if wanted(&subchannel) => return subchannel,
                        _ => {}
                    }
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(PATIENCE, look).await.unwrap_or_else(|_| panic!("never: {what}"))
    }
}

impl Drop for Looking {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

pub(crate) fn channel_id(channel: &Channel) -> i64 {
    channel.r#ref.as_ref().unwrap().channel_id
}

/// A channel to these servers.
pub(crate) fn channel(servers: &[&EchoServer]) -> LbChannel {
    let addresses: Vec<String> = servers.iter().map(|server| server.addr().to_string()).collect();
    LbChannel::builder(format!("static:///{}", addresses.join(","))).build().unwrap()
}

pub(crate) async fn call(channel: &LbChannel) {
    EchoClient::new(channel.clone()).unary(EchoRequest::default()).await.unwrap();
}

/// Waits for a condition.
pub(crate) async fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let wait = async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(PATIENCE, wait).await.unwrap_or_else(|_| panic!("never: {what}"));
}
