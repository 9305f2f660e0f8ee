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

shipped!["prequal_fig7", "prequal_ramp", "hetero"];
