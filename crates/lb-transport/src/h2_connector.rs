//! The connector over h2.

use std::sync::Arc;

use http::uri::{Authority, Scheme};
use lb_core::Address;

use crate::BoxFuture;
use crate::call::{H2Transport, Origin};
use crate::config::{TransportConfig, TransportConfigError};
use crate::conn::{Dial, KeepaliveConfig, Pool, PoolConfig};
use crate::connector::{ConnectAttempt, Connection, ConnectionHandle, Connector};
use crate::dial::{Dialled, Plan, dial};
use crate::error::{AddressFailure, CloseReason, ConnectError, ConnectFailure};

/// Connects to endpoints by HTTP/2, over TCP or Unix sockets, with TLS if given.
///
/// Make one per channel: its connections share the keepalive interval, which doubles when a server complains of too many pings.
#[derive(Debug, Clone)]
pub struct H2Connector {
    shared: Arc<Shared>,
}

#[derive(Debug, Clone)]
pub(crate) struct Shared {
    pub(crate) config: TransportConfig,
    pub(crate) keepalive: Option<KeepaliveConfig>,
    #[cfg(any(feature = "tls-ring", feature = "tls-aws-lc"))]
    pub(crate) tls: Option<crate::tls::TlsDialer>,
}

impl H2Connector {
    /// A connector without TLS. `Err` names the option that is out of range.
    pub fn new(config: TransportConfig) -> Result<Self, TransportConfigError> {
        config.validate()?;
        let keepalive =
            config.keepalive_time.map(|time| KeepaliveConfig::new(time, config.keepalive_timeout, config.keepalive_without_calls));
        let shared = Shared {
            config,
            keepalive,
            #[cfg(any(feature = "tls-ring", feature = "tls-aws-lc"))]
            tls: None,
        };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// The same connector with TLS. `Err` if roots or certificates cannot be read.
    #[cfg(any(feature = "tls-ring", feature = "tls-aws-lc"))]
    pub fn with_tls(self, tls: crate::ClientTls) -> Result<Self, crate::TlsConfigError> {
        let shared = Shared { tls: Some(tls.build()?), ..Shared::clone(&self.shared) };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// Nothing arriving for this long brings a PING on connections made from now on; `None` without keepalive.
    pub fn keepalive_time(&self) -> Option<std::time::Duration> {
        self.shared.keepalive.as_ref().map(KeepaliveConfig::time)
    }
}

impl Connector for H2Connector {
    type Transport = H2Transport;

    fn connect(&self, attempt: ConnectAttempt) -> BoxFuture<'static, Result<Connection<H2Transport>, ConnectError>> {
        Box::pin(connect(self.shared.clone(), attempt))
    }
}

impl Shared {
    fn scheme(&self) -> Scheme {
        #[cfg(any(feature = "tls-ring", feature = "tls-aws-lc"))]
        if self.tls.is_some() {
            return Scheme::HTTPS;
        }
        Scheme::HTTP
    }
}

async fn connect(shared: Arc<Shared>, attempt: ConnectAttempt) -> Result<Connection<H2Transport>, ConnectError> {
    let name = attempt.endpoint.attributes.hostname.as_ref().unwrap_or(&attempt.authority);
    let authority: Authority = name.parse().map_err(|_| invalid_authority(&attempt, name))?;
    let timeout = attempt.timeout.min(shared.config.connect_timeout);
    let plan = Plan::new(shared, authority.host().into(), timeout);
    let dialled = dial(&plan, attempt.addresses).await?;
    Ok(assemble(plan, authority, dialled))
}

fn invalid_authority(attempt: &ConnectAttempt, name: &str) -> ConnectError {
    let failure = ConnectFailure::Authority(name.to_owned());
    let row = |address: &Address| AddressFailure { address: address.clone(), failure: failure.clone() };
    ConnectError { failures: attempt.addresses.iter().map(row).collect() }
}

/// Starts the task of a new connection, in a pool that may grow.
fn assemble(plan: Plan, authority: Authority, dialled: Dialled) -> Connection<H2Transport> {
    let address = dialled.address.clone();
    let config = &plan.shared.config;
    let pool_config = PoolConfig {
        origin: Origin { scheme: plan.shared.scheme(), authority, user_agent: config.user_agent.clone() },
        keepalive: plan.shared.keepalive.clone(),
        adaptive_window: config.adaptive_window,
        window: config.windows().1,
        max_connections: config.max_connections,
        dial: again(&plan, address.clone()),
    };
    let (pool, closed) = Pool::new(pool_config);
    let link = pool.join(dialled).expect("a new pool is open");
    let closed = Box::pin(async move { closed.await.unwrap_or(CloseReason::Closed) });
    Connection { transport: H2Transport::new(pool.clone(), link), address, closed, handle: ConnectionHandle::of_pool(pool) }
}

/// How the pool dials a further connection: the same address, with the same time.
fn again(plan: &Plan, address: Address) -> Dial {
    let plan = plan.clone();
    Box::new(move || {
        let (plan, address) = (plan.restarted(), address.clone());
        Box::pin(async move { dial(&plan, vec![address]).await.ok() })
    })
}
