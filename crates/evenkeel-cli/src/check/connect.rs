//! Connecting to one endpoint.

use std::time::Duration;

use evenkeel::ConnectivityState;
use evenkeel::Endpoint;
use evenkeel::LbChannel;
use evenkeel::LbChannelBuilder;
use evenkeel::RegistryHealth;
use evenkeel::resolver::StaticResolver;

use crate::args::CheckArgs;
use crate::exit::Exit;
use crate::exit::chain;

/// How much longer than an attempt its channel is waited for, so that the attempt's own error comes first.
const SLACK: Duration = Duration::from_millis(200);

/// What all connections have in common.
pub(super) struct Connect {
    authority: String,
    health: Option<String>,
    timeout: Duration,
    #[cfg(feature = "tls")]
    tls: Option<evenkeel::transport::ClientTls>,
}

impl Connect {
    /// Reads the files of the TLS options.
    pub(super) fn new(args: &CheckArgs, authority: String) -> Result<Self, Exit> {
        #[cfg(not(feature = "tls"))]
        if args.tls.is_some() {
            return Err(Exit::Failed("this command was built without the feature `tls`".to_owned()));
        }
        Ok(Self {
            authority,
            health: args.health.clone(),
            timeout: args.timeout,
            #[cfg(feature = "tls")]
            tls: args.tls.as_ref().map(tls).transpose()?,
        })
    }

    /// Connects and waits for a good answer; `Err` says why there is none.
    pub(super) async fn to(&self, endpoint: &Endpoint) -> Result<(), String> {
        let channel = self.builder(endpoint).build().map_err(|error| chain(&error))?;
        channel.exit_idle();
        let decided = async {
            let mut state = channel.state();
            while !matches!(state, ConnectivityState::Ready | ConnectivityState::TransientFailure) {
                state = channel.wait_for_state_change(state).await;
            }
            state
        };
        match tokio::time::timeout(self.timeout.saturating_add(SLACK), decided).await {
            Ok(ConnectivityState::Ready) => Ok(()),
            Ok(_) => Err(reason(&channel).unwrap_or_else(|| "it failed without a reason".to_owned())),
            Err(_) => Err(reason(&channel).unwrap_or_else(|| format!("no answer within {:?}", self.timeout))),
        }
    }

    fn builder(&self, endpoint: &Endpoint) -> LbChannelBuilder {
        let mut endpoint = endpoint.clone();
        // Asked is what the endpoint says, not what the registry thinks of it.
        endpoint.attributes.health = RegistryHealth::Unknown;
        let builder = LbChannel::builder("check:///")
            .resolver(StaticResolver::of("check", vec![endpoint]))
            .authority(self.authority.clone())
            .connect_timeout(self.timeout)
            .idle_timeout(None);
        #[cfg(feature = "tls")]
        let builder = match &self.tls {
            Some(tls) => builder.tls(tls.clone()),
            None => builder,
        };
        match &self.health {
            Some(service) => builder.health_check(service.as_str()),
            None => builder,
        }
    }
}

fn reason(channel: &LbChannel) -> Option<String> {
    channel.endpoints().into_iter().find_map(|endpoint| endpoint.error)
}

#[cfg(feature = "tls")]
fn tls(args: &crate::args::TlsArgs) -> Result<evenkeel::transport::ClientTls, Exit> {
    use evenkeel::transport::ClientTls;
    let mut tls = match &args.ca {
        Some(path) => ClientTls::ca_certificate(read(path)?),
        None => ClientTls::native_roots(),
    };
    if let Some((chain, key)) = &args.identity {
        tls = tls.identity(read(chain)?, read(key)?);
    }
    Ok(match &args.server_name {
        Some(name) => tls.domain_name(name),
        None => tls,
    })
}

#[cfg(feature = "tls")]
fn read(path: &std::path::Path) -> Result<Vec<u8>, Exit> {
    std::fs::read(path).map_err(|error| Exit::Failed(format!("{}: {error}", path.display())))
}
