//! What the fuzz targets call; built only for them.

pub use crate::file::fuzz as endpoint_file;
