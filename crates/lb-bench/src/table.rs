//! Tables.

use std::fmt;

use crate::BenchError;

/// The head of a column, and the side its cells stand on.
#[derive(Debug, Clone)]
pub struct Column {
    name: String,
    right: bool,
}

/// Rows under columns; shown as Markdown, aligned, so that it reads well on a terminal too.
#[derive(Debug, Clone)]
pub struct Table {
    columns: Vec<Column>,
    rows: Vec<Vec<String>>,
}

impl Column {
    /// For words.
    pub fn left(name: impl Into<String>) -> Self {
        Self { name: cell(&name.into()), right: false }
    }

    /// For numbers.
    pub fn right(name: impl Into<String>) -> Self {
        Self { name: cell(&name.into()), right: true }
    }
}

impl Table {
    /// Without rows yet.
    pub fn new(columns: impl IntoIterator<Item = Column>) -> Self {
        Self { columns: columns.into_iter().collect(), rows: Vec::new() }
    }

    /// One more row. Line breaks and bars in a cell cannot break the table.
    ///
    /// # Errors
    /// [`BenchError::Cells`] if it has not one cell for each column.
    pub fn push<C: Into<String>>(&mut self, cells: impl IntoIterator<Item = C>) -> Result<(), BenchError> {
        let cells: Vec<String> = cells.into_iter().map(|text| cell(&text.into())).collect();
        if cells.len() != self.columns.len() {
            return Err(BenchError::Cells { cells: cells.len(), columns: self.columns.len() });
        }
        self.rows.push(cells);
        Ok(())
    }

    /// Whether it has no rows.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    fn width(&self, column: usize) -> usize {
        let cells = self.rows.iter().map(|row| row[column].chars().count());
        cells.chain([self.columns[column].name.chars().count(), 3]).max().unwrap_or_default()
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let widths: Vec<usize> = (0..self.columns.len()).map(|column| self.width(column)).collect();
        let line = |f: &mut fmt::Formatter<'_>, cells: &mut dyn Iterator<Item = &String>| {
            for ((text, width), column) in cells.zip(&widths).zip(&self.columns) {
                if column.right { write!(f, "| {text:>width$} ")? } else { write!(f, "| {text:<width$} ")? }
            }
            writeln!(f, "|")
        };
        line(f, &mut self.columns.iter().map(|column| &column.name))?;
        for (column, width) in self.columns.iter().zip(&widths) {
            let dashes = "-".repeat(width + 1);
            write!(f, "|{dashes}{}", if column.right { ':' } else { '-' })?;
        }
        writeln!(f, "|")?;
        self.rows.iter().try_for_each(|row| line(f, &mut row.iter()))
    }
}

/// On one line, without what would end the cell.
fn cell(text: &str) -> String {
    let words: Vec<&str> = text.split_whitespace().collect();
    words.join(" ").replace('|', "\\|")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned() {
        let mut table = Table::new([Column::left("policy"), Column::right("ns")]);
        table.push(["round_robin", "7.8"]).unwrap();
        table.push(["p", "131.25"]).unwrap();
        let expected = "\
| policy      |     ns |
|-------------|-------:|
| round_robin |    7.8 |
| p           | 131.25 |
";
        assert_eq!(table.to_string(), expected);
    }

    #[test]
    fn a_cell_cannot_break_the_table() {
        let mut table = Table::new([Column::left("a"), Column::left("b")]);
        table.push(["x | y\n| z", ""]).unwrap();
        let text = table.to_string();
        assert_eq!(text.lines().count(), 3, "{text}");
        assert!(text.contains(r"x \| y \| z"), "{text}");
        assert!(matches!(table.push(["one"]), Err(BenchError::Cells { cells: 1, columns: 2 })));
    }
}
