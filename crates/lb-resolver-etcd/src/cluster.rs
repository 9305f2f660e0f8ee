//! The members of one etcd, of which one is used at a time.

use lb_core::Entropy;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;
use tonic::transport::Endpoint;

use crate::config::EtcdConfig;
use crate::failure::Cause;
use crate::failure::Failure;
use crate::failure::push_sources;
use crate::member::Member;
use crate::rpc::Rpc;
use crate::tls::EtcdTls;
use crate::tls::apply;

/// Knows the members and whose turn it is. Clients begin with a member by chance, so that they spread.
#[derive(Debug)]
pub(crate) struct Cluster {
    members: Vec<(Arc<str>, Endpoint)>,
    next: usize,
    user: Option<(String, String)>,
    connect_timeout: Duration,
    request_timeout: Duration,
    max_message_bytes: usize,
}

impl Cluster {
    /// Fails if a member cannot be connected to whatever it does: TLS that was not built in, a certificate that is none.
    pub(crate) fn new(config: &EtcdConfig, members: &[Member], entropy: &mut Entropy) -> Result<Self, String> {
        let members: Vec<_> = members.iter().map(|member| endpoint(config, member)).collect::<Result<_, _>>()?;
        let next = entropy.draw() as usize % members.len().max(1);
        Ok(Self {
            members,
            next,
            user: config.user.clone(),
            connect_timeout: config.connect_timeout,
            request_timeout: config.request_timeout,
            max_message_bytes: config.max_message_bytes,
        })
    }

    pub(crate) fn len(&self) -> usize {
        self.members.len()
    }

    /// Connects to the next member and logs in. Cancel safe: nothing stays open.
    pub(crate) async fn open(&mut self) -> Result<Rpc, Failure> {
        let (name, endpoint) = &self.members[self.next];
        self.next = (self.next + 1) % self.members.len();
        let channel = match timeout(self.connect_timeout, endpoint.connect()).await {
            Ok(Ok(channel)) => channel,
            Ok(Err(error)) => {
                let mut message = error.to_string();
                push_sources(&mut message, &error);
                return Err(Failure::new(Cause::Unavailable, message).at(name));
            }
            Err(_) => {
                let message = format!("no connection within {:?}", self.connect_timeout);
                return Err(Failure::new(Cause::Unavailable, message).at(name));
            }
        };
        let mut rpc = Rpc::new(channel, Arc::clone(name), self.request_timeout, self.max_message_bytes);
        if let Some((user, password)) = &self.user {
            rpc.log_in(user, password).await?;
        }
        Ok(rpc)
    }

    /// The member that was used last is tried first again.
    pub(crate) fn stay(&mut self) {
        self.next = (self.next + self.members.len() - 1) % self.members.len();
    }
}

fn endpoint(config: &EtcdConfig, member: &Member) -> Result<(Arc<str>, Endpoint), String> {
    let uri = member.uri(config.tls.is_some())?;
    let https = uri.scheme_str() == Some("https");
    let endpoint = Endpoint::from(uri)
        .connect_timeout(config.connect_timeout)
        .http2_keep_alive_interval(config.keepalive.0)
        .keep_alive_timeout(config.keepalive.1)
        // A watch is never idle, and etcd ends connections that are asked about while nothing is open on them.
        .keep_alive_while_idle(false)
        .tcp_nodelay(true);
    let endpoint = if https {
        let default = EtcdTls::new();
        apply(endpoint, config.tls.as_ref().unwrap_or(&default)).map_err(|error| format!("TLS to {}: {error}", member.authority))?
    } else {
        endpoint
    };
    Ok((member.authority.as_str().into(), endpoint))
}
