//! What to measure.

use std::time::Duration;

use lb_bench::{BenchError, Options};

use super::arms::{self, Arm};
use super::scenario::{self, Arrivals, Scenario};

/// What was asked for.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) scenarios: Vec<Scenario>,
    pub(crate) arms: Vec<Arm>,
    pub(crate) window: Duration,
    pub(crate) rounds: usize,
}

impl Plan {
    pub(crate) fn new(options: &Options) -> Result<Self, BenchError> {
        let (mut scenarios, mut known) = (scenario::all(), arms::all());
        let (mut window, mut rate, mut wanted) = (Duration::from_secs(2), None, arms::USUAL.map(str::to_owned).to_vec());
        let mut scenes = if options.quick { vec!["slow".to_owned()] } else { scenario::USUAL.map(str::to_owned).to_vec() };
        let mut rest = options.rest.iter();
        while let Some(flag) = rest.next() {
            let refused = |reason: String| BenchError::Argument { argument: flag.clone(), reason };
            let value = rest.next().ok_or_else(|| refused("needs a value".into()))?;
            let number = || value.parse::<u32>().ok().filter(|number| *number > 0).ok_or_else(|| refused("needs a number".into()));
            match flag.as_str() {
                "--scenario" if value == "all" => scenes.clear(),
                "--scenario" => scenes = names(value),
                "--policies" if value == "all" => wanted = known.iter().map(|arm| arm.name.clone()).collect(),
                "--policies" => wanted = names(value),
                "--millis" => window = Duration::from_millis(number()?.into()),
                "--rate" => rate = Some(f64::from(number()?)),
                _ => return Err(refused("allowed are --scenario, --policies, --millis, --rate, --rounds and --quick".into())),
            }
        }
        keep(&mut scenarios, &scenes, "--scenario", |scenario| scenario.name)?;
        keep(&mut known, &wanted, "--policies", |arm| &arm.name)?;
        for scenario in &mut scenarios {
            if let (Arrivals::Open(usual), Some(rate)) = (&mut scenario.arrivals, rate) {
                *usual = rate;
            }
        }
        let rounds = options.rounds(2, 1);
        Ok(Self { scenarios, arms: known, window, rounds })
    }
}

/// Names have commas of their own; a semicolon is between them.
fn names(list: &str) -> Vec<String> {
    list.split(';').map(|name| name.trim().to_owned()).collect()
}

/// Keeps what is named; everything if nothing is.
fn keep<T>(all: &mut Vec<T>, wanted: &[String], argument: &str, name: fn(&T) -> &str) -> Result<(), BenchError> {
    if let Some(unknown) = wanted.iter().find(|wanted| !all.iter().any(|one| name(one) == wanted.as_str())) {
        let known: Vec<&str> = all.iter().map(name).collect();
        let reason = format!("`{unknown}` is unknown; allowed are {}, separated by semicolons", known.join("; "));
        return Err(BenchError::Argument { argument: argument.to_owned(), reason });
    }
    if !wanted.is_empty() {
        all.retain(|one| wanted.iter().any(|wanted| wanted == name(one)));
    }
    Ok(())
}
