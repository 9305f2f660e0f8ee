//! `score`: the endpoint with the highest score, a weighted sum of named factors; and presets of it.
//!
//! Each [`Factor`] rates an endpoint from 0 to 1; the score is the sum of weight times factor, less `errorPenalty` times the share of
//! recent calls that failed. A pick draws `choiceCount` READY endpoints at random, the first never as its own rival, and takes the
//! best; scores within 0.001 are equal, and decided at random. Factors that are relative (capacity without a known capacity,
//! connections, speed) are so to the endpoints compared. The [presets](Preset) `capability_aware` and `workload_aware` compare only
//! endpoints of the best tier that has room and does not fail. One pick in 64 goes anywhere, so that an endpoint avoided for what it did
//! is seen to do better.
//!
//! | field | default | meaning |
//! |---|---|---|
//! | `factors` | `{"capacity": 1}`; presets have their own | weight of each [`Factor`] by name, 0 to 1000 |
//! | `choiceCount` | 2 | how many are compared: 2 to 10 (more are 10), or 0 for all |
//! | `errorPenalty` | 1 | what a failure rate of 1 takes from the score, 0 to 1000 |
//! | `rules` | `[]` | [`AffinityRules`] per kind of work |
//! | `learnAffinity` | only `task` does | whether to learn which endpoint does which kind of work well |
//!
//! **Bound.** Of two choices an endpoint gets at most two calls in `n`, and at least one in `64 n`, whatever the scores say: a wrong one
//! draws no herd, and nothing starves. A pick costs O(`choiceCount`), with tiers O(distinct sets of capabilities).
//! `"choiceCount": 0` costs O(`n`), and all clients of many go to the same best endpoint until its load shows. No pick allocates.
//!
//! **When not.** Weights are opinions: if load is all that matters use `least_request`, if latency is, `peak_ewma`. In-flight counts are
//! this client's own unless servers report theirs: with many clients of few calls each, all scores are alike.
//!
//! ```
//! use lb_core::PolicyRegistry;
//! use lb_core::policies::{Factor, Factors, Preset, Scored};
//! use serde_json::json;
//!
//! let typed = Scored::new(Factors::default().with(Factor::Capacity, 0.6)?.with(Factor::Locality, 0.4)?, 2)?;
//! let preset = Scored::preset(Preset::Task);
//! let registry = PolicyRegistry::default();
//! let from_json = registry.build("score", &json!({"factors": {"capacity": 0.6, "locality": 0.4}, "choiceCount": 2}))?;
//! let preset = registry.build("task", &json!({"rules": [{"kind": "ocr", "capabilities": ["gpu"]}]}))?;
//! # Ok::<(), lb_core::ConfigError>(())
//! ```
//!
//! Not in gRPC. Choice among few after Mitzenmacher 2001 ("The power of two choices in randomized load balancing").

mod explain;
mod factor;
mod forecast;
mod measure;
mod picker;
mod presets;
mod table;
#[cfg(test)]
mod tests;
mod tier;

use std::sync::Arc;
use std::time::Instant;

use serde_json::Value;

pub use factor::{Factor, Factors};
pub use presets::Preset;

use crate::affinity::{AffinityRules, Experience};
use crate::policy::{ConfigError, LbState, Plan, Policy, SubchannelView};

use super::config;
use super::petiole;
use forecast::Forecasts;
use picker::Scorer;
use table::{Row, Settings};
use tier::Tiers;

/// Two random choices are enough to be even, and few enough not to follow one score in a herd.
const CHOICES: u32 = 2;

/// More draws cost time and win nothing; `least_request` has the same bound from gRFC A48.
const MOST_CHOICES: u32 = 10;

/// The endpoint with the highest score among a few drawn at random, or among all. See the [module table](super) for when to use it.
#[derive(Debug)]
pub struct Scored {
    settings: Arc<Settings>,
    /// Only if the forecast counts.
    forecasts: Option<Forecasts>,
}

impl Scored {
    /// Its name in service configs; presets have [their own](Preset::name).
    pub const NAME: &'static str = "score";

    /// Compares this many endpoints per pick: 2 to 10 (more are 10), or 0 for all.
    ///
    /// # Errors
    /// One choice, which would be random.
    pub fn new(factors: Factors, choices: u32) -> Result<Self, ConfigError> {
        let choices = checked_choices(Self::NAME, choices)?;
        Ok(Self::of(Settings::new(factors, choices, Tiers::None, AffinityRules::default(), false)))
    }

