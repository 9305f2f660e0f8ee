//! What the fuzz targets call; built only for them.

pub use crate::cached::fuzz as cache_file;
