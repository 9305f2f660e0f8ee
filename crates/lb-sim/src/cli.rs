//! The command line.

use std::ffi::OsString;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};
use indicatif::{ProgressBar, ProgressStyle};
use lb_core::ConfigError;

use crate::candidate::Candidate;
use crate::compare::{Comparison, Line};
use crate::lineup::lineup;
use crate::report;
use crate::scenario::{Scenario, ScenarioError, shipped};

/// What `--quick` makes of every time.
const QUICK: f64 = 0.2;

const EXAMPLES: &str = "\
Examples:
  lb-sim list
  lb-sim prequal_fig7
  lb-sim prequal_ramp --policies oracle,prequal,peak_ewma --loads 1.27,1.57 --seeds 8
  lb-sim my.toml --policies 'random,least_request{\"choiceCount\":3}' --svg out.svg --csv out.csv

Exit codes:
  0  done
  1  a result could not be written
  2  the command, the scenario or a policy makes no sense";

/// Why there is no result.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CliError {
    /// The scenario.
    #[error(transparent)]
    Scenario(#[from] ScenarioError),
    /// A policy or its configuration.
    #[error(transparent)]
    Policy(#[from] ConfigError),
    /// A file could not be written.
    #[error("{path}: {source}")]
    Write {
        /// Which file.
        path: String,
        /// Why.
        source: std::io::Error,
    },
}

/// The command with these arguments, the first being its name.
pub fn main(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let matches = match command().try_get_matches_from(args) {
        Ok(matches) => matches,
        Err(error) => {
            let _ = error.print();
            return ExitCode::from(error.exit_code() as u8);
        }
    };
    let done = match text(&matches, "scenario") {
        Some("list") | None => list(),
        Some(name) => simulate(name, &matches),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("lb-sim: {error}");
            ExitCode::from(if matches!(error, CliError::Write { .. }) { 1 } else { 2 })
        }
    }
}

fn list() -> Result<(), CliError> {
    for (name, _) in shipped() {
        println!("{name:<20}  {}", Scenario::load(name)?.about);
    }
    Ok(())
}

fn simulate(name: &str, matches: &ArgMatches) -> Result<(), CliError> {
    let comparison = comparison(name, matches)?;
    println!("{}: {}\n", comparison.scenario.name, comparison.scenario.about);
    let bar = bar(comparison.seconds());
    let lines = comparison.run(&|seconds| bar.inc((seconds * 10.0).round() as u64))?;
    bar.finish_and_clear();
    print!("{}", report::text(&lines));
    write(matches, &comparison, &lines)
}

/// What the arguments ask for.
fn comparison(name: &str, matches: &ArgMatches) -> Result<Comparison, CliError> {
    let mut scenario = Scenario::load(name)?;
    if matches.get_flag("quick") {
        scenario = scenario.stretched(QUICK);
    }
    if let Some(seconds) = matches.get_one::<f64>("seconds") {
        scenario.seconds = *seconds;
    }
    if let Some(clients) = matches.get_one::<usize>("clients") {
        scenario.clients = *clients;
    }
    if let Some(loads) = matches.get_many::<f64>("loads") {
        scenario.loads = loads.copied().collect();
    }
    scenario.check()?;
    let candidates = match (text(matches, "policies"), scenario.policies.as_slice()) {
        (Some(list), _) => Candidate::list(list)?,
        (None, []) => lineup(),
        (None, names) => names.iter().map(|name| name.parse()).collect::<Result<_, _>>()?,
    };
    let mut comparison = Comparison::new(scenario, candidates);
    comparison.seeds = matches.get_one::<u64>("seeds").copied().unwrap_or(1);
    let cores = || std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
    comparison.jobs = matches.get_one::<NonZeroUsize>("jobs").copied().unwrap_or_else(cores);
    Ok(comparison)
}

fn write(matches: &ArgMatches, comparison: &Comparison, lines: &[Line]) -> Result<(), CliError> {
    let outputs: [(&str, &dyn Fn() -> String); 3] = [
        ("csv", &|| report::csv(lines)),
        ("markdown", &|| report::markdown(lines)),
        ("svg", &|| report::svg(&comparison.scenario, lines)),
    ];
    for (option, render) in outputs {
        if let Some(path) = matches.get_one::<PathBuf>(option) {
            save(path, &render())?;
        }
    }
    Ok(())
}

