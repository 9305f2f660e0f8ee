//! A suite's results, on their way into files.

use std::fmt::{Display, Write as _};
use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

use crate::head::root;
use crate::plot::draw;
use crate::{BenchError, Head, Measured, Options, Plot, Table};

/// Tables, plots and figures of one suite, in the order they are added.
#[derive(Debug)]
pub struct Suite {
    name: String,
    head: Head,
    markdown: String,
    measured: Map<String, Value>,
    facts: Map<String, Value>,
    plots: Vec<Plot>,
}

/// The files that were written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Written {
    /// The tables.
    pub markdown: PathBuf,
    /// The head, and every figure of every round.
    pub json: PathBuf,
    /// The plots, one below the other; none without plots.
    pub svg: Option<PathBuf>,
}

impl Suite {
    /// Without results yet. `name` is that of the files and of the command; `title` says what is measured.
    ///
    /// # Errors
    /// [`BenchError::Argument`] for a name that is no plain file name.
    pub fn new(name: &str, title: &str, options: &Options) -> Result<Self, BenchError> {
        if name.is_empty() || !name.chars().all(|letter| letter.is_ascii_alphanumeric() || "_-".contains(letter)) {
            let reason = "the name of a suite is of letters, digits, - and _".to_owned();
            return Err(BenchError::Argument { argument: name.to_owned(), reason });
        }
        let head = Head::new(name);
        let warning = if options.quick { "\n**A quick run: it shows that the suite works, and nothing else.**\n" } else { "" };
        let markdown = format!("# {title}\n\n{}{warning}", head.markdown());
        Ok(Self { name: name.to_owned(), head, markdown, measured: Map::new(), facts: Map::new(), plots: Vec::new() })
    }

    /// Begins a part with a headline.
    pub fn section(&mut self, headline: &str) {
        let _ = write!(self.markdown, "\n## {headline}\n");
    }

    /// A paragraph of Markdown.
    pub fn note(&mut self, text: impl Display) {
        let _ = write!(self.markdown, "\n{text}\n");
    }

    /// A table, if it has rows.
    pub fn table(&mut self, table: &Table) {
        if !table.is_empty() {
            let _ = write!(self.markdown, "\n{table}");
        }
    }

    /// A plot, below those before.
    pub fn plot(&mut self, plot: impl Into<Plot>) {
        self.plots.push(plot.into());
    }

    /// Figures, for the file in JSON. `group` says under which conditions; a second one of the same name replaces the first.
    ///
    /// # Errors
    /// [`BenchError::NotFinite`].
    pub fn measured(&mut self, group: &str, measured: &Measured) -> Result<(), BenchError> {
        self.measured.insert(group.to_owned(), measured.json()?);
        Ok(())
    }

    /// Anything else worth keeping, for the file in JSON: a size, a count.
    pub fn fact(&mut self, name: &str, value: Value) {
        self.facts.insert(name.to_owned(), value);
    }

    /// What will be written as Markdown.
    #[must_use]
    pub fn markdown(&self) -> &str {
        &self.markdown
    }

    /// Writes `target/bench/NAME.md`, `.json` and `.svg`, prints the first of them, and says on standard error where they are.
    ///
    /// # Errors
    /// [`BenchError::Io`], [`BenchError::Plot`], [`BenchError::NotFinite`].
    pub fn write(&self) -> Result<Written, BenchError> {
        let written = self.write_to(&target().join("bench"))?;
        print!("{}", self.markdown);
        for path in [Some(&written.markdown), Some(&written.json), written.svg.as_ref()].into_iter().flatten() {
            eprintln!("{}", path.display());
        }
        Ok(written)
    }

