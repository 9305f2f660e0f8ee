//! What the small examples share: servers in this process, and waiting for a channel to see something.
#![allow(dead_code, reason = "each example uses a part of it")]

use std::error::Error;
use std::io;
use std::time::Duration;

use evenkeel::{ConnectivityState, EndpointInfo, EndpointKey, LbChannel, PickedEndpoint};
use lb_testkit::EchoServer;
use lb_testkit::pb::EchoReply;
use tonic::Response;

/// Whatever goes wrong in an example.
pub(crate) type Failure = Box<dyn Error>;

/// The longest wait for something that takes a moment.
pub(crate) const PATIENCE: Duration = Duration::from_secs(5);

/// Starts so many servers, named `s0`, `s1` and so on.
pub(crate) async fn servers(count: usize) -> io::Result<Vec<EchoServer>> {
    let mut servers = Vec::new();
    for index in 0..count {
        servers.push(EchoServer::start(&format!("s{index}")).await?);
    }
    Ok(servers)
}

/// The target that lists these servers.
pub(crate) fn target(servers: &[EchoServer]) -> String {
    let addresses: Vec<String> = servers.iter().map(|server| server.addr().to_string()).collect();
    format!("static:///{}", addresses.join(","))
}

/// What a channel calls a server.
pub(crate) fn key(server: &EchoServer) -> EndpointKey {
    server.endpoint().key().clone()
}

/// Says who answered, and where the channel had sent the call.
pub(crate) fn tell(what: &str, response: &Response<EchoReply>) {
    let server = &response.get_ref().server;
    match response.extensions().get::<PickedEndpoint>() {
        Some(picked) => println!("{what:<44} -> {server} at {}", picked.address()),
        None => println!("{what:<44} -> {server}"),
    }
}

/// Waits until the endpoints of a channel are as wanted; `what` says so for people.
pub(crate) async fn until(channel: &LbChannel, what: &str, wanted: impl Fn(&[EndpointInfo]) -> bool) -> Result<(), Failure> {
    // Subscribed before the first look, so that nothing can happen unseen between the two.
    let mut events = channel.subscribe();
    let seen = async {
        while !wanted(&channel.endpoints()) {
            if events.next().await.is_none() {
                return;
            }
        }
    };
    tokio::time::timeout(PATIENCE, seen)
        .await
        .map_err(|_| format!("not within {PATIENCE:?}: {what}; the channel is {channel:?}").into())
}

/// Whether this endpoint takes calls now.
pub(crate) fn serves(endpoints: &[EndpointInfo], key: &EndpointKey) -> bool {
    let takes_calls = |endpoint: &EndpointInfo| endpoint.state == ConnectivityState::Ready && endpoint.excluded.is_none();
    endpoints.iter().any(|endpoint| endpoint.key == *key && takes_calls(endpoint))
}
