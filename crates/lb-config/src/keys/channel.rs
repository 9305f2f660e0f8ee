//! Where a channel leads, and which policy picks.

use std::time::Duration;

use super::bounds::{DAY, MONTH, SECOND, U32};
use super::{Change, Key, Kind, Scope, Section, optional, section, switch};

use Change::{Live, LiveOnceSet, NewChannel, Told};

pub(super) const SECTIONS: &[Section] = &[
    section("dns", "How `dns:` targets are looked up; needs the feature `dns`"),
    section("file", "How `file:` targets are watched"),
    optional("metrics", "Metrics: `/metrics` of the admin server with the feature `prometheus`, reports with the feature `hooks`"),
];

pub(super) const KEYS: &[Key] = &[
    Key::new(
        "preset",
        Kind::Choice(&["none", "client", "cloud", "gateway"]),
        "none",
        NewChannel,
        "Defaults of another kind, below everything else that is set",
    )
    .scope(Scope::Top),
    Key::new("target", Kind::Text, "", NewChannel, "Where the endpoints are, such as `dns:///orders.internal:50051`")
        .scope(Scope::Own),
    Key::new(
        "endpoints",
        Kind::Endpoints,
        "",
        LiveOnceSet,
        "The endpoints themselves, in place of a target; comma-separated in the environment",
    )
    .scope(Scope::Own),
    Key::new("weight", Kind::Whole(0, U32), "1", Live, "The weight of those `endpoints` that have none of their own")
        .scope(Scope::Own),
    Key::new("policy", Kind::Text, "round_robin", Live, "The policy that picks, by name"),
    Key::new("policyConfig", Kind::Object, "{}", Live, "The policy's own fields, as in a service config"),
    Key::new("furtherPolicies", Kind::Texts, "[]", NewChannel, "Policies that single calls can ask for by name"),
    Key::new("serviceConfig", Kind::Object, "", Live, "A service config, which counts before the resolver's"),
    Key::new("resolverServiceConfig", Kind::Flag, "true", NewChannel, "Whether service configs of the resolver count"),
    Key::new("dns.timeout", Kind::Time(Duration::from_millis(10), DAY), "10s", NewChannel, "How long a whole look may take"),
    Key::new(
        "dns.refreshFloor",
        Kind::Time(Duration::from_millis(10), DAY),
        "5s",
        NewChannel,
        "Records are not looked up again sooner",
    ),
    Key::new(
        "dns.refreshCeiling",
        Kind::Time(Duration::from_millis(10), DAY),
        "5m",
        NewChannel,
        "Records are looked up again at least so often",
    ),
    Key::new(
        "dns.minInterval",
        Kind::Time(Duration::ZERO, DAY),
        "30s",
        NewChannel,
        "The shortest time from a look to one that a failure asks for",
    ),
    Key::new("dns.nameServers", Kind::Texts, "[]", NewChannel, "Name servers, as IP:port; empty is the system's"),
    Key::new("dns.srv", Kind::Flag, "false", NewChannel, "Whether SRV records are looked up for every name"),
    Key::new("dns.serviceConfig", Kind::Flag, "false", NewChannel, "Whether TXT records may bring a service config"),
    Key::new("dns.hostsFile", Kind::Flag, "true", NewChannel, "Whether the hosts file is asked first"),
    Key::new(
        "file.debounce",
        Kind::Time(Duration::from_millis(10), DAY),
        "100ms",
        NewChannel,
        "How long a directory must be quiet before the file is read",
    ),
    Key::new(
        "file.pollInterval",
        Kind::Time(Duration::from_millis(10), MONTH),
        "30s",
        NewChannel,
        "How often the file is read if nothing is heard",
    ),
    switch("metrics.enabled", Told).scope(Scope::Top),
    Key::new("metrics.backendUrl", Kind::Url, "", Told, "Where statistics are sent, with the feature `hooks`").scope(Scope::Top),
    Key::new("metrics.backendTokenFile", Kind::Text, "", Told, "A file with the bearer token for that").scope(Scope::Top),
    Key::new("metrics.backendCaFile", Kind::Text, "", Told, "Certificate authorities to trust alone there, in PEM")
        .scope(Scope::Top),
    Key::new("metrics.collectionInterval", Kind::Time(SECOND, DAY), "30s", Told, "How often they are sent").scope(Scope::Top),
    Key::new(
        "metrics.performanceWindow",
        Kind::Time(Duration::from_secs(30), Duration::from_secs(300)),
        "5m",
        Told,
        "The time that `performance` of the admin server looks back unless it is told",
    )
    .scope(Scope::Top),
];
