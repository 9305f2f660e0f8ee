//! Several servers by the `grpc` crate: a channel for each, and a turn.
//!
//! Release 0.9 has a round robin policy inside that nobody outside can choose: a channel takes its policy from the service config that a
//! resolver delivers, the only resolvers are its own, and the one for names delivers none; every channel of a user is `pick_first`, and no
//! target names several addresses. So whoever wants to spread calls today makes a channel for each server and takes them in turn, as here. The
//! turn costs what that policy's picker would: one addition.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use grpc::client::{Channel, ChannelOptions, ConnectivityState};
use grpc::credentials::LocalChannelCredentials;
use grpc::credentials::rustls::client::{ClientTlsConfig, RustlsChannelCredendials};
use grpc::credentials::rustls::{RootCertificates, StaticRootCertificatesProvider};

use crate::{Failure, Options};

/// How long servers may take to be connected.
const PATIENCE: Duration = Duration::from_secs(20);

/// How often a channel is asked whether it is connected: it can be asked, but not waited for.
const LOOK: Duration = Duration::from_millis(1);

pub(crate) struct Channels {
    all: Vec<Channel>,
    next: AtomicUsize,
}

impl Channels {
    pub(crate) async fn connect(options: &Options) -> Result<Self, Failure> {
        let servers = match options.policy.as_str() {
            "round_robin" => &options.servers[..],
            "pick_first" => &options.servers[..1],
            other => return Err(format!("policy {other}, allowed are round_robin and pick_first").into()),
        };
        let mut all = servers.iter().map(|server| channel(server, options.ca.as_deref())).collect::<Result<Vec<_>, _>>()?;
        let until = Instant::now() + PATIENCE;
        for channel in &mut all {
            while channel.get_state(true) != ConnectivityState::Ready {
                if Instant::now() > until {
                    return Err("not every server was reached".into());
                }
                tokio::time::sleep(LOOK).await;
            }
        }
        Ok(Self { all, next: AtomicUsize::new(0) })
    }

    /// The channel whose turn it is.
    pub(crate) fn next(&self) -> &Channel {
        &self.all[self.next.fetch_add(1, Ordering::Relaxed) % self.all.len()]
    }
}

fn channel(server: &str, ca: Option<&str>) -> Result<Channel, Failure> {
    let (target, options) = (format!("dns:///{server}"), ChannelOptions::default());
    let Some(ca) = ca else {
        return Ok(Channel::new(target, LocalChannelCredentials::new_arc(), options));
    };
    // Whoever was first has installed it.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let roots = RootCertificates::from_pem(std::fs::read(ca).map_err(|error| format!("{ca}: {error}"))?);
    let config = ClientTlsConfig::new().with_root_certificates_provider(StaticRootCertificatesProvider::new(roots));
    let credentials = RustlsChannelCredendials::new(config)?;
    Ok(Channel::new(target, Arc::new(credentials), options.override_authority("localhost")))
}
