//! One channel, and what of its configuration can change under it.

use std::sync::Arc;

use lb_core::{ConfigError, LbEvent, ServiceConfigUpdate};
use lb_tonic::LbChannel;
use serde_json::Value;

use super::Customize;
use super::hooks::Hooks;
use crate::build::{self, ConfigureError, Levers};
use crate::config::Config;
use crate::diff::{Changed, Diff};
use crate::settings::{ServiceSettings, Source};

/// A channel that was built from a configuration.
pub(super) struct Running {
    channel: LbChannel,
    levers: Levers,
    /// What it was built from.
    built: Config,
    name: Arc<str>,
    limits_endpoints: bool,
}

impl Running {
    pub(super) fn build(
        config: &Config,
        settings: &ServiceSettings,
        hooks: &Hooks,
        customize: &Customize,
    ) -> Result<Self, ConfigureError> {
        let (builder, levers) = build::builder(settings)?;
        let builder = hooks.dress(settings, builder)?;
        let channel = customize(settings, builder)
            .build()
            .map_err(|error| ConfigureError::Build { service: settings.name.to_string(), error })?;
        hooks.watch(&channel);
        let limits_endpoints = settings.load.rates.endpoint.is_some() || settings.load.concurrency.is_some();
        let running = Self { channel, levers, built: config.clone(), name: Arc::clone(&settings.name), limits_endpoints };
        if settings.service_config.is_some() {
            running.set_service_config(settings).map_err(|error| build::setting(settings, error))?;
        }
        Ok(running)
    }

    pub(super) fn channel(&self) -> &LbChannel {
        &self.channel
    }

    /// From one configuration to another, as far as a channel that runs can.
    pub(super) fn change(&self, from: &ServiceSettings, to: &ServiceSettings) -> Result<(), ConfigureError> {
        self.try_change(from, to).map_err(|error| build::setting(to, error))
    }

    fn try_change(&self, from: &ServiceSettings, new: &ServiceSettings) -> Result<(), ConfigError> {
        // What can fail comes first.
        self.set_policies(from, new)?;
        let mut rates = new.load.rates.clone();
        if !self.limits_endpoints {
            rates.endpoint = None;
        }
        self.channel.set_rate_limits(rates)?;
        if self.limits_endpoints {
            self.channel.set_concurrency_limit(new.load.concurrency)?;
        }
        if let Some(limit) = &self.levers.max_requests {
            limit.set_max(new.load.max_requests.unwrap_or(u32::MAX));
        }
        if let Some(limit) = &self.levers.per_endpoint {
            limit.set_max(new.load.max_requests_per_endpoint.unwrap_or(u32::MAX));
        }
        if let (Some(handle), Source::Endpoints(endpoints)) = (&self.levers.endpoints, &new.source)
            && handle.endpoints() != *endpoints
        {
            handle.set(endpoints.iter().cloned());
        }
        Ok(())
    }

    /// The service config, and the policy where that names none. What stays the same is left alone, so that policies keep their state.
    fn set_policies(&self, from: &ServiceSettings, new: &ServiceSettings) -> Result<(), ConfigError> {
        let configured = from.service_config != new.service_config;
        if configured {
            self.set_service_config(new)?;
        }
        let chosen = (&from.policy, &from.policy_config) != (&new.policy, &new.policy_config);
        let names = |config: &Value| config.get("loadBalancingConfig").or_else(|| config.get("loadBalancingPolicy")).is_some();
        match new.service_config.as_ref().is_some_and(names) {
            false if configured || chosen => self.channel.set_policy(&new.policy, &new.policy_config),
            _ => Ok(()),
        }
    }

    fn set_service_config(&self, new: &ServiceSettings) -> Result<(), ConfigError> {
        self.channel.set_service_config(match &new.service_config {
            Some(config) => ServiceConfigUpdate::Json(config.clone()),
            None => ServiceConfigUpdate::Absent,
        })
    }

    /// What waits for another channel, so that this is as configured.
    pub(super) fn waiting(&self, config: &Config) -> Vec<Changed> {
        self.built.diff_of(&self.name, config).into_iter().filter(|changed| !changed.live).collect()
    }

    /// Tells of its part of what has changed.
    pub(super) fn tell(&self, diff: &Diff) {
        let changes: Vec<String> = diff.of(&self.name).map(Changed::to_string).collect();
        if changes.is_empty() {
            return;
        }
        let waiting = diff.of(&self.name).filter(|changed| !changed.live).count();
        let waiting = u32::try_from(waiting).unwrap_or(u32::MAX);
        self.channel.announce(LbEvent::SettingsChanged { changes: changes.join("\n").into(), waiting });
    }
}
