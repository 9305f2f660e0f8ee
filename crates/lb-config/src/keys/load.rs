//! Limits, the queue, and sessions.

use std::time::Duration;

use super::bounds::{DAY, MILLI, MONTH, SECOND, U32, ZERO};
use super::{Change, Key, Kind, Section, optional, section, switch};

use Change::{Live, LiveOnceSet, NewChannel};

const RATE: Kind = Kind::Number(0.001, 1_000_000.0);
const BURST: Kind = Kind::Whole(1, 1_000_000);
const LIMIT: Kind = Kind::Whole(1, 1_000_000);
const FATE: Kind = Kind::Choice(&["keep", "lend", "move"]);

pub(super) const SECTIONS: &[Section] = &[
    optional("concurrencyLimit", "Limits the calls at once at each endpoint to what it has shown to bear"),
    optional("queue", "Lets calls wait for a place while every endpoint is at its limit"),
    section("rateLimits", "Limits calls a second"),
    optional("rateLimits.channel", "All calls together"),
    optional("rateLimits.endpoint", "The attempts at each endpoint"),
    optional("rateLimits.flood", "Sheds above this before it looks at a call"),
    optional("rateLimits.key", "The calls of each key"),
    optional("sessions", "Sends the calls of a session to one endpoint"),
    section("sessions.rules", "What becomes of a session whose endpoint cannot take its call"),
];

