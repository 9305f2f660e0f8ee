//! Tables that fit their place.
//!
//! Columns are as wide as their content. Where that is too wide, columns shrink from the last to the second, each as far as it may, and then
//! vanish from the last to the second; the first gives way last. So the most important column comes first. A cell is cut in its middle,
//! because names of a kind begin alike and differ at the end.

use unicode_width::UnicodeWidthChar;
use unicode_width::UnicodeWidthStr;

/// What stands between columns.
const GAP: &str = "  ";

/// A column that is narrower says nothing.
const NARROWEST: usize = 10;

/// One column: a title, and a cell for every row.
#[derive(Debug)]
pub(crate) struct Column {
    title: &'static str,
    cells: Vec<String>,
    right: bool,
}

impl Column {
    /// Words, aligned to the left.
    pub(crate) fn words(title: &'static str, cells: impl Iterator<Item = String>) -> Self {
        Self { title, cells: cells.map(|cell| crate::text::clean(&cell)).collect(), right: false }
    }

    /// Numbers, aligned to the right.
    pub(crate) fn numbers(title: &'static str, cells: impl Iterator<Item = String>) -> Self {
        Self { right: true, ..Self::words(title, cells) }
    }

    /// Whether no row has anything to say here.
    pub(crate) fn is_empty(&self) -> bool {
        self.cells.iter().all(String::is_empty)
    }

    fn natural(&self) -> usize {
        self.cells.iter().map(|cell| cell.width()).max().unwrap_or_default().max(self.title.width())
    }

    /// How far it may shrink: numbers that are cut lie.
    fn least(&self) -> usize {
        if self.right { self.natural() } else { self.natural().min(NARROWEST.max(self.title.width())) }
    }
}

/// The lines of the table, its head first, none wider than `width`; and how many columns had to be left out. The table must have a column.
pub(crate) fn lay_out(columns: &[Column], width: Option<usize>) -> (Vec<String>, usize) {
    let widths = widths(columns, width.unwrap_or(usize::MAX));
    let shown = &columns[..widths.len()];
    let rows = shown.iter().map(|column| column.cells.len()).max().unwrap_or_default();
    let head = line(shown.iter().map(|column| column.title), shown, &widths);
    let body = (0..rows).map(|row| line(shown.iter().map(|column| column.cells[row].as_str()), shown, &widths));
    (std::iter::once(head).chain(body).collect(), columns.len() - widths.len())
}

fn widths(columns: &[Column], width: usize) -> Vec<usize> {
    let mut widths: Vec<usize> = columns.iter().map(Column::natural).collect();
    let excess =
        |widths: &[usize]| (widths.iter().sum::<usize>() + GAP.len() * widths.len().saturating_sub(1)).saturating_sub(width);
    for at in (1..columns.len()).rev() {
        widths[at] -= excess(&widths).min(widths[at] - columns[at].least());
    }
    while excess(&widths) > 0 && widths.len() > 1 {
        widths.pop();
    }
    // What vanished may have left room for those that shrank.
    for at in 1..widths.len() {
        let used = widths.iter().sum::<usize>() + GAP.len() * (widths.len() - 1);
        widths[at] += width.saturating_sub(used).min(columns[at].natural() - widths[at]);
    }
    if let [only] = &mut widths[..] {
        *only = (*only).min(width);
    }
    widths
}

fn line<'a>(cells: impl Iterator<Item = &'a str>, columns: &[Column], widths: &[usize]) -> String {
    let padded = cells.zip(columns).zip(widths).map(|((cell, column), width)| {
        let cell = cut_middle(cell, *width);
        let space = " ".repeat(width.saturating_sub(cell.width()));
        if column.right { format!("{space}{cell}") } else { format!("{cell}{space}") }
    });
    padded.collect::<Vec<_>>().join(GAP).trim_end().to_owned()
}

/// The text, cut to this width with an ellipsis at its end.
pub(crate) fn cut(text: &str, width: usize) -> String {
    if text.width() <= width {
        return text.to_owned();
    }
    match width.checked_sub(1) {
        Some(room) => format!("{}…", fitting(text.chars(), room)),
        None => String::new(),
    }
}

