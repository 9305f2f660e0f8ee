//! A cell: its clients connected, then measured in turn, round by round.

use std::error::Error;
use std::time::Duration;

use lb_bench::peer::{Peer, PeerKind};
use lb_bench::{Measured, Rounds, Sample};
use tokio::runtime::Runtime;

use super::cell::Cell;
use super::client::{Client, Target};
use super::foreign::{self, Envoy};
use super::measure;
use super::options::Plan;
use super::server::Servers;
use super::subject::Subject;

type Failure = Box<dyn Error>;

/// What came of a cell.
pub(crate) struct Outcome {
    pub(crate) cell: Cell,
    /// In the order of the names in `measured`; the base is the first.
    pub(crate) subjects: Vec<Subject>,
    pub(crate) measured: Measured,
    /// Allocations and bytes per call, of clients of this process.
    pub(crate) allocated: Vec<Option<[f64; 2]>>,
    /// Who should have been there, and why not.
    pub(crate) skipped: Vec<(Subject, String)>,
}

/// A client that is connected.
enum Ready {
    Here(Client),
    There(Box<Peer>),
    Behind(Client, Envoy),
}

/// How much longer than asked for a measurement in this process may take: calls that hang must not hang the run.
const GRACE: Duration = Duration::from_secs(20);

/// Why a cell has no result.
enum Fault {
    /// One client, not the base: the cell is measured again without it.
    Of(Subject, Failure),
    /// The base, or no client at all.
    Whole(Failure),
}

impl<E: Into<Failure>> From<E> for Fault {
    fn from(error: E) -> Self {
        Self::Whole(error.into())
    }
}

/// Measures a cell; clients that cannot be had, fail or hang are left out, and named.
pub(crate) fn cell(plan: &Plan, cell: Cell, servers: &Servers) -> Result<Outcome, Failure> {
    let mut subjects = plan.subjects(&cell);
    let mut skipped = Vec::new();
    subjects.retain(|subject| match subject {
        Subject::Peer(kind) => kind.program().map_err(|missing| skipped.push((*subject, missing.to_string()))).is_ok(),
        _ => true,
    });
    loop {
        match attempt(plan, cell, servers, &subjects) {
            Ok((measured, allocated)) => return Ok(Outcome { cell, subjects, measured, allocated, skipped }),
            Err(Fault::Whole(error)) => return Err(error),
            Err(Fault::Of(subject, error)) => {
                eprintln!("{cell}: {subject} is left out: {error}");
                subjects.retain(|other| *other != subject);
                skipped.push((subject, error.to_string()));
            }
        }
    }
}

type Figures = (Measured, Vec<Option<[f64; 2]>>);

fn attempt(plan: &Plan, cell: Cell, servers: &Servers, subjects: &[Subject]) -> Result<Figures, Fault> {
    let runtime = cell.placement.runtime()?;
    cell.placement.pin(servers.id());
    let mut clients = Vec::new();
    for subject in subjects {
        clients.push(Ready::connect(*subject, &cell, servers, &runtime).map_err(|error| fault(*subject, error))?);
    }
    let rounds = Rounds::new(subjects.iter().map(|subject| subject.name()), plan.rounds)?;
    let measured = rounds.run(|place| {
        let sample = clients[place].measure(&cell, plan.round, &runtime);
        sample.map_err(|error| fault(subjects[place], error))
    })?;
    let mut allocated = Vec::new();
    for (subject, client) in subjects.iter().zip(&clients) {
        allocated.push(match client {
            Ready::Here(client) => {
                let counted = within(&runtime, GRACE, measure::allocations(client, &cell));
                Some(counted.map_err(|error| fault(*subject, error))?)
            }
            Ready::There(_) | Ready::Behind(..) => None,
        });
    }
    Ok((measured, allocated))
}

fn fault(subject: Subject, error: Failure) -> Fault {
    match subject {
        Subject::BalanceList => Fault::Whole(format!("{subject}: {error}").into()),
        _ => Fault::Of(subject, error),
    }
}

/// Runs the future for so long at the most.
fn within<T>(runtime: &Runtime, time: Duration, future: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    let ended = runtime.block_on(async { tokio::time::timeout(time, future).await });
    ended.map_err(|_| format!("calls hang: no end within {time:?}"))?
}

impl Ready {
    fn connect(subject: Subject, cell: &Cell, servers: &Servers, runtime: &Runtime) -> Result<Self, Failure> {
        let ca = servers.ca().map(std::fs::read_to_string).transpose()?;
        let here = |addresses: &[String]| runtime.block_on(Client::connect(subject, &Target { addresses, ca: ca.as_deref() }));
        match subject {
            Subject::Peer(PeerKind::Envoy) => {
                let envoy = Envoy::start(cell, servers)?;
                Ok(Self::Behind(here(&[envoy.address().to_owned()])?, envoy))
            }
            Subject::Peer(kind) => foreign::start(kind, cell, servers).map(|peer| Self::There(Box::new(peer))),
            _ => here(servers.addresses(cell.endpoints)).map(Self::Here),
        }
    }

    fn measure(&mut self, cell: &Cell, time: Duration, runtime: &Runtime) -> Result<Sample, Failure> {
        match self {
            Self::Here(client) => within(runtime, time + GRACE, measure::measure(client, cell, time, None)),
            Self::There(peer) => foreign::measure(peer, cell, time),
            Self::Behind(client, envoy) => within(runtime, time + GRACE, measure::measure(client, cell, time, Some(envoy.id()))),
        }
    }
}
