//! A configuration of lb-config as what the admin server shows and changes.

use lb_config::{Channels, Config, ConfigureError, Problems, Sources};
use serde_json::Value;

use crate::config::{ConfigRefusal, ConfigSource};

/// Who says what comes by HTTP, where a configuration tells where each value is from.
const SOURCE: &str = "admin";

/// Channels with their configuration, and what it is read from.
#[derive(Debug)]
pub(crate) struct Configured {
    channels: Channels,
    sources: Sources,
}

impl Configured {
    pub(crate) fn new(channels: Channels, sources: Sources) -> Self {
        Self { channels, sources }
    }

    fn apply(&self, config: Config) -> Result<Value, ConfigRefusal> {
        let diff = self.channels.apply(config).map_err(|error| match error {
            ConfigureError::Config(problems) => wrong(&problems),
            ConfigureError::File { .. } => ConfigRefusal::Impossible(error.to_string()),
            _ => ConfigRefusal::Wrong(vec![error.to_string()]),
        })?;
        serde_json::to_value(diff).map_err(|error| ConfigRefusal::Impossible(error.to_string()))
    }
}

impl ConfigSource for Configured {
    fn get(&self) -> Value {
        self.channels.config().to_json()
    }

    fn put(&self, config: &Value) -> Result<Value, ConfigRefusal> {
        let config = self.channels.config().replaced(SOURCE, config).map_err(|problems| wrong(&problems))?;
        self.apply(config)
    }

    fn reload(&self) -> Result<Value, ConfigRefusal> {
        self.apply(self.sources.load().map_err(|problems| wrong(&problems))?)
    }

    fn explain(&self) -> Option<Value> {
        serde_json::to_value(self.channels.config().explain()).ok()
    }
}

fn wrong(problems: &Problems) -> ConfigRefusal {
    ConfigRefusal::Wrong(problems.iter().map(ToString::to_string).collect())
}
