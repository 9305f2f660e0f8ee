//! Channels to look at, and servers that show them.

use std::time::Duration;

use lb_admin::{Admin, AdminBuilder};
use lb_testkit::EchoServer;
use lb_tonic::LbChannel;

pub(crate) const OPERATOR: &str = "the-operators-secret";
pub(crate) const READER: &str = "the-readers-secret-1";

/// A channel whose endpoints nobody answers for, and which never connects by itself.
pub(crate) fn idle(endpoints: &[&str]) -> LbChannel {
    LbChannel::builder(format!("static:///{}", endpoints.join(","))).build().unwrap()
}

/// A channel with servers.
pub(crate) struct Live {
    pub(crate) servers: Vec<EchoServer>,
    pub(crate) channel: LbChannel,
}

impl Live {
    pub(crate) async fn start(count: usize) -> Self {
        Self::with(count, |builder| builder).await
    }

    pub(crate) async fn with(count: usize, more: impl FnOnce(lb_tonic::LbChannelBuilder) -> lb_tonic::LbChannelBuilder) -> Self {
        let mut servers = Vec::new();
        for index in 0..count {
            servers.push(EchoServer::start(&format!("s{index}")).await.unwrap());
        }
        let addresses: Vec<_> = servers.iter().map(|server| server.addr().to_string()).collect();
        let builder = LbChannel::builder(format!("static:///{}", addresses.join(","))).policy("round_robin");
        let channel = more(builder).build().unwrap();
        channel.exit_idle();
        let live = Self { servers, channel };
        live.until(|channel| channel.stats().totals.taking_calls == count).await;
        live
    }

    /// The name of an endpoint in a path.
    pub(crate) fn instance(&self, index: usize) -> String {
        self.servers[index].addr().to_string().replace(':', "%3A")
    }

    pub(crate) async fn until(&self, wanted: impl Fn(&LbChannel) -> bool) {
        let mut events = self.channel.subscribe();
        let seen = async {
            while !wanted(&self.channel) {
                events.next().await.unwrap();
            }
        };
        tokio::time::timeout(Duration::from_secs(5), seen).await.unwrap_or_else(|_| panic!("{:?}", self.channel));
    }
}

/// A server with a service `orders`, not started.
pub(crate) fn orders(channel: &LbChannel) -> AdminBuilder {
    Admin::builder().service("orders", channel)
}
