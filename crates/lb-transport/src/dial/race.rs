//! The race of an endpoint's addresses.

use std::pin::pin;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use lb_core::Address;
use tokio::time::{Instant, sleep};

use super::deadline::Deadline;
use super::interleave;
use crate::BoxFuture;
use crate::error::{AddressFailure, ConnectError, ConnectFailure, ConnectStage};

/// Happy eyeballs (RFC 8305, gRFC A61) over any way to establish a connection to one address: addresses are [interleaved](interleave)
/// and begun one after the other, the next when the latest has failed or has taken `delay`. The first to succeed wins and the
/// others are dropped. `Err` has a row for each address tried.
///
/// Host names are looked up here, each racing its own addresses, so `establish` never gets one. No attempt begins after the
/// deadline; one that runs must keep to it by itself ([`Deadline::bound`]). Cancel safe: dropping the future drops all attempts.
pub fn race<'a, T, E, F>(
    addresses: Vec<Address>,
    delay: Duration,
    deadline: Deadline,
    establish: &'a E,
) -> BoxFuture<'a, Result<T, ConnectError>>
where
    T: Send + 'a,
    E: Fn(Address) -> F + Sync,
    F: Future<Output = Result<T, ConnectFailure>> + Send + 'a,
{
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
                && (first || !deadline.has_passed())
                && let Some((index, address)) = queue.next()
            {
                latest = index;
                running.push(Box::pin(async move { (index, dial(address, delay, deadline, establish).await) }));
                timer.as_mut().reset(Instant::now() + delay);
            }
            if running.is_empty() {
                return Err(ConnectError::new(failures));
            }
            start = tokio::select! {
                biased;
                Some((index, result)) = running.next() => match result {
                    Ok(established) => return Ok(established),
                    Err(error) => {
                        failures.extend(error.failures);
                        index == latest
                    }
                },
                () = &mut timer, if queue.len() > 0 => true,
            };
        }
    })
}

async fn dial<'a, T, E, F>(address: Address, delay: Duration, deadline: Deadline, establish: &'a E) -> Result<T, ConnectError>
where
    T: Send + 'a,
    E: Fn(Address) -> F + Sync,
    F: Future<Output = Result<T, ConnectFailure>> + Send + 'a,
{
    let result = match &address {
        Address::Host(name, port) => match lookup(deadline, name, *port).await {
            Ok(found) => return race(found, delay, deadline, establish).await,
            Err(failure) => Err(failure),
        },
        _ => Box::pin(establish(address.clone())).await,
    };
    result.map_err(|failure| ConnectError::new(vec![AddressFailure::new(address, failure)]))
}

async fn lookup(deadline: Deadline, name: &str, port: u16) -> Result<Vec<Address>, ConnectFailure> {
    let found = deadline.bound(ConnectStage::Lookup, tokio::net::lookup_host((name, port))).await?;
    let found: Vec<Address> = found.map_err(|error| ConnectFailure::Lookup(error.to_string()))?.map(Address::Tcp).collect();
    if found.is_empty() { Err(ConnectFailure::Lookup("the name has no address".to_owned())) } else { Ok(found) }
}
