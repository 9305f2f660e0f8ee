//! A client for the API server, made anew whenever it may have become wrong.
//!
//! Making one reads files (kubeconfig, token, certificates) and may run a program for credentials, so it happens on a thread where blocking is
//! allowed. Tokens in files are read again by the client itself; everything else is followed by making a new one after a failed attempt.

use std::time::Duration;

use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use lb_core::ResolveErrorKind;
use tokio::runtime::Handle;
use tokio::task::spawn_blocking;
use tokio::time;

use crate::config::{Cluster, KubernetesConfig};
use crate::failure::{Failure, chain};
use crate::target::Subject;

/// Makes a client; `timeout` bounds that, and each connection it opens.
pub(crate) async fn open(cluster: Cluster, timeout: Duration) -> Result<Client, Failure> {
    let opening = spawn_blocking(move || open_blocking(&cluster, timeout));
    match time::timeout(timeout, opening).await {
        Ok(Ok(outcome)) => outcome,
        Ok(Err(error)) => Err(Failure::unavailable(format!("the client cannot be made: {error}"))),
        Err(_) => Err(Failure::unavailable(format!("credentials for the API server were not there within {timeout:?}"))),
    }
}

/// The namespace to ask in: this one, or the configured one, or the context's or the pod's.
pub(crate) fn namespace(client: &Client, named: Option<&String>, config: &KubernetesConfig) -> Result<String, Failure> {
    let chosen = named.or(config.namespace.as_ref());
    let namespace = chosen.map_or_else(|| client.default_namespace().trim(), String::as_str);
    Subject::namespace(namespace).map_err(Failure::unavailable)
}

fn open_blocking(cluster: &Cluster, timeout: Duration) -> Result<Client, Failure> {
    // kube takes the process's provider and panics where two are compiled in and none is chosen.
    if rustls::crypto::CryptoProvider::get_default().is_none() {
        // An error means that somebody else chose one meanwhile.
        let _ = rustls::crypto::ring::default_provider().install_default();
    }
    let mut config = load(cluster)?;
    config.connect_timeout = Some(timeout);
    // The pace is ours.
    config.default_retry = false;
    let server = config.cluster_url.clone();
    Client::try_from(config).map_err(|error| {
        let kind = if matches!(error, kube::Error::Auth(_)) { ResolveErrorKind::Refused } else { ResolveErrorKind::Unavailable };
        Failure::new(kind, format!("no client for the API server {server}: {}", chain(&error)))
    })
}

fn load(cluster: &Cluster) -> Result<Config, Failure> {
    // No IO of the runtime's happens in there; it is asynchronous for its signature only.
    let runtime = Handle::current();
    match cluster {
        Cluster::Inferred => runtime.block_on(Config::infer()).map_err(|error| {
            Failure::unavailable(format!("no cluster is configured, neither by a kubeconfig nor as in a pod: {}", chain(&error)))
        }),
        Cluster::Pod => Config::incluster()
            .map_err(|error| Failure::unavailable(format!("this does not run in a pod of a cluster: {}", chain(&error)))),
        Cluster::Kubeconfig { path, context } => {
            let kubeconfig = path.as_ref().map_or_else(Kubeconfig::read, Kubeconfig::read_from);
            let options = KubeConfigOptions { context: context.clone(), ..KubeConfigOptions::default() };
            let config = kubeconfig.and_then(|file| runtime.block_on(Config::from_custom_kubeconfig(file, &options)));
            let name =
                path.as_ref().map_or_else(|| "the kubeconfig".to_owned(), |path| format!("the kubeconfig {}", path.display()));
            config.map_err(|error| Failure::unavailable(format!("{name} cannot be used: {}", chain(&error))))
        }
    }
}
