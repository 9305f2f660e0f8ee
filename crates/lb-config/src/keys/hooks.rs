//! Which other programs are told of events, and how.

use std::time::Duration;

use super::bounds::ZERO;
use super::{Change, Key, Kind, Scope, Section, optional, switch};

use Change::NewChannel;

pub(super) const SECTIONS: &[Section] = &[optional("webhook", "Events as signed messages to a URL; needs the feature `hooks`")];

const fn key(path: &'static str, kind: Kind, default: &'static str, about: &'static str) -> Key {
    Key::new(path, kind, default, NewChannel, about).scope(Scope::Top)
}

pub(super) const KEYS: &[Key] = &[
    switch("webhook.enabled", NewChannel).scope(Scope::Top),
    key("webhook.url", Kind::Url, "", "Where they are sent"),
    key(
        "webhook.secrets",
        Kind::Secrets,
        "[]",
        "What they are signed with, each `whsec_` and base64; the receiver needs one of them",
    ),
    key("webhook.secretsFile", Kind::Text, "", "A file with further secrets, one to a line"),
    key("webhook.tokenFile", Kind::Text, "", "A file with a bearer token, read for every message"),
    key("webhook.caFile", Kind::Text, "", "Certificate authorities to trust alone, in PEM, read when channels are built"),
    key(
        "webhook.timeout",
        Kind::Time(Duration::from_millis(10), Duration::from_secs(300)),
        "5s",
        "How long a message may take to be taken",
    ),
    key("webhook.kinds", Kind::Texts, "[]", "The kinds of events that are told; empty goes by severity"),
    key("webhook.leastSeverity", Kind::Choice(&["debug", "info", "warning"]), "info", "The least severity that is told"),
    key("webhook.capacity", Kind::Whole(1, 65_536), "1024", "How many events may wait"),
    key("webhook.overflow", Kind::Choice(&["dropOldest", "dropNewest"]), "dropOldest", "Which one goes when there is no room"),
    key("webhook.batch", Kind::Whole(1, 1000), "100", "The most events of a message"),
    key("webhook.linger", Kind::Time(ZERO, Duration::from_secs(60)), "200ms", "How long an event waits for others"),
    key("webhook.attempts", Kind::Whole(1, 100), "7", "How often a message is sent before it is given up"),
];
