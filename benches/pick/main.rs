//! What a pick costs: nanoseconds per pick and thread, by policy, number of endpoints and number of threads, beside other balancers.
//!
//! `cargo xtask bench pick [--quick] [--rounds N] [-- WORD…]`; with words only the pickers whose names contain one of them.
//!
//! Every policy of the registry, built by `Policy::rebuild` and called through `dyn Picker`, as a channel does. Each thread has a scratch
//! of its own, as each kept clone of a channel does; "fresh" makes a scratch for every pick, as a channel cloned per call does; "half" is a pick of
//! a call that only every other endpoint is allowed to. The accounting of a call (`begin`, `end`) is part of the policies that look at load, which
//! live by it; "busy" is with a call in flight at each endpoint, where an idle one would spare it the look at others. Policies that hash get 64 keys in
//! turn.
//!
//! Beside them, in the same rounds: tower's P2C over pending requests and over Peak-EWMA ([`tower`]), and pingora's selections
//! ([`pingora`]). Every subject is measured once per round for some milliseconds, after picks that are not counted: twice as many as there are endpoints,
//! so that its memory is in the cache again after the others had it.

mod goals;
mod ours;
mod peers;
mod pingora;
mod report;
mod subject;
mod tower;

use std::sync::Arc;
use std::time::Duration;

use lb_bench::{BenchError, Options, Rounds, Sample};

use pingora::Pingora;
use subject::{COUNTER, Counter, Form, Subject};

const ENDPOINTS: [u32; 4] = [10, 100, 1_000, 10_000];
const QUICK: [u32; 2] = [10, 1_000];

/// The figure of each measurement.
const TIME: &str = "ns";

fn main() -> Result<(), BenchError> {
    let options = Options::from_env()?;
    let sizes: &[u32] = if options.quick { &QUICK } else { &ENDPOINTS };
    let time = Duration::from_millis(if options.quick { 1 } else { 5 });
    let pingora = Pingora::start();
    if pingora.is_none() {
        eprintln!("pingora is left out: {} names no program", pingora::VARIABLE);
    }
    let subjects: Vec<Subject<'_>> = sizes.iter().flat_map(|size| subjects(&options, *size, pingora.as_ref())).collect();
    let rounds = Rounds::new(subjects.iter().map(|subject| subject.key.to_string()), options.rounds(15, 3))?;
    let measured = rounds.run(|place| Ok::<_, BenchError>(Sample::new().with(TIME, subjects[place].measure(time)?)))?;
    let keys = subjects.into_iter().map(|subject| subject.key).collect();
    report::Report::new(&options, sizes, keys, measured)?.write()
}

/// All pickers of this size, in all forms that can be measured here.
fn subjects<'a>(options: &Options, size: u32, pingora: Option<&'a Pingora>) -> Vec<Subject<'a>> {
    let two = std::thread::available_parallelism().is_ok_and(|cores| cores.get() > 1);
    let threads: &[u32] = if two { &[1, 2] } else { &[1] };
    let mut all = Vec::new();
    for (name, picks) in ours::pickers(size, &|name| options.wants(name)) {
        all.extend(threads.iter().map(|threads| Subject::local(&name, size, Form::Kept, *threads, picks.kept())));
        all.extend(threads.iter().map(|threads| Subject::local(&name, size, Form::Half, *threads, picks.half())));
        all.push(Subject::local(&name, size, Form::Fresh, 1, picks.fresh()));
    }
    for (name, picks) in tower::pickers(size).into_iter().filter(|(name, _)| options.wants(name)) {
        all.extend(threads.iter().map(|threads| Subject::local(name, size, Form::Kept, *threads, picks.clone())));
    }
    for (name, kind) in pingora::KINDS.into_iter().filter(|(name, _)| options.wants(name)) {
        let remote = pingora.into_iter().flat_map(|pingora| threads.iter().map(move |threads| (pingora, *threads)));
        all.extend(remote.map(|(pingora, threads)| Subject::remote(name, size, threads, pingora, kind)));
    }
    all.extend(threads.iter().map(|threads| Subject::local(COUNTER, size, Form::Kept, *threads, Arc::new(Counter::default()))));
    all
}
