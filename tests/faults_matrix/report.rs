//! A line of JSON for each cell, in `target/faults`; `cargo xtask test faults` makes tables of them.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};

use crate::armour::Armour;
use crate::cell::Seen;
use crate::fault::Fault;

pub(crate) fn line(fault: &Fault, seen: &Seen) -> Value {
    json!({
        "armour": seen.armour.name(),
        "fault": fault.name,
        "policy": seen.cell.policy,
        "calls": seen.cell.kind.name(),
        "made": seen.records.len(),
        "failed": seen.failed(),
        "twice": seen.twice(),
        "slowest_ms": millis(seen.slowest()),
        "left_ms": seen.left_after().map(millis),
        "back_ms": seen.back_after().map(millis),
    })
}

/// Replaces the lines of this fault's last run.
pub(crate) fn write(fault: &Fault, armour: Armour, lines: impl Iterator<Item = Value>) {
    let directory = directory();
    std::fs::create_dir_all(&directory).unwrap();
    let text: String = lines.map(|line| format!("{line}\n")).collect();
    let name = format!("{} {}", armour.name(), fault.name).replace(|letter: char| !letter.is_ascii_alphanumeric(), "-");
    std::fs::write(directory.join(name).with_extension("jsonl"), text).unwrap();
}

/// Beside the other things that cargo makes.
fn directory() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap().join("faults")
}

fn millis(duration: Duration) -> u64 {
    duration.as_millis().try_into().unwrap_or(u64::MAX)
}
