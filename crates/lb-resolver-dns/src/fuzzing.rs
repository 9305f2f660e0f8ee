//! What the fuzz targets call; built only for them.

use crate::service_config::Chooser;

/// Reads TXT records, one per line.
pub fn service_config(bytes: &[u8]) {
    let records: Vec<String> = String::from_utf8_lossy(bytes).lines().map(str::to_owned).collect();
    let chooser = Chooser { percentile: 50, hostname: Some("fuzz".to_owned()) };
    let mut reversed = records.clone();
    reversed.reverse();
    assert_eq!(chooser.choose(records), chooser.choose(reversed), "records have no order");
}
