//! What calls may take, and how they are repeated.

use super::bounds::{DAY, MESSAGE, MILLI, MONTH, U32, ZERO};
use super::{Change, Key, Kind, Section, optional, section, switch};

use Change::NewChannel;

pub(super) const SECTIONS: &[Section] = &[
    optional("retry", "Sends failed calls again, unless a service config says otherwise for their method"),
    section("retryBuffer", "What calls keep of their requests for another attempt"),
    optional("hedging", "Sends further attempts while earlier ones are without an answer"),
    optional("retryThrottling", "No retries and hedges while too many attempts fail"),
];

pub(super) const KEYS: &[Key] = &[
    Key::new("timeout", Kind::Time(MILLI, MONTH), "", NewChannel, "How long a call may take that does not say itself"),
    Key::new("waitForReady", Kind::Flag, "false", NewChannel, "Whether calls wait while no endpoint is reachable"),
    Key::new("maxRequestMessage", Kind::Size(0, MESSAGE), "", NewChannel, "The largest request message"),
    Key::new("maxResponseMessage", Kind::Size(0, MESSAGE), "", NewChannel, "The largest response message"),
    Key::new(
        "maxAttempts",
        Kind::Whole(1, U32),
        "5",
        NewChannel,
        "The most attempts of a call, whatever its policy says; 1 is no retries",
    ),
    switch("retry.enabled", NewChannel),
    Key::new("retry.maxAttempts", Kind::Whole(2, U32), "3", NewChannel, "The most attempts, the first included"),
    Key::new("retry.initialBackoff", Kind::Time(MILLI, DAY), "100ms", NewChannel, "The wait before the first retry"),
    Key::new("retry.maxBackoff", Kind::Time(MILLI, DAY), "5s", NewChannel, "The longest wait"),
    Key::new("retry.backoffMultiplier", Kind::Above(1e6), "2", NewChannel, "The factor from one wait to the next"),
    Key::new("retry.retryableStatusCodes", Kind::Codes, "UNAVAILABLE", NewChannel, "Which codes are retried"),
    Key::new(
        "retry.perAttemptRecvTimeout",
        Kind::Time(MILLI, DAY),
        "",
        NewChannel,
        "How long one attempt may be without an answer",
    ),
    Key::new("retryBuffer.perCall", Kind::Size(0, MESSAGE), "256KiB", NewChannel, "For each call"),
    Key::new("retryBuffer.perChannel", Kind::Size(0, 1 << 40), "16MiB", NewChannel, "For all calls of a channel"),
    switch("hedging.enabled", NewChannel),
    Key::new("hedging.maxAttempts", Kind::Whole(2, U32), "2", NewChannel, "The most attempts, the first included"),
    Key::new("hedging.hedgingDelay", Kind::Time(ZERO, DAY), "1s", NewChannel, "From one attempt to the next"),
    Key::new("hedging.nonFatalStatusCodes", Kind::Codes, "[]", NewChannel, "Codes that do not end the other attempts"),
    switch("retryThrottling.enabled", NewChannel),
    Key::new(
        "retryThrottling.maxTokens",
        Kind::Number(0.001, 1000.0),
        "10",
        NewChannel,
        "Each failure takes one; below half there are no retries",
    ),
    Key::new("retryThrottling.tokenRatio", Kind::Number(0.001, 1000.0), "0.1", NewChannel, "What a success gives back"),
];
