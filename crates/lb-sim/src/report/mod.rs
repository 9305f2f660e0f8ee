//! Results for people and programs.

mod csv;
mod plot;
mod svg;
mod table;

pub use csv::csv;
pub use svg::svg;
pub use table::{markdown, text};