    /// Writes the files into this directory, which is made if need be.
    ///
    /// # Errors
    /// As [`write`](Self::write).
    pub fn write_to(&self, directory: &Path) -> Result<Written, BenchError> {
        // Drawn first, so that a plot that cannot be drawn leaves the files of an earlier run as they are.
        let drawing = if self.plots.is_empty() { None } else { Some(draw(&self.plots)?) };
        std::fs::create_dir_all(directory).map_err(|error| BenchError::Io { path: directory.to_owned(), error })?;
        let file = |extension: &str, text: &str| {
            let path = directory.join(format!("{}.{extension}", self.name));
            std::fs::write(&path, text).map(|()| path.clone()).map_err(|error| BenchError::Io { path, error })
        };
        let json = json!({"suite": self.name, "head": self.head.json(), "measured": self.measured, "facts": self.facts});
        Ok(Written {
            markdown: file("md", &self.markdown)?,
            json: file("json", &format!("{json:#}\n"))?,
            svg: drawing.map(|text| file("svg", &text)).transpose()?,
        })
    }
}

/// Cargo's target directory: the one that was asked for, else the one this program was built in, which cargo has tagged.
fn target() -> PathBuf {
    if let Some(asked) = std::env::var_os("CARGO_TARGET_DIR").map(PathBuf::from).filter(|path| path.is_absolute()) {
        return asked;
    }
    let program = std::env::current_exe().unwrap_or_default();
    let tagged = program.ancestors().find(|directory| directory.join("CACHEDIR.TAG").is_file());
    tagged.map_or_else(|| root().join("target"), Path::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Bars, Column, Rounds, Sample, Spread};

    #[test]
    fn results_are_written_in_three_forms() {
        let mut suite = Suite::new("unit", "A test", &Options::parse(["--quick".to_owned()]).unwrap()).unwrap();
        let measured = Rounds::new(["a <b>"], 2).unwrap().run(|_| Ok::<_, BenchError>(Sample::new().with("ns", 2.0))).unwrap();
        let mut table = Table::new([Column::left("subject"), Column::right("ns")]);
        table.push(["a", "2.0"]).unwrap();
        let mut bars = Bars::new("Times", "ns");
        bars.push("a <b>", measured.spread(0, "ns").unwrap());
        suite.section("Part");
        suite.note("Said.");
        suite.table(&table);
        suite.table(&Table::new([Column::left("empty")]));
        suite.measured("all", &measured).unwrap();
        suite.fact("size", json!(7));
        suite.plot(bars);
        let directory = target().join("bench").join(format!("unit-{}", std::process::id()));
        let written = suite.write_to(&directory).unwrap();
        let text = std::fs::read_to_string(&written.markdown).unwrap();
        let parts = ["# A test\n", "commit ", "A quick run", "\n## Part\n", "Said.", "| a       | 2.0 |"];
        assert!(parts.iter().all(|part| text.contains(part)) && !text.contains("empty"), "{text}");
        let json: Value = serde_json::from_str(&std::fs::read_to_string(&written.json).unwrap()).unwrap();
        assert_eq!(json["measured"]["all"]["a <b>"]["ns"]["rounds"], json!([2.0, 2.0]));
        assert_eq!((&json["suite"], &json["facts"]["size"]), (&json!("unit"), &json!(7)));
        assert!(std::fs::read_to_string(written.svg.unwrap()).unwrap().contains("a &lt;b&gt;"));
        std::fs::remove_dir_all(directory).unwrap();
    }

    #[test]
    fn a_plot_that_cannot_be_drawn_leaves_no_files() {
        let mut suite = Suite::new("broken", "A test", &Options::default()).unwrap();
        let mut bars = Bars::new("Times", "ns");
        bars.push("a", Spread { most: f64::NAN, ..Spread::of([1.0]).unwrap() });
        suite.plot(bars);
        let directory = target().join("bench").join(format!("broken-{}", std::process::id()));
        assert!(matches!(suite.write_to(&directory), Err(BenchError::NotFinite { .. })));
        assert!(!directory.exists());
    }

    #[test]
    fn the_name_is_a_plain_one() {
        for bad in ["", "../x", "a/b", "a b", "a.md"] {
            assert!(matches!(Suite::new(bad, "t", &Options::default()), Err(BenchError::Argument { .. })), "{bad}");
        }
    }
}