pub(super) const KEYS: &[Key] = &[
    Key::new("maxRequests", Kind::Whole(0, U32), "", LiveOnceSet, "The most attempts at once over all endpoints"),
    Key::new("maxRequestsPerEndpoint", Kind::Whole(0, U32), "", LiveOnceSet, "The most attempts at once at each endpoint"),
    switch("concurrencyLimit.enabled", LiveOnceSet),
    Key::new("concurrencyLimit.initial", LIMIT, "20", LiveOnceSet, "Where a fresh endpoint starts"),
    Key::new("concurrencyLimit.min", LIMIT, "4", LiveOnceSet, "Never below this"),
    Key::new("concurrencyLimit.max", LIMIT, "1000", LiveOnceSet, "Never above this"),
    Key::new(
        "concurrencyLimit.tolerance",
        Kind::Number(1.0, 1.9),
        "1.08",
        LiveOnceSet,
        "How many times its unloaded latency an endpoint may take",
    ),
    Key::new(
        "concurrencyLimit.smoothing",
        Kind::Number(0.01, 1.0),
        "0.2",
        LiveOnceSet,
        "How much of each correction is made at once",
    ),
    Key::new(
        "concurrencyLimit.window",
        Kind::Time(Duration::from_millis(10), Duration::from_secs(10)),
        "100ms",
        LiveOnceSet,
        "The shortest time over which latencies are averaged",
    ),
    Key::new(
        "concurrencyLimit.probeEvery",
        Kind::Time(SECOND, Duration::from_secs(3600)),
        "10s",
        LiveOnceSet,
        "How often a busy endpoint is measured at half its limit",
    ),
    switch("queue.enabled", NewChannel),
    Key::new("queue.maxPending", Kind::Whole(0, U32), "1024", NewChannel, "The most calls that wait"),
    Key::new("queue.maxWait", Kind::Time(ZERO, DAY), "1s", NewChannel, "The longest a call waits"),
    Key::new("queue.oldestEvery", Kind::Whole(0, U32), "8", NewChannel, "Every so many places are the oldest one's; 0 is never"),
    switch("rateLimits.channel.enabled", Live),
    Key::new("rateLimits.channel.perSecond", RATE, "1000", Live, "For good"),
    Key::new("rateLimits.channel.burst", BURST, "", Live, "At once after a pause; default a second's worth"),
    switch("rateLimits.endpoint.enabled", LiveOnceSet),
    Key::new("rateLimits.endpoint.perSecond", RATE, "1000", LiveOnceSet, "For good"),
    Key::new("rateLimits.endpoint.burst", BURST, "", LiveOnceSet, "At once after a pause; default a second's worth"),
    switch("rateLimits.flood.enabled", Live),
    Key::new("rateLimits.flood.perSecond", Kind::Whole(1, 10_000_000), "5000", Live, "More arrivals a second are a flood"),
    Key::new("rateLimits.flood.resume", Kind::Number(0.1, 1.0), "0.8", Live, "Below this share of it the flood is over"),
    Key::new(
        "rateLimits.flood.window",
        Kind::Time(Duration::from_millis(10), Duration::from_secs(10)),
        "100ms",
        Live,
        "How long arrivals are counted",
    ),
    switch("rateLimits.key.enabled", Live),
    Key::new("rateLimits.key.perSecond", RATE, "1000", Live, "For good"),
    Key::new("rateLimits.key.burst", BURST, "", Live, "At once after a pause; default a second's worth"),
    Key::new(
        "rateLimits.key.header",
        Kind::Text,
        "",
        Live,
        "The header whose value is the key; none is the key in a call's options",
    ),
    Key::new("rateLimits.key.maxKeys", Kind::Whole(8, 1_048_576), "65536", Live, "Keys kept apart at once, 16 bytes each"),
    Key::new(
        "rateLimits.methods",
        Kind::MethodRates,
        "[]",
        Live,
        "Rates by service and method: `[{\"service\": …, \"method\": …, \"perSecond\": …, \"burst\": …}]`",
    ),
    switch("sessions.enabled", NewChannel),
    Key::new(
        "sessions.mode",
        Kind::Choice(&["table", "hash", "token"]),
        "table",
        NewChannel,
        "A table of the channel's, a policy that hashes, or a signed token the caller carries",
    ),
    Key::new(
        "sessions.ttl",
        Kind::Time(SECOND, MONTH),
        "",
        NewChannel,
        "How long a session without calls is remembered; sets `idleTtl` and `tokenTtl`, and no limit to its age",
    ),
    Key::new(
        "sessions.idleTtl",
        Kind::TimeOrNever(MILLI, MONTH),
        "5m",
        NewChannel,
        "How long a session without calls is remembered",
    ),
    Key::new("sessions.absoluteTtl", Kind::TimeOrNever(MILLI, MONTH), "30m", NewChannel, "How old a session gets"),
    Key::new("sessions.maxSessions", Kind::Whole(1, 1 << 24), "100000", NewChannel, "How many are remembered"),
    Key::new(
        "sessions.patience",
        Kind::Time(ZERO, DAY),
        "2s",
        NewChannel,
        "How long calls wait for an endpoint that is connecting",
    ),
    Key::new(
        "sessions.acrossServices",
        Kind::Flag,
        "false",
        NewChannel,
        "Whether sessions go to the endpoint of the same id in each service",
    ),
    Key::new("sessions.hashPolicy", Kind::Text, "ring_hash", NewChannel, "The policy that hashes, with mode `hash`"),
    Key::new(
        "sessions.tokenKeys",
        Kind::Secrets,
        "",
        NewChannel,
        "Keys of tokens, the first signs; 32 bytes or more each. Never shown",
    ),
    Key::new("sessions.tokenKeysFile", Kind::Text, "", NewChannel, "A file with such keys, one to a line"),
    Key::new("sessions.tokenTtl", Kind::Time(SECOND, MONTH), "30m", NewChannel, "How long a token is good for"),
    Key::new("sessions.tokenPath", Kind::Text, "/", NewChannel, "Only for calls below this path"),
    Key::new("sessions.tokenCookie", Kind::Text, "evenkeel-session", NewChannel, "The cookie that carries it"),
    Key::new("sessions.tokenMetadata", Kind::Text, "", NewChannel, "The metadata that carries it in place of a cookie"),
    Key::new("sessions.rules.draining", FATE, "keep", NewChannel, "Its endpoint is drained"),
    Key::new("sessions.rules.hidden", FATE, "lend", NewChannel, "Its endpoint is ejected or hidden otherwise"),
    Key::new("sessions.rules.unfit", FATE, "lend", NewChannel, "Its endpoint is not what the call asks for"),
    Key::new("sessions.rules.failing", FATE, "move", NewChannel, "Its endpoint is failing"),
    Key::new("sessions.rules.gone", FATE, "move", NewChannel, "Its endpoint is listed no more"),
];
