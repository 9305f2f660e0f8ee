//! The list of what specifications ask for, and the tests it names.

use std::fs;
use std::path::Path;

const LIST: &str = "docs/SPEC_TESTS.md";

/// So that a list that was cut short, or that this test cannot read any more, is noticed.
const FEWEST_RULES: usize = 80;

#[test]
fn every_test_that_shows_a_rule_is_there() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let rows = rules(&fs::read_to_string(root.join(LIST)).expect("the list"));
    assert!(rows.len() >= FEWEST_RULES, "{} rules", rows.len());
    let source = |path: &str| fs::read_to_string(root.join(path)).unwrap_or_default();
    let wrong: Vec<String> = rows.iter().filter_map(|row| row.wrong(source)).collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn the_check_sees_what_it_looks_for() {
    let of = |tests: &str| Rule { rule: "a rule".into(), tests: tests.into() };
    let source = |path: &str| if path == "a.rs" { "#[test]\nfn shown() {}\nfn helper() {}\n".to_owned() } else { String::new() };
    for (tests, right) in [
        ("`a.rs::shown`", true),
        ("not built: nobody asked", true),
        ("", false),
        ("some day", false),
        ("`a.rs::gone`", false),
        ("`a.rs::helper`", false),
        ("`b.rs::shown`", false),
        ("`a.rs::shown`, `a.rs::gone`", false),
    ] {
        assert_eq!(of(tests).wrong(source).is_none(), right, "{tests}");
    }
    let read = rules("| rule | test |\n|---|---|\n| one | `a.rs::shown` |\n\ntext\n| two | none |\n");
    assert_eq!(read.iter().map(|rule| &*rule.rule).collect::<Vec<_>>(), ["one", "two"]);
    let property = "proptest! {\n    /// Always.\n    #[test]\n    fn holds(a in 0..3_u32) {\n    }\n}\n";
    assert!(is_test(property, "holds") && !is_test(property, "hold"));
    assert!(is_test("#[tokio::test(flavor = \"multi_thread\")]\nasync fn waits() {}\n", "waits"));
}

/// One line of the list.
struct Rule {
    rule: String,
    tests: String,
}

impl Rule {
    /// What is wrong with it: it names no test, or one that is not there.
    fn wrong(&self, source: impl Fn(&str) -> String) -> Option<String> {
        let named: Vec<&str> = self.tests.split('`').skip(1).step_by(2).collect();
        if named.is_empty() {
            let said = self.tests.starts_with("not built: ");
            return (!said).then(|| format!("{}: neither a test nor why there is none", self.rule));
        }
        let missing = |test: &&&str| match test.split_once("::") {
            Some((path, name)) => !is_test(&source(path), name),
            None => true,
        };
        named.iter().find(missing).map(|test| format!("{}: no test {test}", self.rule))
    }
}

/// Whether a source has a test of this name: a function with a test's attribute within the lines before it.
fn is_test(source: &str, name: &str) -> bool {
    let lines: Vec<&str> = source.lines().map(str::trim_start).collect();
    lines.iter().enumerate().any(|(at, line)| {
        let line = line.strip_prefix("async ").unwrap_or(line);
        let ours = line.strip_prefix("fn ").and_then(|rest| rest.strip_prefix(name)).is_some_and(|rest| rest.starts_with('('));
        let mut before = lines[..at].iter().rev().take_while(|line| line.starts_with('#') || line.starts_with("//"));
        ours && before.any(|line| line.starts_with("#[test]") || line.starts_with("#[tokio::test"))
    })
}

/// The rows of the tables, without their heads.
fn rules(list: &str) -> Vec<Rule> {
    let cells = |line: &str| {
        let (rule, tests) = line.strip_prefix("| ")?.strip_suffix(" |")?.split_once(" | ")?;
        Some(Rule { rule: rule.to_owned(), tests: tests.to_owned() })
    };
    list.lines().filter_map(cells).filter(|row| (&*row.rule, &*row.tests) != ("rule", "test")).collect()
}
