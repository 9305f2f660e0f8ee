//! How registries are asked, and which other programs are told.

use std::path::PathBuf;
use std::time::Duration;

use crate::problem::Gathered;
use crate::view::View;

/// The files of TLS to a registry; they are read when a channel is built.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct RegistryTls {
    /// Whom to trust alone.
    pub ca_file: Option<PathBuf>,
    /// The client's chain and key.
    pub identity: Option<(PathBuf, PathBuf)>,
    /// The name to verify.
    pub server_name: Option<String>,
}

/// How `consul:` targets are looked up.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ConsulSettings {
    /// Whether anything differs from the defaults.
    pub is_set: bool,
    /// Empty is the one of this machine.
    pub agents: Vec<String>,
    /// Read for every request.
    pub token_file: Option<PathBuf>,
    /// Of targets that name none.
    pub datacenter: Option<String>,
    /// Of targets that name none.
    pub namespace: Option<String>,
    /// For `https` agents.
    pub tls: RegistryTls,
    /// Of the KV store.
    pub service_config_key: Option<String>,
    /// Before our keys.
    pub meta_prefix: Option<String>,
    /// Of a service that is known no more.
    pub clear_when_empty: bool,
    /// Of a query.
    pub wait: Duration,
    /// Of connecting and of an answer.
    pub timeout: Duration,
    /// While everything changes.
    pub min_interval: Duration,
    /// Of prepared queries.
    pub poll_interval: Duration,
    /// In bytes.
    pub max_response: usize,
}

/// How `etcd:` targets are looked up.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct EtcdSettings {
    /// Whether anything differs from the defaults.
    pub is_set: bool,
    /// Members; empty is the one of this machine.
    pub endpoints: Vec<String>,
    /// Who to be.
    pub user: Option<String>,
    /// The user's password, read when a channel is built.
    pub password_file: Option<PathBuf>,
    /// `None` is plain text.
    pub tls: Option<RegistryTls>,
    /// With the service config.
    pub service_config_key: Option<String>,
    /// To a member.
    pub connect_timeout: Duration,
    /// Of a request.
    pub request_timeout: Duration,
    /// How often it is asked whether it is there, and how long its answer may take.
    pub keepalive: (Duration, Duration),
    /// From list to list.
    pub min_interval: Duration,
    /// Of checks of the watch.
    pub check_interval: Duration,
    /// After etcd lost its data.
    pub wipe_grace: Duration,
    /// Of a set.
    pub max_endpoints: usize,
    /// Of a set.
    pub max_bytes: usize,
    /// In bytes.
    pub max_message: usize,
}

/// How `kubernetes:` targets are looked up.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct KubernetesSettings {
    /// Whether anything differs from the defaults.
    pub is_set: bool,
    /// Only what a pod is given.
    pub in_cluster: bool,
    /// `None` is the usual one.
    pub kubeconfig: Option<PathBuf>,
    /// Of the kubeconfig.
    pub context: Option<String>,
    /// Of targets that name none.
    pub namespace: Option<String>,
    /// Regions from nodes.
    pub node_topology: bool,
    /// Of annotations.
    pub prefix: String,
    /// With the service config.
    pub service_config_map: Option<String>,
    /// When no other endpoint is ready.
    pub terminating_fallback: bool,
    /// Of a request.
    pub timeout: Duration,
    /// Of a watch.
    pub watch_timeout: Duration,
    /// For changes.
    pub settle: Duration,
    /// In bytes.
    pub max_answer: usize,
}

/// What counts for one service; `None` if something is wrong with it, which is then among the problems.
pub(super) fn read(view: View<'_>, problems: &mut Gathered) -> Option<(ConsulSettings, EtcdSettings, KubernetesSettings)> {
    let is_set = |section: &str| crate::keys::below(section).any(|key| view.find(key).is_some());
    let available =
        [("consul", cfg!(feature = "consul")), ("etcd", cfg!(feature = "etcd")), ("kubernetes", cfg!(feature = "kubernetes"))];
    if let Some((section, _)) = available.into_iter().find(|(section, available)| !available && is_set(section)) {
        problems.add(view.wrong(section, "set", format!("nothing: it needs the feature {section}")));
        return None;
    }
    let (consul_tls, etcd_tls) = (tls(view, "consul", problems), tls(view, "etcd", problems));
    Some((
        consul(view, is_set("consul"), consul_tls?),
        etcd(view, is_set("etcd"), etcd_tls?),
        kubernetes(view, is_set("kubernetes"), problems)?,
    ))
}

