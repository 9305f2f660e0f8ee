//! The scenarios that come with the laboratory.

/// Name and text of every shipped scenario.
pub fn shipped() -> &'static [(&'static str, &'static str)] {
    SHIPPED
}

macro_rules! shipped {
    ($($name:literal),+ $(,)?) => {
        const SHIPPED: &[(&str, &str)] = &[$(($name, include_str!(concat!("../../scenarios/", $name, ".toml")))),+];
    };
}

shipped![
    "prequal_fig7",
    "prequal_ramp",
    "hetero",
    "clients_10",
    "clients_1000",
    "ramp_clients_1000",
    "one_slow",
    "pause",
    "one_fast_failing",
    "rolling_restart",
    "scale_out_by_half",
    "zone_loss",
    "cold_caches",
    "subsetting_1000x1000",
    "flip",
];