fn save(path: &Path, text: &str) -> Result<(), CliError> {
    std::fs::write(path, text).map_err(|source| CliError::Write { path: path.display().to_string(), source })
}

/// On a terminal only; counts tenths of simulated seconds.
fn bar(seconds: f64) -> ProgressBar {
    let bar = ProgressBar::new((seconds * 10.0).ceil() as u64);
    let style = ProgressStyle::with_template("{bar:40} {percent:>3} %  {elapsed} so far, {eta} to go");
    match style {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}

fn text<'a>(matches: &'a ArgMatches, name: &str) -> Option<&'a str> {
    matches.get_one::<String>(name).map(String::as_str)
}

fn command() -> Command {
    let scenario = Arg::new("scenario").value_name("SCENARIO").help("A shipped scenario, a TOML file, or `list`").required(true);
    let seconds = option("seconds", "S", "Measures for this long instead").value_parser(value_parser!(f64));
    let loads = option("loads", "L,…", "At these loads instead").value_parser(value_parser!(f64)).value_delimiter(',');
    let jobs = option("jobs", "N", "Runs at the same time [default: one per core]").value_parser(value_parser!(NonZeroUsize));
    let quick = Arg::new("quick").long("quick").help("Makes every time a fifth").action(ArgAction::SetTrue);
    Command::new("lb-sim")
        .about("Compares load-balancing policies on simulated servers")
        .version(env!("CARGO_PKG_VERSION"))
        .arg_required_else_help(true)
        .after_help(EXAMPLES)
        .arg(scenario)
        .arg(option("policies", "A,B{…},…", "Compares these: names, each with its JSON configuration behind it"))
        .arg(
            option("seeds", "N", "Repeats with seeds 1 to N and adds up [default: 1]")
                .value_parser(value_parser!(u64).range(1..=1_000)),
        )
        .args([seconds, loads])
        .arg(option("clients", "N", "With this many clients instead").value_parser(value_parser!(usize)))
        .args([jobs, quick])
        .args([
            file("csv", "Writes all numbers, second by second"),
            file("markdown", "Writes the tables as Markdown"),
            file("svg", "Draws the latencies"),
        ])
}

fn option(name: &'static str, value: &'static str, help: &'static str) -> Arg {
    Arg::new(name).long(name).value_name(value).help(help)
}

fn file(name: &'static str, help: &'static str) -> Arg {
    option(name, "FILE", help).value_parser(value_parser!(PathBuf))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_definition_is_sound() {
        command().debug_assert();
    }

    fn asked(line: &str) -> Result<Comparison, CliError> {
        let matches = command().try_get_matches_from(line.split_whitespace()).expect("a sound line");
        comparison(text(&matches, "scenario").expect("required"), &matches)
    }

    #[test]
    fn options_replace_what_the_scenario_says() {
        let plain = asked("lb-sim hetero").unwrap();
        assert_eq!((plain.seeds, plain.scenario.loads.len(), plain.candidates.len()), (1, 2, lineup().len()));
        let other = asked("lb-sim hetero --quick --loads 0.5,1,2 --clients 7 --seeds 3 --policies random,oracle").unwrap();
        assert_eq!((other.scenario.loads.as_slice(), other.scenario.clients, other.seeds), ([0.5, 1.0, 2.0].as_slice(), 7, 3));
        assert!((other.scenario.seconds - 0.2 * plain.scenario.seconds).abs() < 1e-9 && other.candidates.len() == 2);
    }

    #[test]
    fn what_makes_no_sense_is_told_by_name() {
        for (line, message) in [
            ("lb-sim nothing", "scenario is \"nothing\", allowed is a file or one of"),
            ("lb-sim hetero --loads 0", "hetero: loads[0] is 0, allowed is a number from"),
            ("lb-sim hetero --clients 0", "hetero: clients is 0, allowed is"),
            ("lb-sim hetero --policies nobody", "policy is \"nobody\", allowed is one of"),
        ] {
            let error = asked(line).unwrap_err().to_string();
            assert!(error.starts_with(message), "{error}");
        }
    }
}
