//! Results for people and programs.

mod csv;
mod table;

pub use csv::csv;
pub use table::{markdown, text};
