//! pingora's selections, in a process of their own: their crate brings a web server along, which this workspace should not have to build.
//!
//! `peers/pingora` is that program. It measures as we do, when it is told to, so that its figures are of the same rounds.

use std::io::{self, BufRead as _, BufReader, Write as _};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use lb_bench::BenchError;
use serde_json::{Value, json};

use crate::peers::{PINGORA_KETAMA, PINGORA_RANDOM, PINGORA_ROUND_ROBIN, PINGORA_WEIGHTED};
use crate::subject::Key;

/// By name, and as its program calls them.
pub(crate) const KINDS: [(&str, &str); 4] = [
    (PINGORA_ROUND_ROBIN, "round_robin"),
    (PINGORA_WEIGHTED, "weighted_round_robin"),
    (PINGORA_RANDOM, "random"),
    (PINGORA_KETAMA, "ketama"),
];

/// The environment variable that holds its program's path, as with the other peers; `cargo xtask bench` sets it.
pub(crate) const VARIABLE: &str = "EVENKEEL_PEER_PINGORA";

/// The running program; it ends when its standard input does.
pub(crate) struct Pingora(Mutex<Running>);

struct Running {
    process: Child,
    /// Closed before the process is waited for.
    orders: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
}

impl Pingora {
    /// None where the variable names no program that starts.
    pub(crate) fn start() -> Option<Self> {
        let program = std::env::var_os(VARIABLE)?;
        let mut process = Command::new(program).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().ok()?;
        let (orders, answers) = (process.stdin.take(), BufReader::new(process.stdout.take()?));
        Some(Self(Mutex::new(Running { process, orders, answers })))
    }

    /// Nanoseconds per pick and thread.
    pub(crate) fn measure(&self, kind: &str, key: &Key, time: Duration) -> Result<f64, BenchError> {
        let order = json!({"kind": kind, "endpoints": key.size, "threads": key.threads, "micros": time.as_micros() as u64});
        let answer = self.running().ask(&order).map_err(|error| BenchError::Io { path: "peers/pingora".into(), error })?;
        Ok(answer["ns"].as_f64().unwrap_or(f64::NAN))
    }

    fn running(&self) -> MutexGuard<'_, Running> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Running {
    fn ask(&mut self, order: &Value) -> io::Result<Value> {
        let orders = self.orders.as_mut().ok_or(io::ErrorKind::BrokenPipe)?;
        writeln!(orders, "{order}")?;
        let mut line = String::new();
        self.answers.read_line(&mut line)?;
        Ok(serde_json::from_str(&line)?)
    }
}

impl Drop for Pingora {
    fn drop(&mut self) {
        let mut running = self.running();
        running.orders = None;
        let _ = running.process.wait();
    }
}
