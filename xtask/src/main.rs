//! `cargo xtask`: the one door for people and for CI. Whatever CI does, a person does with the same words.
//!
//! Depends on the standard library and `serde_json` alone, because every command waits for this to be built first.

mod bench;
mod cached;
mod ci;
mod deny;
mod error;
mod examples;
mod faults;
mod features;
mod fuzz;
mod guard;
#[path = "../../crates/lb-testkit/src/services/location.rs"]
mod location;
mod msrv;
mod peers;
mod report;
mod services;
mod shell;
mod test;
mod workspace;

use std::process::ExitCode;

use error::{Error, Result};
use report::Report;

const USAGE: &str = "\
usage: cargo xtask COMMAND

  test [all|faults|real] [-- FILTER…]   fetch what tests need and run them; `faults` and `real` run only the
                                        integration tests whose file name begins so. Tables of the fault matrix
                                        are left in target/faults
  ci [WORD]                             everything CI checks, beginning with `test`; or only the steps whose name
                                        contains WORD
  services [status|fetch]               which real servers are here; get those that are missing
  services start|stop NAME              run one by hand, with the configuration the tests use
  fuzz [WORD] [-- SECONDS]              run the fuzz targets whose name contains WORD, 10 seconds each
  bench [NAME|all] [--quick] [-- ARGS…] run a suite of benchmarks (pick, choose, update, e2e, tail, footprint), or a benchmark
                                        beside them by its name; results are left in target/bench. `--quick` only
                                        shows that it works
  bench --quick                         what CI runs: every benchmark compiles, `pick` works, and the guards
  bench guard [--bless]                 picks against their budgets of instructions, simulated p99 against the
                                        committed tables; or new budgets
  peers [NAME]                          build the programs of other implementations (go, cpp, rust, pingora, envoy) that suites
                                        compare with, as these would; one that cannot be had is skipped
  peers --check                         the same, and have each prove that it does what benchmarks rely on";

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match run(&args) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("xtask: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &[String]) -> Result<ExitCode> {
    let (words, rest) = match args.iter().position(|arg| arg == "--") {
        Some(at) => (&args[..at], &args[at + 1..]),
        None => (args, &args[..0]),
    };
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    if let ["bench", words @ ..] = &words[..] {
        return benchmarks(words, rest, args);
    }
    let mut report = Report::new();
    match words[..] {
        ["test"] | ["test", "all"] => test::all(&mut report, rest),
        ["test", "faults"] => test::named(&mut report, "faults", rest),
        ["test", "real"] => test::named(&mut report, "real", rest),
        ["ci"] => ci::all(&mut report),
        ["ci", word] => {
            report = Report::only(word);
            ci::all(&mut report);
        }
        ["fuzz"] => fuzz::named(&mut report, "", rest),
        ["fuzz", word] => fuzz::named(&mut report, word, rest),
        ["peers"] => peers::all(&mut report),
        ["peers", "--check"] => peers::check(&mut report),
        ["peers", name] => peers::named(&mut report, name)?,
        ["services"] | ["services", "status"] => return services::status().map(|()| ExitCode::SUCCESS),
        ["services", "fetch"] => services::fetch_all(&mut report),
        ["services", "start", name] => return services::start(name).map(|()| ExitCode::SUCCESS),
        ["services", "stop", name] => return services::stop(name).map(|()| ExitCode::SUCCESS),
        ["help" | "--help" | "-h"] => {
            println!("{USAGE}");
            return Ok(ExitCode::SUCCESS);
        }
        _ => return Err(unknown(args)),
    }
    Ok(report.finish())
}

/// `--quick` and `--bless` may stand on either side of the name; the rest goes to the benchmark as it is.
fn benchmarks(words: &[&str], rest: &[String], args: &[String]) -> Result<ExitCode> {
    let (flags, names): (Vec<&str>, Vec<&str>) = words.iter().partition(|word| ["--quick", "--bless"].contains(word));
    let rest: Vec<String> = flags.into_iter().map(str::to_owned).chain(rest.iter().cloned()).collect();
    let mut report = Report::new();
    match names[..] {
        [] if rest == ["--quick"] => bench::quick(&mut report),
        ["guard"] => guard::named(&mut report, &rest),
        [] | ["all"] => bench::all(&mut report, &rest),
        [name] if !name.starts_with('-') => bench::named(&mut report, name, &rest),
        _ => return Err(unknown(args)),
    }
    Ok(report.finish())
}

fn unknown(args: &[String]) -> Error {
    Error::new(format!("`{}` is not a command\n{USAGE}", args.join(" ")))
}

/// Whether this runs in CI, where nothing may be skipped for want of something that CI is expected to have.
fn in_ci() -> bool {
    std::env::var_os("CI").is_some_and(|value| value == "true")
}
