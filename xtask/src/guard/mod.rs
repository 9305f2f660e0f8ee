//! Guards: what fails when a pick has become dearer or a policy worse.
//!
//! Neither looks at a clock. Picks are counted in instructions (callgrind, driven by gungraun) and compared with the committed budgets;
//! policies meet simulated calls and are compared with the committed tables. So both say the same on a machine that is busy, and a change
//! that means to be dearer or worse shows it in the diff of a committed file.

mod budgets;
mod counts;
mod simulator;
mod tools;

use std::path::PathBuf;

use crate::error::{Error, Result};
use crate::report::{Outcome, Report};
use crate::{in_ci, workspace};

use budgets::Budgets;

/// Both guards, as CI runs them.
pub(crate) fn all(report: &mut Report) {
    picks(report);
    simulated(report);
}

/// `cargo xtask bench guard`: compares picks with their budgets, or with `--bless` writes the budgets down anew.
pub(crate) fn named(report: &mut Report, args: &[String]) {
    match args {
        [] => all(report),
        [word] if word == "--bless" => report.check("guard: new budgets of picks", bless),
        _ => report.check("guard", || Err(Error::new(format!("`{}`: allowed is nothing or `--bless`", args.join(" "))))),
    }
}

fn picks(report: &mut Report) {
    report.step("guard: instructions per pick", || {
        let tools = match tools::obtain() {
            Ok(tools) => tools,
            Err(error) if in_ci() => return Err(error),
            Err(error) => return Ok(Outcome::Skipped(error.to_string())),
        };
        let budgets = Budgets::read(&budgets_file())?;
        let verdict = budgets.compare(&counts::of_all_picks(&tools)?, &tools::compiler()?);
        verdict.notes.iter().for_each(|note| println!("{note}"));
        complain(&verdict.complaints, "`cargo xtask bench guard --bless` writes new budgets, for a change that is worth it")
    });
}

fn simulated(report: &mut Report) {
    report.step("guard: simulated p99", || {
        complain(&simulator::complaints()?, "docs/POLICIES.md says how its tables are made, for a change that is worth it")
    });
}

fn bless() -> Result<()> {
    let counts = counts::of_all_picks(&tools::obtain()?)?;
    Budgets::above(&counts, tools::compiler()?).write(&budgets_file())
}

fn budgets_file() -> PathBuf {
    workspace::root().join("crates/lb-guard/budgets.json")
}

/// Each on a line of its own, before the error that sums them up.
fn complain(complaints: &[String], otherwise: &str) -> Result<Outcome> {
    complaints.iter().for_each(|complaint| eprintln!("{complaint}"));
    match complaints {
        [] => Ok(Outcome::Passed),
        [first] => Err(Error::new(format!("{first} ({otherwise})"))),
        [first, rest @ ..] => Err(Error::new(format!("{first}, and {} more above ({otherwise})", rest.len()))),
    }
}
