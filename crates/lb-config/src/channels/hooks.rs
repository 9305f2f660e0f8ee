//! What channels have beside them by their configuration: metrics, traces, webhooks, reports. Each is started when the configuration first asks for
//! it; what is configured anew counts for channels built from then on.

use std::fmt;

use lb_tonic::{LbChannel, LbChannelBuilder};

#[cfg(feature = "otel")]
use crate::build;
use crate::build::ConfigureError;
use crate::config::Config;
use crate::settings::ServiceSettings;

/// Those of a set of channels.
#[derive(Default)]
pub(super) struct Hooks {
    #[cfg(feature = "prometheus")]
    prometheus: Option<std::sync::Arc<lb_telemetry::Prometheus>>,
    #[cfg(feature = "hooks")]
    webhook: Option<(crate::settings::WebhookSettings, lb_hooks::Webhook)>,
    #[cfg(feature = "hooks")]
    reporter: Option<lb_hooks::StatsReporter>,
}

impl Hooks {
    /// What this configuration asks for, and what it shares with the one before.
    pub(super) fn prepare(&self, config: &Config) -> Result<Self, ConfigureError> {
        #[cfg(feature = "hooks")]
        of_hooks::check(config)?;
        let _ = config;
        Ok(Self {
            #[cfg(feature = "prometheus")]
            prometheus: self.prometheus(config)?,
            #[cfg(feature = "hooks")]
            webhook: self.webhook(config)?,
            #[cfg(feature = "hooks")]
            reporter: None,
        })
    }

    /// Lets a channel take part that is about to be built.
    pub(super) fn dress(&self, settings: &ServiceSettings, builder: LbChannelBuilder) -> Result<LbChannelBuilder, ConfigureError> {
        #[cfg(feature = "hooks")]
        let builder = of_hooks::dress(self, settings, builder)?;
        #[cfg(feature = "otel")]
        let builder = match &settings.tracing {
            Some(wanted) => builder.call_observer(tracing(wanted).map_err(|error| build::setting(settings, error))?),
            None => builder,
        };
        #[cfg(feature = "prometheus")]
        let builder = match &self.prometheus {
            Some(prometheus) => {
                let (metrics, target) = (prometheus.metrics(), build::target(settings));
                builder.observer(metrics.observer(&*target)).call_observer(metrics.calls(&*target))
            }
            None => builder,
        };
        let _ = settings;
        Ok(builder)
    }

    /// And one that has been built.
    pub(super) fn watch(&self, channel: &LbChannel) {
        #[cfg(feature = "prometheus")]
        if let Some(prometheus) = &self.prometheus {
            prometheus.metrics().watch(channel);
        }
        let _ = channel;
    }

    /// Reports these channels from now on, if that is configured, and no others.
    #[cfg_attr(
        not(feature = "hooks"),
        allow(clippy::needless_pass_by_ref_mut, reason = "there is nothing to change without hooks")
    )]
    pub(super) fn report<'a>(
        &mut self,
        config: &Config,
        channels: impl Iterator<Item = (&'a str, &'a LbChannel)>,
    ) -> Result<(), ConfigureError> {
        #[cfg(feature = "hooks")]
        {
            self.reporter = of_hooks::reporter(config, channels)?;
        }
        #[cfg(not(feature = "hooks"))]
        let _ = (config, channels.count());
        Ok(())
    }

    /// Metrics in Prometheus' text form, if there are any.
    pub(super) fn exposition(&self) -> Option<Result<String, String>> {
        #[cfg(feature = "prometheus")]
        return self.prometheus.as_ref().map(|prometheus| prometheus.text().map_err(|error| error.to_string()));
        #[cfg(not(feature = "prometheus"))]
        None
    }

    #[cfg(feature = "prometheus")]
    fn prometheus(&self, config: &Config) -> Result<Option<std::sync::Arc<lb_telemetry::Prometheus>>, ConfigureError> {
        use lb_telemetry::{MetricsConfig, Prometheus};

        let new = || Prometheus::new(MetricsConfig::new()).map(std::sync::Arc::new);
        let before = self.prometheus.as_ref().map(|before| Ok(std::sync::Arc::clone(before)));
        let wanted = config.metrics().enabled.then(|| before.unwrap_or_else(new)).transpose();
        wanted.map_err(|error| {
            let error = lb_core::ConfigError::new("metrics", error, "an exporter that can be built");
            ConfigureError::Hook { key: "metrics", error }
        })
    }

    #[cfg(feature = "hooks")]
    fn webhook(&self, config: &Config) -> Result<Option<(crate::settings::WebhookSettings, lb_hooks::Webhook)>, ConfigureError> {
        let Some(wanted) = config.webhook() else { return Ok(None) };
        match &self.webhook {
            Some((settings, webhook)) if settings == wanted => Ok(Some((settings.clone(), webhook.clone()))),
            _ => Ok(Some((wanted.clone(), of_hooks::webhook(wanted)?))),
        }
    }
}

