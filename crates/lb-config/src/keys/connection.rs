//! How connections are made, kept and secured.

use std::time::Duration;

use super::bounds::{DAY, MILLI, MONTH, SECOND};
use super::{Change, Key, Kind, Section, optional, section, switch};

use Change::NewChannel;

const WINDOW: Kind = Kind::Size(65_535, (1 << 31) - 1);

pub(super) const SECTIONS: &[Section] = &[
    section("backoff", "Pacing of connection attempts"),
    optional("tls", "TLS; needs one of the features `tls-ring` and `tls-aws-lc`"),
    section("transport", "HTTP/2 connections"),
];

pub(super) const KEYS: &[Key] = &[
    Key::new("authority", Kind::Text, "", NewChannel, "The `:authority` of calls and the name to verify, in place of the target's"),
    Key::new("userAgent", Kind::Text, "", NewChannel, "What requests say in `user-agent`; default `evenkeel/` and the version"),
    Key::new("connectTimeout", Kind::Time(MILLI, DAY), "20s", NewChannel, "How long one attempt to connect may take"),
    Key::new(
        "idleTimeout",
        Kind::TimeOrNever(MILLI, MONTH),
        "30m",
        NewChannel,
        "How long a channel without calls keeps its connections",
    ),
    Key::new("backoff.initial", Kind::Time(MILLI, DAY), "1s", NewChannel, "The delay after the first failure"),
    Key::new("backoff.multiplier", Kind::Number(1.0, 100.0), "1.6", NewChannel, "The factor from one delay to the next"),
    Key::new("backoff.max", Kind::Time(MILLI, DAY), "2m", NewChannel, "The longest delay"),
    Key::new("backoff.jitter", Kind::Number(0.0, 0.9), "0.2", NewChannel, "The spread, as a share of the delay"),
    Key::new(
        "transport.attemptDelay",
        Kind::Time(Duration::from_millis(100), Duration::from_secs(2)),
        "250ms",
        NewChannel,
        "When the next address is tried beside one that does not answer",
    ),
    Key::new("transport.localAddress", Kind::Text, "", NewChannel, "The local IP address to dial from"),
    Key::new(
        "transport.tcpKeepalive",
        Kind::Time(SECOND, Duration::from_secs(32_767)),
        "",
        NewChannel,
        "TCP's own keepalive; none is off",
    ),
    Key::new(
        "transport.keepaliveTime",
        Kind::TimeOrNever(Duration::from_secs(10), MONTH),
        "5m",
        NewChannel,
        "How long nothing may arrive before a PING is sent",
    ),
    Key::new(
        "transport.keepaliveTimeout",
        Kind::Time(MILLI, DAY),
        "20s",
        NewChannel,
        "How long after a PING something must arrive",
    ),
    Key::new(
        "transport.keepaliveWithoutCalls",
        Kind::Flag,
        "false",
        NewChannel,
        "Whether PINGs are sent while no call is in flight",
    ),
    Key::new("transport.streamWindow", WINDOW, "2MiB", NewChannel, "What a server may send on a stream ahead of the reader"),
    Key::new("transport.connectionWindow", WINDOW, "5MiB", NewChannel, "The same for all streams of a connection"),
    Key::new("transport.adaptiveWindow", Kind::Flag, "false", NewChannel, "Whether windows grow with what the network bears"),
    Key::new("transport.maxFrameSize", Kind::Size(16_384, 16_777_215), "16KiB", NewChannel, "The largest frame a server may send"),
    Key::new(
        "transport.maxHeaderListSize",
        Kind::Size(1024, 1 << 24),
        "16KiB",
        NewChannel,
        "The largest response headers or trailers",
    ),
    Key::new("transport.connectionsPerEndpoint", Kind::Whole(1, 10), "1", NewChannel, "The most connections to one endpoint"),
    switch("tls.enabled", NewChannel),
    Key::new(
        "tls.roots",
        Kind::Choice(&["native", "webpki", "file"]),
        "native",
        NewChannel,
        "Whom to trust: the system's authorities, Mozilla's, or `caFile` alone; the first two need features",
    ),
    Key::new(
        "tls.caFile",
        Kind::Text,
        "",
        NewChannel,
        "Certificate authorities in PEM; alone with `roots: file`, else beside the roots",
    ),
    Key::new("tls.certificateFile", Kind::Text, "", NewChannel, "The client's certificate chain in PEM"),
    Key::new("tls.keyFile", Kind::Text, "", NewChannel, "The client's private key in PEM"),
    Key::new("tls.domainName", Kind::Text, "", NewChannel, "The name to ask for and to verify"),
];
