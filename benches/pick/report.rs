//! Tables and plots.

use lb_bench::{Bars, BenchError, Column, Lines, Measured, Options, Spread, Suite, Table};

use crate::TIME;
use crate::goals::GOALS;
use crate::peers::PAIRS;
use crate::subject::{COUNTER, Form, Key};

/// What the line plot shows: one policy of each kind, and whoever is compared with.
const DRAWN: [&str; 7] =
    ["least_request", "peak_ewma timed", "prequal", "round_robin", "weighted_round_robin", "ring_hash", "maglev"];

/// Two threads that really run at once take at least so many times longer to add to one counter: five, where this was written.
const AT_ONCE: f64 = 1.5;

pub(crate) struct Report<'a> {
    suite: Suite,
    sizes: &'a [u32],
    keys: Vec<Key>,
    measured: Measured,
}

/// A picker in one form and with so many threads, whatever the number of endpoints.
#[derive(Clone, Copy)]
pub(crate) struct Row<'a> {
    pub(crate) picker: &'a str,
    pub(crate) form: Form,
    pub(crate) threads: u32,
}

impl<'a> Row<'a> {
    pub(crate) fn new(picker: &'a str, form: Form, threads: u32) -> Self {
        Self { picker, form, threads }
    }
}

impl<'a> Report<'a> {
    pub(crate) fn new(options: &Options, sizes: &'a [u32], keys: Vec<Key>, measured: Measured) -> Result<Self, BenchError> {
        let mut suite = Suite::new("pick", "Nanoseconds per pick", options)?;
        suite.note(format!(
            "Medians of {} rounds in which every picker was measured once, in turn. What is called growth, times or \"over\" is the median of \
             ratios within a round. Columns without another name are numbers of endpoints.",
            measured.rounds()
        ));
        Ok(Self { suite, sizes, keys, measured })
    }

    pub(crate) fn write(mut self) -> Result<(), BenchError> {
        self.goals()?;
        self.beside_peers()?;
        self.one_thread()?;
        self.two_threads()?;
        self.plots()?;
        self.suite.measured("picks", &self.measured)?;
        self.suite.write().map(|_| ())
    }

    fn goals(&mut self) -> Result<(), BenchError> {
        let columns =
            [Column::left("goal"), Column::left("of"), Column::right("measured"), Column::right("goal"), Column::left("met")];
        let mut table = Table::new(columns);
        for goal in GOALS {
            if let Some(worst) = goal.worst(self)? {
                let met = if worst <= goal.most { "yes" } else { "**no**" };
                table.push([goal.id, goal.what, &format!("{worst:.2}"), &format!("≤ {}", goal.most), met])?;
            }
        }
        self.suite.section("Goals");
        self.suite.table(&table);
        Ok(())
    }

    /// How many times our pick the peer's takes.
    fn beside_peers(&mut self) -> Result<(), BenchError> {
        let sizes = self.sizes.iter().map(|size| Column::right(size.to_string()));
        let mut table =
            Table::new([Column::left("ours"), Column::left("beside"), Column::right("threads")].into_iter().chain(sizes));
        for (ours, peer) in PAIRS {
            for threads in [1, 2] {
                let times =
                    |size: &u32| self.over(Row::new(peer, Form::Kept, threads), *size, Row::new(ours, Form::Kept, threads), *size);
                let times: Vec<Option<Spread>> = self.sizes.iter().map(times).collect::<Result<_, _>>()?;
                if times.iter().any(Option::is_some) {
                    let cells = times.iter().map(|times| times.map_or_else(|| "–".to_owned(), |times| format!("{times:.1}")));
                    table.push([ours.to_owned(), peer.to_owned(), threads.to_string()].into_iter().chain(cells))?;
                }
            }
        }
        if !table.is_empty() {
            self.suite.section("Beside peers: how many times our pick theirs takes, median [least–most]");
            self.suite.table(&table);
        }
        Ok(())
    }

    fn one_thread(&mut self) -> Result<(), BenchError> {
        let Some((first, last)) = self.ends() else { return Ok(()) };
        let sizes = self.sizes.iter().map(|size| Column::right(size.to_string()));
        let more =
            ["growth".to_owned(), format!("half of {last}"), "times".to_owned(), format!("fresh at {last}")].map(Column::right);
        let mut table = Table::new([Column::left("picker")].into_iter().chain(sizes).chain(more));
        for picker in self.pickers() {
            let [kept, half, fresh] = [Form::Kept, Form::Half, Form::Fresh].map(|form| Row::new(&picker, form, 1));
            let mut cells = vec![picker.clone()];
            for size in self.sizes {
                cells.push(shown(self.time(kept, *size)?));
            }
            cells.push(ratio(self.over(kept, last, kept, first)?));
            cells.push(shown(self.time(half, last)?));
            cells.push(ratio(self.over(half, last, kept, last)?));
            cells.push(shown(self.time(fresh, last)?));
            table.push(cells)?;
        }
        self.suite.section("One thread");
        self.suite.table(&table);
        Ok(())
    }

