//! How registries are asked: Consul, etcd and Kubernetes.

use std::time::Duration;

use super::bounds::{DAY, SECOND, U32, ZERO};
use super::{Change, Key, Kind, Section, section};

use Change::NewChannel;

/// Below this a resolver would do nothing but ask.
const SOON: Duration = Duration::from_millis(10);

/// Consul holds no query longer, and Kubernetes no request.
const LONG: Duration = Duration::from_secs(600);

pub(super) const SECTIONS: &[Section] = &[
    section("consul", "How `consul:` targets are looked up; needs the feature `consul`"),
    section("etcd", "How `etcd:` targets are looked up; needs the feature `etcd`"),
    section("kubernetes", "How `kubernetes:` targets are looked up; needs the feature `kubernetes`"),
];

/// All of them are a resolver's, which a channel is built with.
const fn key(path: &'static str, kind: Kind, default: &'static str, about: &'static str) -> Key {
    Key::new(path, kind, default, NewChannel, about)
}

pub(super) const KEYS: &[Key] = &[
    key("consul.agents", Kind::Texts, "[]", "Agents for targets that name none; empty is 127.0.0.1:8500"),
    key("consul.tokenFile", Kind::Text, "", "A file with the token, read for every request"),
    key("consul.datacenter", Kind::Text, "", "The datacenter of targets that name none; default the agent's"),
    key("consul.namespace", Kind::Text, "", "The namespace of targets that name none (Enterprise); default the agent's"),
    key("consul.caFile", Kind::Text, "", "Certificate authorities to trust alone, in PEM"),
    key("consul.certificateFile", Kind::Text, "", "The client's certificate chain, in PEM"),
    key("consul.keyFile", Kind::Text, "", "Its key, in PEM"),
    key("consul.serverName", Kind::Text, "", "The name to verify in the agents' certificates"),
    key("consul.serviceConfigKey", Kind::Text, "", "The key of the KV store with the service config"),
    key("consul.metaPrefix", Kind::Text, "", "What stands before our keys in metadata and tags"),
    key("consul.clearWhenEmpty", Kind::Flag, "false", "Whether a service that Consul knows no more loses its endpoints"),
    key("consul.wait", Kind::Time(SOON, LONG), "1m", "How long a query waits for a change"),
    key("consul.timeout", Kind::Time(SOON, DAY), "10s", "How long connecting and an answer may take each"),
    key("consul.minInterval", Kind::Time(SOON, DAY), "250ms", "The least time between requests while everything changes"),
    key("consul.pollInterval", Kind::Time(SOON, DAY), "10s", "How often prepared queries are executed"),
    key("consul.maxResponse", Kind::Size(1024, 1 << 30), "32MiB", "The largest answer"),
    key("etcd.endpoints", Kind::Texts, "[]", "Members for targets that name none; empty is 127.0.0.1:2379"),
    key("etcd.user", Kind::Text, "", "The user to be"),
    key("etcd.passwordFile", Kind::Text, "", "A file with the user's password, read when a channel is built"),
    key(
        "etcd.tls",
        Kind::Flag,
        "false",
        "Whether members are asked over TLS that are not written with a scheme; the files below switch it on",
    ),
    key("etcd.caFile", Kind::Text, "", "Certificate authorities to trust alone, in PEM"),
    key("etcd.certificateFile", Kind::Text, "", "The client's certificate chain, in PEM"),
    key("etcd.keyFile", Kind::Text, "", "Its key, in PEM"),
    key("etcd.serverName", Kind::Text, "", "The name to verify in the members' certificates"),
    key("etcd.serviceConfigKey", Kind::Text, "", "The key with the service config"),
    key("etcd.connectTimeout", Kind::Time(SOON, DAY), "3s", "How long connecting to a member may take"),
    key("etcd.requestTimeout", Kind::Time(SOON, DAY), "5s", "How long a request may take"),
    key("etcd.keepaliveInterval", Kind::Time(Duration::from_secs(5), DAY), "6s", "How often a member is asked whether it is there"),
    key("etcd.keepaliveTimeout", Kind::Time(SOON, DAY), "3s", "How long its answer may take"),
    key("etcd.minInterval", Kind::Time(SOON, DAY), "10s", "The shortest time from a list to one that the channel asks for"),
    key("etcd.checkInterval", Kind::Time(SECOND, DAY), "5m", "How often the keys are listed to check the watch"),
    key("etcd.wipeGrace", Kind::Time(ZERO, DAY), "30s", "How long endpoints stay that are missing after etcd lost its data"),
    key("etcd.maxEndpoints", Kind::Whole(1, U32), "100000", "A set with more keys is refused"),
    key("etcd.maxBytes", Kind::Size(1, 1 << 40), "64MiB", "A set that is larger is refused"),
    key("etcd.maxMessage", Kind::Size(2 << 20, 1 << 30), "16MiB", "The largest message that is read"),
    key("kubernetes.inCluster", Kind::Flag, "false", "Whether only what a pod is given is used, and no kubeconfig"),
    key("kubernetes.kubeconfig", Kind::Text, "", "The kubeconfig; default the usual one, else what a pod is given"),
    key("kubernetes.context", Kind::Text, "", "A context of it other than the current one"),
    key("kubernetes.namespace", Kind::Text, "", "The namespace of targets that name none; default the context's or the pod's"),
    key(
        "kubernetes.nodeTopology",
        Kind::Flag,
        "false",
        "Whether regions come from the labels of nodes, which needs the right to read them",
    ),
    key("kubernetes.prefix", Kind::Text, "evenkeel", "What stands before the slash of annotations that are read"),
    key("kubernetes.serviceConfigMap", Kind::Text, "", "The ConfigMap with the service config, as namespace/name:key"),
    key("kubernetes.terminatingFallback", Kind::Flag, "true", "Whether endpoints that end serve if no other is ready"),
    key("kubernetes.timeout", Kind::Time(SOON, LONG), "10s", "How long a request may take"),
    key("kubernetes.watchTimeout", Kind::Time(SECOND, Duration::from_secs(30)), "30s", "How long a watch lasts, in whole seconds"),
    key("kubernetes.settle", Kind::Time(ZERO, SECOND), "100ms", "How long changes are gathered after the first"),
    key("kubernetes.maxAnswer", Kind::Size(4096, 1 << 40), "64MiB", "The most JSON of all slices of a service"),
];
