//! Which calls are traced.

use super::{Change, Key, Kind, Section, optional, switch};

use Change::NewChannel;

pub(super) const SECTIONS: &[Section] =
    &[optional("tracing", "Spans of calls and attempts, for the program's subscriber; needs the feature `otel`")];

pub(super) const KEYS: &[Key] = &[
    switch("tracing.enabled", NewChannel),
    Key::new(
        "tracing.ratio",
        Kind::Number(0.0, 1.0),
        "1",
        NewChannel,
        "The share of the calls that begin a trace; those within one follow its `sampled` flag",
    ),
    Key::new(
        "tracing.tellUnsampled",
        Kind::Flag,
        "false",
        NewChannel,
        "Whether servers are told of calls that begin a trace and are not sampled",
    ),
    Key::new(
        "tracing.propagation",
        Kind::Choice(&["w3c", "grpcTraceBin", "off"]),
        "w3c",
        NewChannel,
        "The headers in which contexts travel",
    ),
];