    fn two_threads(&mut self) -> Result<(), BenchError> {
        let sizes = || self.sizes.iter();
        let columns = sizes().map(|size| size.to_string()).chain(sizes().map(|size| format!("2 over 1 at {size}")));
        let mut table = Table::new([Column::left("picker")].into_iter().chain(columns.map(Column::right)));
        for picker in self.pickers() {
            let [one, two] = [1, 2].map(|threads| Row::new(&picker, Form::Kept, threads));
            let mut cells = vec![picker.clone()];
            for size in sizes() {
                cells.push(shown(self.time(two, *size)?));
            }
            for size in sizes() {
                cells.push(ratio(self.over(two, *size, one, *size)?));
            }
            if cells[1] != NONE {
                table.push(cells)?;
            }
        }
        if !table.is_empty() {
            self.suite.section("Two threads at once, per thread");
            self.suite.table(&table);
        }
        let counter = |threads| Row::new(COUNTER, Form::Kept, threads);
        let size = self.sizes.first().copied().unwrap_or_default();
        if self.over(counter(2), size, counter(1), size)?.is_some_and(|times| times.median < AT_ONCE) {
            self.suite.note("**The two threads did not run at once**: they shared a counter as cheaply as one has it alone. Another program had the second core.");
        }
        Ok(())
    }

    fn plots(&mut self) -> Result<(), BenchError> {
        let mut lines = Lines::new("Nanoseconds per pick, one thread", "endpoints", "ns");
        for picker in self.pickers() {
            if !DRAWN.contains(&picker.as_str()) && !is_peer(&picker) {
                continue;
            }
            let mut points = Vec::new();
            for size in self.sizes {
                points.extend(self.time(Row::new(&picker, Form::Kept, 1), *size)?.map(|time| (f64::from(*size), time)));
            }
            lines.push(picker, points);
        }
        let mut bars = Bars::new("Nanoseconds per pick at 1 000 endpoints, one thread", "ns");
        for picker in self.pickers() {
            if let Some(time) = self.time(Row::new(&picker, Form::Kept, 1), 1_000)? {
                bars.push(picker, time);
            }
        }
        // With a filter that leaves nothing to draw there is nothing to see.
        if self.pickers().iter().any(|picker| DRAWN.contains(&picker.as_str()) || is_peer(picker)) {
            self.suite.plot(lines);
        }
        if !self.keys.is_empty() {
            self.suite.plot(bars);
        }
        Ok(())
    }

    /// In the order they were measured in.
    fn pickers(&self) -> Vec<String> {
        let mut names: Vec<String> = Vec::new();
        for key in &self.keys {
            if !names.contains(&key.picker) {
                names.push(key.picker.clone());
            }
        }
        names
    }

    pub(crate) fn sizes(&self) -> &[u32] {
        self.sizes
    }

    fn ends(&self) -> Option<(u32, u32)> {
        Some((*self.sizes.first()?, *self.sizes.last()?))
    }

    fn place(&self, row: Row<'_>, size: u32) -> Option<usize> {
        let found = |key: &Key| key.picker == row.picker && (key.form, key.threads, key.size) == (row.form, row.threads, size);
        self.keys.iter().position(found)
    }

    /// None where it was not measured.
    pub(crate) fn time(&self, row: Row<'_>, size: u32) -> Result<Option<Spread>, BenchError> {
        self.place(row, size).map(|place| self.measured.spread(place, TIME)).transpose()
    }

    /// The time of the first over that of the second.
    pub(crate) fn over(&self, row: Row<'_>, size: u32, base: Row<'_>, base_size: u32) -> Result<Option<Spread>, BenchError> {
        let Some((row, base)) = self.place(row, size).zip(self.place(base, base_size)) else { return Ok(None) };
        self.measured.ratio(row, base, TIME).map(Some)
    }
}

const NONE: &str = "–";

fn is_peer(picker: &str) -> bool {
    PAIRS.iter().any(|(_, peer)| *peer == picker)
}

fn shown(time: Option<Spread>) -> String {
    time.map_or_else(|| NONE.to_owned(), |time| format!("{:.1}", time.median))
}

fn ratio(times: Option<Spread>) -> String {
    times.map_or_else(|| NONE.to_owned(), |times| format!("{:.2}", times.median))
}
