//! Resolvers that ask registries, as they are configured; those that are not configured are left as they come.

use lb_tonic::LbChannelBuilder;

#[cfg(any(feature = "consul", feature = "etcd"))]
use super::read;
#[cfg(any(feature = "consul", feature = "etcd", feature = "kubernetes"))]
use super::setting;
use super::{ConfigureError, ServiceSettings};

pub(super) fn resolvers(builder: LbChannelBuilder, settings: &ServiceSettings) -> Result<LbChannelBuilder, ConfigureError> {
    #[cfg(feature = "consul")]
    let builder = if settings.consul.is_set { builder.resolver(consul(settings)?) } else { builder };
    #[cfg(feature = "etcd")]
    let builder = if settings.etcd.is_set { builder.resolver(etcd(settings)?) } else { builder };
    #[cfg(feature = "kubernetes")]
    let builder = if settings.kubernetes.is_set { builder.resolver(kubernetes(settings)?) } else { builder };
    let _ = settings;
    Ok(builder)
}

#[cfg(feature = "consul")]
fn consul(settings: &ServiceSettings) -> Result<lb_resolver_consul::ConsulResolver, ConfigureError> {
    use lb_resolver_consul::{ConsulConfig, ConsulResolver};

    let wanted = &settings.consul;
    let config = ConsulConfig::new()
        .with_clear_when_empty(wanted.clear_when_empty)
        .with_wait(wanted.wait)
        .and_then(|config| config.with_timeout(wanted.timeout))
        .and_then(|config| config.with_min_interval(wanted.min_interval))
        .and_then(|config| config.with_poll_interval(wanted.poll_interval))
        .and_then(|config| config.with_max_response(wanted.max_response))
        .and_then(|config| if wanted.agents.is_empty() { Ok(config) } else { config.with_agents(wanted.agents.iter().cloned()) });
    let mut config = config.map_err(|error| setting(settings, error))?;
    config = wanted.token_file.iter().fold(config, ConsulConfig::with_token_file);
    config = wanted.datacenter.iter().fold(config, ConsulConfig::with_datacenter);
    config = wanted.namespace.iter().fold(config, ConsulConfig::with_namespace);
    config = wanted.service_config_key.iter().fold(config, ConsulConfig::with_service_config_key);
    config = wanted.meta_prefix.iter().fold(config, ConsulConfig::with_meta_prefix);
    config = wanted.tls.server_name.iter().fold(config, ConsulConfig::with_tls_server_name);
    if let Some(path) = &wanted.tls.ca_file {
        config = config.with_ca_certificate(read(settings, "consul.caFile", path)?);
    }
    if let Some((chain, key)) = &wanted.tls.identity {
        let (chain, key) = (read(settings, "consul.certificateFile", chain)?, read(settings, "consul.keyFile", key)?);
        config = config.with_client_certificate(chain, key);
    }
    ConsulResolver::with_config(config).map_err(|error| setting(settings, error))
}

#[cfg(feature = "etcd")]
fn etcd(settings: &ServiceSettings) -> Result<lb_resolver_etcd::EtcdResolver, ConfigureError> {
    use lb_resolver_etcd::{EtcdConfig, EtcdResolver, EtcdTls};

    let wanted = &settings.etcd;
    let config =
        EtcdConfig::new()
            .with_max_endpoints(wanted.max_endpoints)
            .with_max_bytes(wanted.max_bytes)
            .with_max_message_bytes(wanted.max_message)
            .with_connect_timeout(wanted.connect_timeout)
            .and_then(|config| config.with_request_timeout(wanted.request_timeout))
            .and_then(|config| config.with_keepalive(wanted.keepalive.0, wanted.keepalive.1))
            .and_then(|config| config.with_min_interval(wanted.min_interval))
            .and_then(|config| config.with_check_interval(wanted.check_interval))
            .and_then(|config| config.with_wipe_grace(wanted.wipe_grace))
            .and_then(|config| {
                if wanted.endpoints.is_empty() { Ok(config) } else { config.with_endpoints(wanted.endpoints.iter().cloned()) }
            });
    let mut config = config.map_err(|error| setting(settings, error))?;
    config = wanted.service_config_key.iter().fold(config, EtcdConfig::with_service_config_key);
    if let Some(user) = &wanted.user {
        let password = wanted.password_file.as_ref().map(|path| read(settings, "etcd.passwordFile", path)).transpose()?;
        // A password that is no text is refused by etcd as any other wrong one.
        config = config.with_user(user, String::from_utf8_lossy(&password.unwrap_or_default()).trim());
    }
    if let Some(files) = &wanted.tls {
        let mut tls = files.server_name.iter().fold(EtcdTls::new(), EtcdTls::domain_name);
        if let Some(path) = &files.ca_file {
            tls = tls.ca_certificate(read(settings, "etcd.caFile", path)?);
        }
        if let Some((chain, key)) = &files.identity {
            tls = tls.identity(read(settings, "etcd.certificateFile", chain)?, read(settings, "etcd.keyFile", key)?);
        }
        config = config.with_tls(tls);
    }
    Ok(EtcdResolver::with_config(config))
}

#[cfg(feature = "kubernetes")]
fn kubernetes(settings: &ServiceSettings) -> Result<lb_resolver_kube::KubernetesResolver, ConfigureError> {
    use lb_resolver_kube::{KubernetesConfig, KubernetesResolver};

    let wanted = &settings.kubernetes;
    let mut config = KubernetesConfig::new()
        .with_node_topology(wanted.node_topology)
        .with_prefix(&wanted.prefix)
        .with_terminating_fallback(wanted.terminating_fallback);
    if wanted.in_cluster {
        config = config.with_in_cluster();
    }
    config = wanted.kubeconfig.iter().fold(config, |config, path| config.with_kubeconfig(Some(path.clone())));
    config = wanted.context.iter().fold(config, KubernetesConfig::with_context);
    config = wanted.namespace.iter().fold(config, KubernetesConfig::with_namespace);
    let config = config
        .with_timeout(wanted.timeout)
        .and_then(|config| config.with_watch_timeout(wanted.watch_timeout))
        .and_then(|config| config.with_settle(wanted.settle))
        .and_then(|config| config.with_max_answer(wanted.max_answer))
        .and_then(|config| match &wanted.service_config_map {
            Some(place) => config.with_service_config_map(place),
            None => Ok(config),
        });
    Ok(KubernetesResolver::with_config(config.map_err(|error| setting(settings, error))?))
}