/// The text, cut to this width with an ellipsis in its middle.
fn cut_middle(text: &str, width: usize) -> String {
    if text.width() <= width {
        return text.to_owned();
    }
    let Some(room) = width.checked_sub(1) else { return String::new() };
    let head = fitting(text.chars(), room.div_ceil(2));
    let tail: String = fitting(text.chars().rev(), room - head.width()).chars().rev().collect();
    format!("{head}…{tail}")
}

/// As many of the characters as fit into this width.
fn fitting(chars: impl Iterator<Item = char>, width: usize) -> String {
    let mut used = 0;
    let fits = |c: &char| {
        used += c.width().unwrap_or_default();
        used <= width
    };
    chars.take_while(fits).collect()
}

/// The text in lines of this width, broken at spaces where it has any; at most so many lines, the last cut.
pub(crate) fn wrap(text: &str, width: usize, most: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split(' ') {
        match lines.last_mut() {
            Some(line) if line.width() + 1 + word.width() <= width => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    if lines.len() > most {
        let rest = lines.split_off(most.saturating_sub(1)).join(" ");
        lines.push(rest);
    }
    lines.iter().map(|line| cut(line, width)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn columns() -> Vec<Column> {
        let words = |title, cells: [&str; 2]| Column::words(title, cells.map(str::to_owned).into_iter());
        vec![
            words("ENDPOINT", ["10.0.0.1:50051", "orders-2.internal:50051"]),
            Column::numbers("WEIGHT", ["1", "250"].map(str::to_owned).into_iter()),
            words("LOCALITY", ["eu-west-1/eu-west-1b", "eu-west-1/eu-west-1c"]),
            words("CAPABILITIES", ["gpu,large", "ö世界"]),
        ]
    }

    #[test]
    fn as_wide_as_needed() {
        let (lines, hidden) = lay_out(&columns(), None);
        let expected = [
            "ENDPOINT                 WEIGHT  LOCALITY              CAPABILITIES",
            "10.0.0.1:50051                1  eu-west-1/eu-west-1b  gpu,large",
            "orders-2.internal:50051     250  eu-west-1/eu-west-1c  ö世界",
        ];
        assert_eq!((lines, hidden), (expected.map(str::to_owned).to_vec(), 0));
    }

    #[test]
    fn shrinks_before_it_drops_and_never_cuts_numbers() {
        let (lines, hidden) = lay_out(&columns(), Some(60));
        let expected = [
            "ENDPOINT                 WEIGHT  LOCALITY       CAPABILITIES",
            "10.0.0.1:50051                1  eu-wes…est-1b  gpu,large",
            "orders-2.internal:50051     250  eu-wes…est-1c  ö世界",
        ];
        assert_eq!((lines, hidden), (expected.map(str::to_owned).to_vec(), 0));
        let (lines, hidden) = lay_out(&columns(), Some(50));
        assert_eq!((lines[0].as_str(), hidden), ("ENDPOINT                 WEIGHT  LOCALITY", 1));
        assert_eq!(lines[2], "orders-2.internal:50051     250  eu-west-…-west-1c");
    }

    #[test]
    fn words_wrap_and_the_rest_is_cut() {
        assert_eq!(wrap("one two three", 80, 2), ["one two three"]);
        assert_eq!(wrap("one two three four", 8, 3), ["one two", "three", "four"]);
        assert_eq!(wrap("one two three four", 8, 2), ["one two", "three f…"]);
        assert_eq!(wrap("verylongword b", 4, 9), ["ver…", "b"]);
        assert_eq!(cut_middle("世界世界", 6), "世…界");
    }

    #[test]
    fn nothing_is_ever_wider_than_its_place() {
        for width in 0..90 {
            let (lines, hidden) = lay_out(&columns(), Some(width));
            assert!(lines.iter().all(|line| line.width() <= width), "{width}: {lines:?}");
            assert!(hidden < 4);
        }
    }
}
