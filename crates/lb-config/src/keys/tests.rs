use std::collections::BTreeSet;

use super::*;

#[test]
fn every_path_is_there_once_and_in_a_section_that_is() {
    let paths: BTreeSet<&str> = all().iter().map(|key| key.path).chain(sections().iter().map(|section| section.path)).collect();
    assert_eq!(paths.len(), all().len() + sections().len(), "a path stands twice");
    for key in all() {
        assert!(key.section().is_empty() || find_section(key.section()).is_some(), "{} is in no section", key.path);
        assert_eq!(find(key.path), Some(key));
    }
    for section in sections() {
        assert_eq!(find(&format!("{}.enabled", section.path)).is_some(), section.switch, "{}", section.path);
        assert!(below(section.path).next().is_some(), "{} is empty", section.path);
    }
}

#[test]
fn every_default_is_allowed_and_variables_are_told_apart() {
    let mut variables: BTreeSet<String> = ALIASES.iter().map(|(name, _)| (*name).to_owned()).collect();
    for key in all() {
        assert!(key.default.is_empty() || key.default().is_some(), "{}: {:?}", key.path, key.default);
        assert!(variables.insert(key.variable()), "{} is a variable twice", key.variable());
        assert!(!key.about.is_empty() && !key.about.ends_with('.'), "{}", key.path);
    }
    assert!(ALIASES.iter().all(|(_, path)| find(path).is_some()));
}

#[test]
fn the_promised_variables_are_there() {
    for (variable, path) in [
        ("LB_HEALTH_CHECK_ENABLED", "healthCheck.enabled"),
        ("LB_METRICS_ENABLED", "metrics.enabled"),
        ("LB_CIRCUIT_BREAKER_ENABLED", "circuitBreaker.enabled"),
    ] {
        assert_eq!(find(path).unwrap().variable(), variable);
    }
    assert_eq!(shouted("services.order-items.retry.maxAttempts"), "SERVICES_ORDER_ITEMS_RETRY_MAX_ATTEMPTS");
}

#[test]
fn what_is_shown_is_short_and_without_passwords() {
    let long = Value::from("x".repeat(1 << 20));
    let many = Value::from(vec![0; 1 << 20]);
    assert!(Kind::Text.show(&long).len() < 300 && Kind::Texts.show(&many).len() < 500);
    let url = Value::from("https://user:secret@breaker.internal/path");
    assert_eq!(Kind::Url.show(&url), "https://breaker.internal/path");
    assert_eq!((Kind::Url.read(&url), Kind::Secrets.show(&url)), (None, HIDDEN.to_owned()));
}
