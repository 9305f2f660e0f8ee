//! The race of an endpoint's addresses.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use lb_core::Address;
use tokio::time::{Instant, sleep, timeout_at};

use super::establish::{Dialled, establish};
use super::interleave;
use crate::BoxFuture;
use crate::error::{AddressFailure, ConnectFailure, ConnectStage};
use crate::h2_connector::Shared;

/// A timeout of `Duration::MAX` means no limit; this one can be added to the present.
const LONGEST: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// What all attempts of one race have in common.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    pub(crate) shared: Arc<Shared>,
    /// The name to verify in the server's certificate.
    #[cfg(any(feature = "tls-ring", feature = "tls-aws-lc"))]
    pub(super) server_name: Arc<str>,
    deadline: Instant,
    /// How long the whole attempt was allowed to take, for errors.
    timeout: Duration,
}

impl Plan {
    /// A plan whose time starts now. `server_name` is what TLS verifies.
    #[cfg_attr(
        not(any(feature = "tls-ring", feature = "tls-aws-lc")),
        expect(unused_variables, reason = "only TLS verifies names")
    )]
    pub(crate) fn new(shared: Arc<Shared>, server_name: Arc<str>, timeout: Duration) -> Self {
        let timeout = timeout.min(LONGEST);
        Self {
            shared,
            #[cfg(any(feature = "tls-ring", feature = "tls-aws-lc"))]
            server_name,
            deadline: Instant::now() + timeout,
            timeout,
        }
    }

    /// The same plan, its time starting now.
    pub(crate) fn restarted(&self) -> Self {
        Self { deadline: Instant::now() + self.timeout, ..self.clone() }
    }

    /// Ends a stage at the deadline.
    pub(super) async fn bound<T>(&self, stage: ConnectStage, future: impl Future<Output = T>) -> Result<T, ConnectFailure> {
        timeout_at(self.deadline, future).await.map_err(|_| ConnectFailure::Timeout { stage, after: self.timeout })
    }
}

/// The first connection that is complete, or one failure for each address tried.
pub(crate) fn race(plan: &Plan, addresses: Vec<Address>) -> BoxFuture<'_, Result<Dialled, Vec<AddressFailure>>> {
    Box::pin(async move {
        let mut queue = interleave(addresses).into_iter().enumerate();
        let mut latest = 0;
        let mut running = FuturesUnordered::new();
        let mut failures = Vec::new();
        let mut timer = pin!(sleep(Duration::ZERO));
        let mut start = true;
        loop {
            // The first address gets its row even if there is no time at all.
            let first = running.is_empty() && failures.is_empty();
            if start
                && (first || Instant::now() < plan.deadline)
                && let Some((index, address)) = queue.next()
            {
                latest = index;
                running.push(Box::pin(async move { (index, dial(plan, address).await) }));
                timer.as_mut().reset(Instant::now() + plan.shared.config.attempt_delay);
            }
            if running.is_empty() {
                return Err(failures);
            }
            start = tokio::select! {
                biased;
                Some((index, result)) = running.next() => match result {
                    Ok(dialled) => return Ok(dialled),
                    Err(failed) => {
                        failures.extend(failed);
                        index == latest
                    }
                },
                () = &mut timer, if queue.len() > 0 => true,
            };
        }
    })
}

async fn dial(plan: &Plan, address: Address) -> Result<Dialled, Vec<AddressFailure>> {
    let result = match &address {
        Address::Host(name, port) => match lookup(plan, name, *port).await {
            Ok(found) => return race(plan, found).await,
            Err(failure) => Err(failure),
        },
        _ => Box::pin(establish(plan, &address)).await,
    };
    result.map_err(|failure| vec![AddressFailure { address, failure }])
}

async fn lookup(plan: &Plan, name: &str, port: u16) -> Result<Vec<Address>, ConnectFailure> {
    let found = plan.bound(ConnectStage::Lookup, tokio::net::lookup_host((name, port))).await?;
    let found: Vec<Address> = found.map_err(|error| ConnectFailure::Lookup(error.to_string()))?.map(Address::Tcp).collect();
    if found.is_empty() { Err(ConnectFailure::Lookup("the name has no address".to_owned())) } else { Ok(found) }
}
