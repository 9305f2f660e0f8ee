//! `evenkeel check`: whether every endpoint of a target serves.
//!
//! Each endpoint gets a channel of its own and is connected to directly, whatever the registry says of its health and weight, as a
//! channel would connect: the same addresses, TLS and name. With a health check it is good when it says SERVING (or has no health service: gRPC
//! takes such a server as healthy), else when HTTP/2 stands.

mod connect;
mod report;

use std::time::Duration;

use evenkeel::Endpoint;
use futures_util::StreamExt;
use futures_util::stream;

use crate::args::CheckArgs;
use crate::exit::Exit;
use crate::exit::chain;
use crate::out;
use crate::seek;
use crate::signals;
use connect::Connect;

/// Enough to be quick, few enough for any limit of open files.
const AT_ONCE: usize = 64;

/// One endpoint and how it went.
#[derive(Debug)]
struct Checked {
    endpoint: Endpoint,
    took: Duration,
    /// Why it is not good.
    error: Option<String>,
}

/// Checks once and reports.
pub(crate) async fn run(args: CheckArgs) -> Exit {
    tokio::select! {
        done = check(&args) => done.unwrap_or_else(|exit| exit),
        ended = signals::asked_to_end() => match ended {
            Ok(()) => Exit::Interrupted,
            Err(error) => Exit::Failed(format!("no signals: {error}")),
        },
    }
}

async fn check(args: &CheckArgs) -> Result<Exit, Exit> {
    let seek = seek::start(&args.target)?;
    let connect = Connect::new(args, seek.authority.clone())?;
    let endpoints = first_set(seek, args.timeout).await?;
    let total = endpoints.len();
    let checked: Vec<Checked> = stream::iter(endpoints).map(|endpoint| one(&connect, endpoint)).buffered(AT_ONCE).collect().await;
    let exit = if total > 0 && checked.iter().all(|one| one.error.is_none()) { Exit::Good } else { Exit::Bad };
    let width = out::is_terminal().then(|| out::size().0);
    let text = if args.json { report::objects(&checked) } else { report::table(&checked, args.health.is_some(), width) };
    match out::print(&text) {
        // Nobody reads any more; the code still counts.
        Ok(()) | Err(Exit::Good) => Ok(exit),
        Err(failed) => Err(failed),
    }
}

async fn one(connect: &Connect, endpoint: Endpoint) -> Checked {
    let started = tokio::time::Instant::now();
    let error = connect.to(&endpoint).await.err();
    Checked { endpoint, took: started.elapsed(), error }
}

/// The first set. An error that comes before it is final: a check is for now.
async fn first_set(mut seek: seek::Seek, timeout: Duration) -> Result<Vec<Endpoint>, Exit> {
    let target = seek.target.canonical().to_owned();
    match tokio::time::timeout(timeout, seek.stream.next()).await {
        Ok(Some(Ok(update))) => {
            let mut seen = std::collections::HashSet::new();
            Ok(update.endpoints.into_iter().filter(|endpoint| seen.insert(endpoint.key().clone())).collect())
        }
        Ok(Some(Err(error))) => Err(Exit::Failed(format!("{target}: {}", chain(&error)))),
        Ok(None) => Err(Exit::Failed(format!("{target}: the resolver ended without an answer"))),
        Err(_) => Err(Exit::Failed(format!("{target}: not resolved within {timeout:?}"))),
    }
}
