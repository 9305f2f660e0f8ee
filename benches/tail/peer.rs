//! gRPC's Go implementation, in a process of its own.

use std::error::Error;
use std::net::SocketAddr;
use std::time::Duration;

use lb_bench::peer::{CallKind, Load, Measured, OpenLoad, Peer, PeerKind, PeerOptions};

use super::arms::{Arm, DEADLINE, Kind};
use super::load::Outcome;
use super::scenario::Arrivals;

type Failure = Box<dyn Error + Send + Sync>;

/// Bytes, as ours.
const PAYLOAD: usize = 100;

/// A peer that makes a smaller share of the calls it was told to has not understood, or cannot keep up.
const FEWEST: f64 = 0.5;

/// Leaves out the arms whose program is not there, and says so.
pub(crate) fn skip_missing(arms: &mut Vec<Arm>) {
    if let Err(missing) = PeerKind::Go.program() {
        arms.retain(|arm| {
            let peer = matches!(arm.kind, Kind::Peer(_));
            if peer {
                eprintln!("{}: skipped, {missing}", arm.name);
            }
            !peer
        });
    }
}

/// Returns when it can call.
pub(crate) fn start(policy: &str, addresses: &[SocketAddr]) -> Result<Peer, Failure> {
    let servers: Vec<String> = addresses.iter().map(SocketAddr::to_string).collect();
    let options = PeerOptions { servers: &servers, policy, workers: 1, ca: None };
    Ok(Peer::spawn(&PeerKind::Go.program()?, &options)?)
}

pub(crate) fn call(peer: &mut Peer, arrivals: Arrivals, time: Duration) -> Result<Outcome, Failure> {
    let measured = match arrivals {
        Arrivals::Closed(concurrency) => peer.measure(&Load { kind: CallKind::Unary, concurrency, time, payload: PAYLOAD })?,
        Arrivals::Open(rate) => {
            let measured = peer.measure_open(&OpenLoad { rate: rate as u32, deadline: DEADLINE, time, payload: PAYLOAD })?;
            let (made, told) = ((measured.calls + measured.failed) as f64, rate * time.as_secs_f64());
            if made < told * FEWEST {
                return Err(format!("{made} calls in place of {told}: its program is an older one, or cannot keep up").into());
            }
            measured
        }
    };
    Ok(outcome(&measured))
}

fn outcome(measured: &Measured) -> Outcome {
    Outcome {
        summary: Some([measured.p50_us, measured.p99_us, measured.p999_us]),
        answered: measured.calls as usize,
        failed: measured.failed as usize,
        seconds: measured.seconds,
        ..Outcome::default()
    }
}
