//! What a channel costs that does nothing: memory, tasks, sockets, the time to its first reply, the size of a program with it.
//!
//! `cargo bench --features tls-ring --bench footprint [-- --quick] [--rounds N] [--part memory|fleet|first] [--sizes]`
//!
//! Every figure comes from a process of its own, which measures what it holds more than before it had a channel: resident memory as the kernel
//! counts it, bytes on the heap as a counting allocator does, tasks of the runtime, sockets. Servers are processes of their own too, with a
//! listening socket for each endpoint; ten thousand are spread over several processes on several addresses of 127/8.
//!
//! `--sizes` builds a small program with each feature, from nothing, in release: its size, and how long that took. That takes an hour on two cores, so it
//! is done only when asked for, and then nothing else.

mod client;
mod first;
mod memory;
mod probe;
mod servers;
mod sizes;

use std::error::Error;

use lb_bench::{BenchError, Options, Suite};
use lb_testkit::count::CountingAllocator;

use servers::Servers;

#[global_allocator]
static ALLOCATOR: CountingAllocator = CountingAllocator;

type Failure = Box<dyn Error + Send + Sync>;

/// A large fleet's endpoints, as far as this process may have files: each is a socket at most, and some are left over.
const MANY: usize = 10_000;

fn main() -> Result<(), Failure> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match &arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [servers::SERVE, count, process, security] => return servers::serve(count, process, security),
        [probe::PROBE] => return probe::probe(),
        [first::FIRST] => return first::first(true),
        [first::NOTHING] => return first::first(false),
        _ => {}
    }
    let options = Options::from_env()?;
    if options.rest.first().is_some_and(|flag| flag == "--sizes") {
        let mut suite = Suite::new("footprint-sizes", "Size of a program and time to build it, by feature", &options)?;
        sizes::measure(&mut suite, &options.rest[1..])?;
        suite.write()?;
        return Ok(());
    }
    let part = match &options.rest[..] {
        [] => None,
        [flag, part] if flag == "--part" && ["memory", "fleet", "first"].contains(&part.as_str()) => Some(part.as_str()),
        [argument, ..] => {
            let reason = "allowed are --quick, --rounds N, --part memory|fleet|first and --sizes".to_owned();
            return Err(BenchError::Argument { argument: argument.clone(), reason }.into());
        }
    };
    let wants = |name: &str| part.is_none_or(|part| part == name);
    let mut suite = Suite::new("footprint", "What a channel costs at rest", &options)?;
    if wants("memory") {
        memory::per_endpoint(&mut suite, &options, false)?;
        memory::per_endpoint(&mut suite, &options, true)?;
    }
    if wants("fleet") || wants("first") {
        let servers = Servers::start(many(options.quick), false)?;
        if wants("fleet") {
            memory::fleet(&mut suite, &options, &servers)?;
        }
        if wants("first") {
            first::measure(&mut suite, &options, &servers)?;
        }
    }
    suite.write()?;
    Ok(())
}

/// How many endpoints the large fleet has here.
fn many(quick: bool) -> usize {
    let limits = std::fs::read_to_string("/proc/self/limits").unwrap_or_default();
    let limit = limits.lines().find_map(|line| line.strip_prefix("Max open files")?.split_whitespace().next()?.parse().ok());
    let possible = limit.unwrap_or(1024_usize).saturating_sub(200);
    let wanted = if quick { 1000 } else { MANY };
    if possible < wanted {
        eprintln!("{possible} endpoints in place of {wanted}: the limit of open files");
    }
    wanted.min(possible)
}
