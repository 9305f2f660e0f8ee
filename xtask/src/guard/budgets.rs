//! What a pick may cost, in instructions, and the comparison with what it does cost.
//!
//! A count does not wobble: the same source and compiler give the same one. But what has nothing to do with a pick can move it a little,
//! because the compiler then inlines or orders another way; hence [`MARGIN`]. Another compiler moves counts by more; the project promises an
//! oldest one and pins none, so the file says which compiler its budgets are of, and [`OTHER_COMPILER`] is added under any other.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::{Map, Value, json};

use crate::error::{Context as _, Error, Result};
use crate::workspace;

use super::counts::Counts;

/// What a budget is above what was measured when it was written, as a share.
const MARGIN: f64 = 0.03;

/// How far above its budget a pick may be that another compiler has compiled, as a share.
const OTHER_COMPILER: f64 = 0.15;

/// A pick that is this far below its budget could give some of it back; told, and no failure.
const GENEROUS: f64 = 0.10;

const ABOUT: &str = "Instructions per pick, at most: by policy, then by number of endpoints. Written by `cargo xtask bench guard --bless`, 3 % above what it counts.";

/// What the file says.
#[derive(Debug, PartialEq)]
pub(super) struct Budgets {
    compiler: String,
    picks: Counts,
}

/// What came of a comparison.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Verdict {
    /// Why it fails; empty if it does not.
    pub(super) complaints: Vec<String>,
    pub(super) notes: Vec<String>,
}

impl Budgets {
    /// Budgets that what was counted just now keeps to.
    pub(super) fn above(counts: &Counts, compiler: String) -> Self {
        let budget = |count: &f64| (count * (1.0 + MARGIN) * 10.0).ceil() / 10.0;
        let picks = counts.iter().map(|(case, count)| (case.clone(), budget(count))).collect();
        Self { compiler, picks }
    }

    pub(super) fn read(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path).context(path.display())?;
        Self::parse(&text).context(path.display())
    }

    pub(super) fn write(&self, path: &Path) -> Result<()> {
        std::fs::write(path, self.text()).context(path.display())
    }

    fn parse(text: &str) -> Result<Self> {
        let file: Value = serde_json::from_str(text).context("no JSON")?;
        let mut picks = Counts::new();
        for (policy, sizes) in file["picks"].as_object().ok_or_else(|| Error::new("`picks` is no object"))? {
            for (endpoints, budget) in sizes.as_object().ok_or_else(|| Error::new(format!("`picks.{policy}` is no object")))? {
                let wrong = || Error::new(format!("`picks.{policy}.{endpoints}`: allowed are numbers"));
                let case = (policy.clone(), endpoints.parse().map_err(|_| wrong())?);
                picks.insert(case, budget.as_f64().ok_or_else(wrong)?);
            }
        }
        Ok(Self { compiler: workspace::text(&file["compiler"]), picks })
    }

    /// A line for each policy, so that a diff names those that changed.
    fn text(&self) -> String {
        let mut policies: BTreeMap<&str, Map<String, Value>> = BTreeMap::new();
        for ((policy, endpoints), budget) in &self.picks {
            policies.entry(policy).or_default().insert(endpoints.to_string(), json!(budget));
        }
        let lines: Vec<String> =
            policies.into_iter().map(|(policy, sizes)| format!("    {}: {}", json!(policy), Value::Object(sizes))).collect();
        let (about, compiler) = (json!(ABOUT), json!(self.compiler));
        format!("{{\n  \"about\": {about},\n  \"compiler\": {compiler},\n  \"picks\": {{\n{}\n  }}\n}}\n", lines.join(",\n"))
    }

    /// Every policy must be within its budget, have one, and be counted.
    pub(super) fn compare(&self, counts: &Counts, compiler: &str) -> Verdict {
        let mut verdict = Verdict::default();
        let allowance = if compiler == self.compiler { 1.0 } else { 1.0 + OTHER_COMPILER };
        if allowance > 1.0 {
            let more = 100.0 * OTHER_COMPILER;
            verdict
                .notes
                .push(format!("budgets are of compiler {}, this is {compiler}: {more:.0} % more is allowed", self.compiler));
        }
        for (case, budget) in &self.picks {
            let name = described(case);
            let Some(count) = counts.get(case) else {
                verdict.complaints.push(format!("{name} has a budget and was not counted"));
                continue;
            };
            let budget = budget * allowance;
            if *count > budget {
                let over = 100.0 * (count / budget - 1.0);
                verdict
                    .complaints
                    .push(format!("{name}: {count:.1} instructions per pick, its budget is {budget:.1} ({over:.1} % over)"));
            } else if *count < budget * (1.0 - GENEROUS) && allowance == 1.0 {
                verdict.notes.push(format!("{name}: {count:.1} instructions per pick, its budget of {budget:.1} could be lower"));
            }
        }
        let without = counts.keys().filter(|case| !self.picks.contains_key(*case));
        verdict.complaints.extend(without.map(|case| format!("{} has no budget", described(case))));
        verdict
    }
}

