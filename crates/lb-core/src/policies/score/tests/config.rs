use serde_json::json;

use crate::policies::{Factor, Factors, Preset, Scored};
use crate::registry::PolicyRegistry;

#[test]
fn fields_and_their_defaults() {
    let policy = Scored::from_config(&json!({})).unwrap();
    assert_eq!(policy.settings.factors, Factors::default().with(Factor::Capacity, 1.0).unwrap());
    assert_eq!((policy.settings.choices, policy.settings.factors.error_penalty()), (2, 1.0));
    let config = json!({
        "factors": {"successRate": 1, "load_forecast": 0.5, "cost": 0}, "choiceCount": 99, "errorPenalty": 2.5,
        "rules": [{"kind": "ocr", "ids": ["a"]}], "learnAffinity": true, "unknown": {}
    });
    let policy = Scored::from_config(&config).unwrap();
    let factors: Vec<_> = policy.settings.factors.iter().collect();
    assert_eq!(factors, [(Factor::SuccessRate, 1.0), (Factor::LoadForecast, 0.5)]);
    assert_eq!((policy.settings.choices, policy.settings.factors.error_penalty()), (10, 2.5));
    assert!(policy.settings.rules.for_kind("ocr").is_some() && policy.experience().is_some() && policy.forecasts.is_some());
    let nulls = json!({"factors": null, "choiceCount": null, "errorPenalty": null, "rules": null, "learnAffinity": null});
    assert!(Scored::from_config(&nulls).is_ok());
}

#[test]
fn what_cannot_be_used_is_named() {
    for (config, field, allowed) in [
        (json!({"factors": {"speed": 1}}), "score.factors", "any of capacity, weight, health, connections, successRate"),
        (json!({"factors": {"cost": -1}}), "score.factors.cost", "a number from 0 to 1000"),
        (json!({"factors": {"cost": 1001}}), "score.factors.cost", "a number from 0 to 1000"),
        (json!({"factors": {"cost": "1"}}), "score.factors.cost", "a number from 0 to 1000"),
        (json!({"factors": {}}), "score.factors", "at least one factor"),
        (json!({"factors": {"cost": 0}}), "score.factors", "at least one factor"),
        (json!({"factors": []}), "score.factors", "an object"),
        (json!({"choiceCount": 1}), "score.choiceCount", "0 for all"),
        (json!({"choiceCount": -1}), "score.choiceCount", "a whole number"),
        (json!({"errorPenalty": -0.1}), "score.errorPenalty", "a number from 0"),
        (json!({"errorPenalty": "1"}), "score.errorPenalty", "a number from 0"),
        (json!({"rules": [{"kind": "k"}]}), "score.rules[0]", "capabilities, ids or metadata"),
        (json!({"learnAffinity": 1}), "score.learnAffinity", "true or false"),
    ] {
        let error = Scored::from_config(&config).unwrap_err();
        assert_eq!(error.field, field, "{config}");
        assert!(error.allowed.starts_with(allowed), "{config}: {error}");
    }
    assert!(Factors::default().with(Factor::Cost, f64::NAN).is_err() && Factors::default().with_error_penalty(f64::NAN).is_err());
    assert_eq!(Scored::new(Factors::default(), 1).unwrap_err().field, "score.choiceCount");
}

#[test]
fn presets_have_exactly_their_factors() {
    use Factor::{Affinity, Capacity, Connections, Health, Latency, Performance, Reliability, SuccessRate, Weight};
    let of = |preset: Preset| preset.factors().iter().collect::<Vec<_>>();
    assert_eq!(of(Preset::Weighted), [(Capacity, 0.4), (Weight, 0.3), (Health, 0.2), (Connections, 0.1)]);
    assert_eq!(of(Preset::Performance), [(Capacity, 0.15), (SuccessRate, 0.35), (Latency, 0.25), (Reliability, 0.25)]);
    assert_eq!(of(Preset::Task), [(Capacity, 0.4), (Reliability, 0.1), (Performance, 0.3), (Affinity, 0.2)]);
    for preset in Preset::ALL {
        let sum: f64 = preset.factors().iter().map(|(_, weight)| weight).sum();
        assert!((sum - 1.0).abs() < 1e-9 && preset.factors().error_penalty() == 1.0, "{preset:?}: {sum}");
        let registry = PolicyRegistry::default();
        assert!(registry.build(preset.name(), &json!({"choiceCount": 3, "errorPenalty": 0.5})).is_ok());
        let error = registry.build(preset.name(), &json!({"choiceCount": 1})).unwrap_err();
        assert_eq!(error.field, format!("{}.choiceCount", preset.name()));
    }
}

#[test]
fn every_factor_is_found_by_both_names_and_stands_where_it_says() {
    for (at, factor) in Factor::ALL.into_iter().enumerate() {
        assert_eq!(factor as usize, at);
        for name in [factor.name(), factor.config_name()] {
            assert!(Scored::from_config(&json!({"factors": {name: 1}})).is_ok_and(|policy| policy.settings.uses(factor)), "{name}");
        }
    }
}
