//! Channelz: the channels, subchannels and sockets of this program for gRPC's standard tools, printed here as such a tool would.
//! Run it with `cargo run --example channelz --features channelz`.

#[path = "support/mod.rs"]
mod support;

use evenkeel::LbChannel;
use evenkeel::admin::channelz::Channelz;
use lb_testkit::channelz::channelz_client::ChannelzClient;
use lb_testkit::channelz::{ChannelData, GetSocketRequest, GetSubchannelRequest, GetTopChannelsRequest};
use lb_testkit::pb::EchoRequest;
use lb_testkit::pb::echo_client::EchoClient;
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::transport::{Endpoint, Server};

use support::{Failure, key, servers, serves, target, until};

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let mut backends = servers(2).await?;

    // One of these shows any number of channels, and keeps none of them alive.
    let channelz = Channelz::new();
    let channel = LbChannel::builder(target(&backends)).build()?;
    channelz.watch(&channel);

    // Served where operators come and strangers do not; here on loopback, at a port the system chooses.
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let serving = Server::builder().add_service(channelz.service()).serve_with_incoming(TcpListenerStream::new(listener));
    let serving = tokio::spawn(serving);
    println!("grpc.channelz.v1.Channelz at {address}");

    channel.exit_idle();
    let (s0, s1) = (key(&backends[0]), key(&backends[1]));
    until(&channel, "both serve", |endpoints| serves(endpoints, &s0) && serves(endpoints, &s1)).await?;
    let mut client = EchoClient::new(channel.clone());
    for _ in 0..10 {
        client.unary(EchoRequest::default()).await?;
    }
    backends[1].kill().await;
    until(&channel, "s1 is out", |endpoints| !serves(endpoints, &s1)).await?;

    let transport = Endpoint::from_shared(format!("http://{address}"))?.connect().await?;
    let sockets = print_tree(ChannelzClient::new(transport)).await?;
    assert_eq!(sockets, 1, "the connection that is left");
    serving.abort();
    Ok(())
}

/// What a tool does: from the channels to their subchannels to their sockets.
async fn print_tree(mut tool: ChannelzClient<tonic::transport::Channel>) -> Result<usize, Failure> {
    let mut sockets = 0;
    let page = tool.get_top_channels(GetTopChannelsRequest::default()).await?.into_inner();
    for channel in page.channel {
        print_data("channel", channel.data.unwrap_or_default());
        for child in channel.subchannel_ref {
            let request = GetSubchannelRequest { subchannel_id: child.subchannel_id };
            let subchannel = tool.get_subchannel(request).await?.into_inner().subchannel.unwrap_or_default();
            print_data("  subchannel", subchannel.data.unwrap_or_default());
            for child in subchannel.socket_ref {
                let request = GetSocketRequest { socket_id: child.socket_id };
                let socket = tool.get_socket(request).await?.into_inner().socket.unwrap_or_default();
                let data = socket.data.unwrap_or_default();
                println!("    socket {}: {} streams, {} messages sent", child.name, data.streams_started, data.messages_sent);
                sockets += 1;
            }
        }
    }
    Ok(sockets)
}

fn print_data(what: &str, data: ChannelData) {
    let state = data.state.unwrap_or_default().state();
    println!("{what} {}: {}, {} calls, {} ok", data.target, state.as_str_name(), data.calls_started, data.calls_succeeded);
    for event in data.trace.unwrap_or_default().events {
        println!("{:width$}- {}", "", event.description, width = what.len() - what.trim_start().len() + 2);
    }
}
