//! The client of the `grpc` crate that benchmarks measure evenkeel beside.
//!
//! ```text
//! evenkeel-peer-grpc --servers A:P,A:P,… [--policy round_robin] [--workers N] [--ca FILE]
//! ```
//!
//! It connects, prints `ready`, and then answers each line of standard input, an order in JSON, with a line of results. docs/BENCHMARKS.md,
//! section Peers, has the words.

mod channels;
mod load;
mod message;

use std::error::Error;
use std::io::{BufRead as _, Write as _};
use std::process::ExitCode;
use std::sync::Arc;

use channels::Channels;
use load::Order;

type Failure = Box<dyn Error + Send + Sync>;

struct Options {
    servers: Vec<String>,
    policy: String,
    workers: usize,
    ca: Option<String>,
}

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("peer: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), Failure> {
    let options = options()?;
    let runtime = match options.workers {
        1 => tokio::runtime::Builder::new_current_thread().enable_all().build()?,
        workers => tokio::runtime::Builder::new_multi_thread().worker_threads(workers).enable_all().build()?,
    };
    let channels = Arc::new(runtime.block_on(Channels::connect(&options))?);
    println!("ready");
    for line in std::io::stdin().lock().lines() {
        let line = line?;
        let order: Order = serde_json::from_str(&line).map_err(|error| format!("{line}: {error}"))?;
        let result = runtime.block_on(order.run(&channels))?;
        println!("{}", serde_json::to_string(&result)?);
        std::io::stdout().flush()?;
    }
    Ok(())
}

fn options() -> Result<Options, Failure> {
    let workers = std::thread::available_parallelism().map_or(1, |cores| cores.get());
    let mut options = Options { servers: Vec::new(), policy: "round_robin".into(), workers, ca: None };
    let mut args = std::env::args().skip(1);
    while let Some(flag) = args.next() {
        let value = args.next().ok_or_else(|| format!("{flag} needs a value"))?;
        match flag.as_str() {
            "--servers" => options.servers = value.split(',').map(str::to_owned).collect(),
            "--policy" => options.policy = value,
            "--workers" => options.workers = value.parse()?,
            "--ca" => options.ca = Some(value),
            _ => return Err(format!("unknown flag {flag}").into()),
        }
    }
    if options.servers.is_empty() || options.workers == 0 {
        return Err("it takes --servers A:P,… [--policy NAME] [--workers N] [--ca FILE]".into());
    }
    Ok(options)
}