    /// A preset, with two choices.
    pub fn preset(preset: Preset) -> Self {
        Self::of(Settings::new(preset.factors(), CHOICES, preset.tiers(), AffinityRules::default(), preset.learns()))
    }

    /// The same with rules that say what suits which kind of work. They count as much as the factor affinity does.
    #[must_use]
    pub fn with_rules(self, rules: AffinityRules) -> Self {
        let Settings { factors, choices, tiers, experience, .. } = &*self.settings;
        Self::of(Settings::new(factors.clone(), *choices, *tiers, rules, experience.is_some()))
    }

    /// The same, learning which endpoint does which kind of work well. That counts as much as the factor affinity does.
    #[must_use]
    pub fn with_learning(self) -> Self {
        let Settings { factors, choices, tiers, rules, .. } = &*self.settings;
        Self::of(Settings::new(factors.clone(), *choices, *tiers, rules.clone(), true))
    }

    /// What its endpoints did with each kind of work, to be read at any time; `None` if it does not learn.
    pub fn experience(&self) -> Option<&Arc<Experience>> {
        self.settings.experience.as_ref()
    }

    /// From its configuration; the fields are in the module's table.
    pub fn from_config(config: &Value) -> Result<Self, ConfigError> {
        let factors = match config.get("factors") {
            None | Some(Value::Null) => Factors::of(&[(Factor::Capacity, 1.0)]),
            Some(factors) => Factors::from_config(factors).map_err(|error| named(Self::NAME, error))?,
        };
        Self::configured(Self::NAME, config, factors, Tiers::None, false)
    }

    /// A preset from its configuration: all fields but `factors`, which a preset has of its own.
    pub fn preset_from_config(preset: Preset, config: &Value) -> Result<Self, ConfigError> {
        Self::configured(preset.name(), config, preset.factors(), preset.tiers(), preset.learns())
    }

    fn configured(name: &str, config: &Value, factors: Factors, tiers: Tiers, learns: bool) -> Result<Self, ConfigError> {
        let choices = checked_choices(name, config::unsigned(name, config, "choiceCount", CHOICES)?)?;
        let factors = match config.get("errorPenalty") {
            None | Some(Value::Null) => factors,
            Some(penalty) => penalty
                .as_f64()
                .and_then(|number| factors.with_error_penalty(number).ok())
                .ok_or_else(|| ConfigError::new(format!("{name}.errorPenalty"), penalty, "a number from 0 to 1000"))?,
        };
        let rules = match config.get("rules") {
            None | Some(Value::Null) => AffinityRules::default(),
            Some(rules) => AffinityRules::from_json(rules).map_err(|error| named(name, error))?,
        };
        let learns = match config.get("learnAffinity") {
            None | Some(Value::Null) => learns,
            Some(_) => config::flag(name, config, "learnAffinity")?,
        };
        Ok(Self::of(Settings::new(factors, choices, tiers, rules, learns)))
    }

    fn of(settings: Settings) -> Self {
        let forecasts = settings.uses(Factor::LoadForecast).then(Forecasts::default);
        Self { settings: Arc::new(settings), forecasts }
    }
}

impl Policy for Scored {
    fn rebuild(&mut self, now: Instant, view: &[SubchannelView], plan: &mut Plan) -> LbState {
        if let Some(experience) = &self.settings.experience {
            experience.make_room(now, view.iter().map(|row| row.slot));
        }
        if let Some(forecasts) = &mut self.forecasts {
            forecasts.observe(now, view, plan);
        }
        petiole::spread(view, plan, |ready, others| {
            let expected = |slot| self.forecasts.as_ref().and_then(|forecasts| forecasts.expected(slot));
            let rows = ready.iter().map(|view| Row::new(view, expected(view.slot))).collect();
            Scorer::over(Arc::clone(&self.settings), rows, others)
        })
    }
}

fn checked_choices(name: &str, choices: u32) -> Result<u32, ConfigError> {
    match choices {
        1 => {
            Err(ConfigError::new(format!("{name}.choiceCount"), choices, "0 for all, or a whole number from 2; 10 and more are 10"))
        }
        choices => Ok(choices.min(MOST_CHOICES)),
    }
}

/// The same error with the policy's name before the field.
fn named(name: &str, error: ConfigError) -> ConfigError {
    ConfigError { field: format!("{name}.{}", error.field), ..error }
}