#[cfg(feature = "otel")]
fn tracing(wanted: &crate::settings::TracingSettings) -> Result<lb_telemetry::trace::Tracing, lb_core::ConfigError> {
    use lb_telemetry::trace::{Propagation, Sampling, Tracing};

    use crate::settings::TraceHeaders;

    let sampling = Sampling::ratio(wanted.ratio)?;
    let sampling = if wanted.tell_unsampled { sampling.tell_unsampled() } else { sampling };
    Ok(Tracing::new().sampling(sampling).propagation(match wanted.propagation {
        TraceHeaders::W3c => Propagation::W3c,
        TraceHeaders::GrpcTraceBin => Propagation::GrpcTraceBin,
        TraceHeaders::Off => Propagation::Off,
    }))
}

#[cfg(feature = "hooks")]
mod of_hooks {
    use std::path::Path;

    use lb_core::ConfigError;
    use lb_hooks::{HttpBackend, HttpBreaker, Overflow, Signer, StatsReporter, Webhook, WebhookConfig};
    use lb_tonic::{LbChannel, LbChannelBuilder};

    use super::Hooks;
    use crate::build::{self, ConfigureError};
    use crate::config::Config;
    use crate::settings::{Backend, ServiceSettings, WebhookSettings};

    /// Whom the backend for reports must be certified by.
    const REPORTS_CA: &str = "metrics.backendCaFile";

    fn wrong(key: &'static str) -> impl Fn(ConfigError) -> ConfigureError {
        move |error| ConfigureError::Hook { key, error }
    }

    fn backend(wanted: &Backend, ca_key: &'static str) -> Result<HttpBackend, ConfigError> {
        let backend = trusting(HttpBackend::new(&wanted.url)?, ca_key, wanted.ca_file.as_deref())?;
        Ok(wanted.token_file.iter().fold(backend, HttpBackend::bearer_token_file))
    }

    /// Who trusts the authorities of a file alone, if there is one.
    fn trusting(backend: HttpBackend, key: &'static str, ca_file: Option<&Path>) -> Result<HttpBackend, ConfigError> {
        match ca_file {
            Some(path) => backend.ca_certificate(read(key, path)?),
            None => Ok(backend),
        }
    }

    fn read(key: &'static str, path: &Path) -> Result<Vec<u8>, ConfigError> {
        let unread = |error| ConfigError::new(key, format!("{}: {error}", path.display()), "a file that can be read");
        std::fs::read(path).map_err(unread)
    }

    pub(super) fn dress(
        hooks: &Hooks,
        settings: &ServiceSettings,
        builder: LbChannelBuilder,
    ) -> Result<LbChannelBuilder, ConfigureError> {
        let builder = match &settings.failures.remote_breaker {
            Some(wanted) => {
                let breaker =
                    backend(wanted, "circuitBreaker.backendCaFile").and_then(|backend| HttpBreaker::new(backend, wanted.every));
                builder.remote_breaker(breaker.map_err(|error| build::setting(settings, error))?)
            }
            None => builder,
        };
        let webhook = hooks.webhook.as_ref();
        Ok(webhook.into_iter().fold(builder, |builder, (_, webhook)| builder.observer(webhook.observer(settings.name.clone()))))
    }

    pub(super) fn webhook(wanted: &WebhookSettings) -> Result<Webhook, ConfigureError> {
        let mut secrets = wanted.secrets.clone();
        if let Some(path) = &wanted.secrets_file {
            // What is no text is no secret.
            let text = read("webhook.secretsFile", path).map_err(wrong("webhook"))?;
            let text = String::from_utf8_lossy(&text);
            secrets.extend(text.lines().map(str::trim).filter(|line| !line.is_empty()).map(str::to_owned));
        }
        start(wanted, &secrets).map_err(wrong("webhook"))
    }

    fn start(wanted: &WebhookSettings, secrets: &[String]) -> Result<Webhook, ConfigError> {
        let backend = HttpBackend::new(&wanted.url)?.timeout(wanted.timeout)?;
        let backend = trusting(backend, "webhook.caFile", wanted.ca_file.as_deref())?;
        let backend = wanted.token_file.iter().fold(backend, HttpBackend::bearer_token_file);
        let config = WebhookConfig::new(backend, Signer::new(secrets)?)
            .at_least(wanted.least_severity)
            .overflow(if wanted.drop_newest { Overflow::DropNewest } else { Overflow::DropOldest })
            .capacity(wanted.capacity)?
            .batch(wanted.batch)?
            .linger(wanted.linger)?
            .attempts(wanted.attempts)?;
        let config = if wanted.kinds.is_empty() { config } else { config.kinds(wanted.kinds.iter().cloned())? };
        Webhook::start(config)
    }

    /// What can be wrong with the backend for reports, before anything has changed.
    pub(super) fn check(config: &Config) -> Result<(), ConfigureError> {
        let build = |wanted: &Backend| backend(wanted, REPORTS_CA).map(drop);
        config.metrics().backend.iter().try_for_each(build).map_err(wrong("metrics.backendUrl"))
    }

    pub(super) fn reporter<'a>(
        config: &Config,
        channels: impl Iterator<Item = (&'a str, &'a LbChannel)>,
    ) -> Result<Option<StatsReporter>, ConfigureError> {
        let Some(wanted) = &config.metrics().backend else { return Ok(None) };
        let reporter = backend(wanted, REPORTS_CA).and_then(|backend| StatsReporter::start(backend, wanted.every, channels));
        reporter.map(Some).map_err(wrong("metrics.backendUrl"))
    }
}

impl fmt::Debug for Hooks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hooks").finish_non_exhaustive()
    }
}
