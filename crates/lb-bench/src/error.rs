//! What can go wrong with a measurement.

use std::io;
use std::path::PathBuf;

/// Why there is no result.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BenchError {
    /// Nothing to take a median of.
    #[error("no rounds were measured, at least one is needed")]
    NoRounds,
    /// A subject was left out of a round.
    #[error("subject `{subject}` was not measured in round {round}")]
    NotMeasured {
        /// The subject's name.
        subject: String,
        /// Counted from 0, without the warm-up.
        round: usize,
    },
    /// The name of a subject is there twice.
    #[error("two subjects are called `{name}`; names must differ")]
    SameName {
        /// That name.
        name: String,
    },
    /// A figure that a sample does not have.
    #[error("subject `{subject}` has no figure `{figure}`; it has: {has}")]
    NoFigure {
        /// The subject's name.
        subject: String,
        /// What was asked for.
        figure: String,
        /// What there is.
        has: String,
    },
    /// There is no such subject.
    #[error("subject {index} was asked for; there are {subjects}")]
    NoSubject {
        /// What was asked for.
        index: usize,
        /// How many there are.
        subjects: usize,
    },
    /// A figure that is no number, or a ratio to nothing.
    #[error("a figure or a ratio is {value}; only finite numbers can be compared")]
    NotFinite {
        /// That value.
        value: f64,
    },
    /// A row with more or fewer cells than the table has columns.
    #[error("a row of {cells} cells in a table of {columns} columns")]
    Cells {
        /// Of the row.
        cells: usize,
        /// Of the table.
        columns: usize,
    },
    /// An argument of the command line that is not understood.
    #[error("argument `{argument}`: {reason}")]
    Argument {
        /// As typed.
        argument: String,
        /// What is allowed.
        reason: String,
    },
    /// A plot that could not be drawn.
    #[error("plot `{title}`: {reason}")]
    Plot {
        /// Of the plot.
        title: String,
        /// What the drawing library said.
        reason: String,
    },
    /// Files or processes.
    #[error("{path}: {error}")]
    Io {
        /// Of what was read or written.
        path: PathBuf,
        /// What the system said.
        #[source]
        error: io::Error,
    },
}