fn described((policy, endpoints): &(String, u32)) -> String {
    format!("{policy} at {endpoints} endpoints")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(list: &[(&str, u32, f64)]) -> Counts {
        list.iter().map(|(policy, endpoints, count)| (((*policy).to_owned(), *endpoints), *count)).collect()
    }

    fn budgets(list: &[(&str, u32, f64)]) -> Budgets {
        Budgets { compiler: "1.2.3".to_owned(), picks: counts(list) }
    }

    #[test]
    fn a_pick_over_its_budget_is_named_with_both_numbers() {
        let budgets = budgets(&[("random", 10, 100.0), ("random", 10_000, 100.0)]);
        let verdict = budgets.compare(&counts(&[("random", 10, 100.0), ("random", 10_000, 110.0)]), "1.2.3");
        let expected = "random at 10000 endpoints: 110.0 instructions per pick, its budget is 100.0 (10.0 % over)";
        assert_eq!(verdict.complaints, [expected]);
        assert!(verdict.notes.is_empty());
    }

    #[test]
    fn what_was_blessed_passes_and_a_tenth_more_does_not() {
        let measured = counts(&[("random", 10, 47.3), ("maglev", 10_000, 123.4)]);
        let budgets = Budgets::above(&measured, "1.2.3".to_owned());
        assert_eq!(budgets.compare(&measured, "1.2.3"), Verdict::default());
        let more = measured.into_iter().map(|(case, count)| (case, 1.1 * count)).collect();
        assert_eq!(budgets.compare(&more, "1.2.3").complaints.len(), 2);
    }

    #[test]
    fn another_compiler_has_a_wider_budget_and_a_budget_all_the_same() {
        let budgets = budgets(&[("random", 10, 100.0)]);
        let verdict = budgets.compare(&counts(&[("random", 10, 110.0)]), "1.2.4");
        assert!(verdict.complaints.is_empty() && verdict.notes[0].contains("1.2.4"), "{verdict:?}");
        assert_eq!(budgets.compare(&counts(&[("random", 10, 116.0)]), "1.2.4").complaints.len(), 1);
    }

    #[test]
    fn a_policy_cannot_slip_out_of_the_guard() {
        let verdict = budgets(&[("gone", 10, 1.0)]).compare(&counts(&[("new", 10, 1.0)]), "1.2.3");
        assert_eq!(
            verdict.complaints,
            ["gone at 10 endpoints has a budget and was not counted", "new at 10 endpoints has no budget"]
        );
    }

    #[test]
    fn far_below_is_told_and_passes() {
        let verdict = budgets(&[("random", 10, 100.0)]).compare(&counts(&[("random", 10, 80.0)]), "1.2.3");
        assert!(verdict.complaints.is_empty() && verdict.notes[0].contains("could be lower"), "{verdict:?}");
    }

    #[test]
    fn the_file_round_trips_with_a_line_for_each_policy() {
        let budgets = budgets(&[("maglev", 10, 1.5), ("maglev", 10_000, 2.0), ("random", 10, 3.0)]);
        let text = budgets.text();
        assert!(text.contains("\n    \"maglev\": {\"10\":1.5,\"10000\":2.0},\n"), "{text}");
        assert_eq!(Budgets::parse(&text).unwrap(), budgets);
        let error = Budgets::parse(r#"{"picks": {"random": {"ten": 1}}}"#).unwrap_err().to_string();
        assert!(error.contains("picks.random.ten"), "{error}");
    }
}