fn path(view: View<'_>, path: &str) -> Option<PathBuf> {
    view.text(path).map(Into::into)
}

fn time(view: View<'_>, path: &str) -> Duration {
    view.time(path).unwrap_or_default()
}

fn size(view: View<'_>, path: &str) -> usize {
    view.size(path).unwrap_or(usize::MAX)
}

fn tls(view: View<'_>, section: &str, problems: &mut Gathered) -> Option<RegistryTls> {
    let file = |name: &str| path(view, &format!("{section}.{name}"));
    let identity = match (file("certificateFile"), file("keyFile")) {
        (Some(chain), Some(key)) => Some((chain, key)),
        (None, None) => None,
        _ => {
            problems.add(view.wrong(section, "a certificate without its key, or a key alone", "both certificateFile and keyFile"));
            return None;
        }
    };
    Some(RegistryTls { ca_file: file("caFile"), identity, server_name: view.text(&format!("{section}.serverName")) })
}

fn consul(view: View<'_>, is_set: bool, tls: RegistryTls) -> ConsulSettings {
    ConsulSettings {
        is_set,
        agents: view.texts("consul.agents"),
        token_file: path(view, "consul.tokenFile"),
        datacenter: view.text("consul.datacenter"),
        namespace: view.text("consul.namespace"),
        tls,
        service_config_key: view.text("consul.serviceConfigKey"),
        meta_prefix: view.text("consul.metaPrefix"),
        clear_when_empty: view.flag("consul.clearWhenEmpty"),
        wait: time(view, "consul.wait"),
        timeout: time(view, "consul.timeout"),
        min_interval: time(view, "consul.minInterval"),
        poll_interval: time(view, "consul.pollInterval"),
        max_response: size(view, "consul.maxResponse"),
    }
}

fn etcd(view: View<'_>, is_set: bool, tls: RegistryTls) -> EtcdSettings {
    let wanted = view.flag("etcd.tls") || tls != RegistryTls::default();
    EtcdSettings {
        is_set,
        endpoints: view.texts("etcd.endpoints"),
        user: view.text("etcd.user"),
        password_file: path(view, "etcd.passwordFile"),
        tls: wanted.then_some(tls),
        service_config_key: view.text("etcd.serviceConfigKey"),
        connect_timeout: time(view, "etcd.connectTimeout"),
        request_timeout: time(view, "etcd.requestTimeout"),
        keepalive: (time(view, "etcd.keepaliveInterval"), time(view, "etcd.keepaliveTimeout")),
        min_interval: time(view, "etcd.minInterval"),
        check_interval: time(view, "etcd.checkInterval"),
        wipe_grace: time(view, "etcd.wipeGrace"),
        max_endpoints: size(view, "etcd.maxEndpoints"),
        max_bytes: size(view, "etcd.maxBytes"),
        max_message: size(view, "etcd.maxMessage"),
    }
}

fn kubernetes(view: View<'_>, is_set: bool, problems: &mut Gathered) -> Option<KubernetesSettings> {
    let (in_cluster, kubeconfig) = (view.flag("kubernetes.inCluster"), path(view, "kubernetes.kubeconfig"));
    let context = view.text("kubernetes.context");
    if in_cluster && (kubeconfig.is_some() || context.is_some()) {
        problems.add(view.wrong("kubernetes.inCluster", "true beside a kubeconfig or a context", "one of the two"));
        return None;
    }
    Some(KubernetesSettings {
        is_set,
        in_cluster,
        kubeconfig,
        context,
        namespace: view.text("kubernetes.namespace"),
        node_topology: view.flag("kubernetes.nodeTopology"),
        prefix: view.text("kubernetes.prefix").unwrap_or_default(),
        service_config_map: view.text("kubernetes.serviceConfigMap"),
        terminating_fallback: view.flag("kubernetes.terminatingFallback"),
        timeout: time(view, "kubernetes.timeout"),
        watch_timeout: time(view, "kubernetes.watchTimeout"),
        settle: time(view, "kubernetes.settle"),
        max_answer: size(view, "kubernetes.maxAnswer"),
    })
}
