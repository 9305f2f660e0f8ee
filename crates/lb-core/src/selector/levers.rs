//! Taking endpoints out, and giving them less.

use std::time::Instant;

use crate::machine::Command;
use crate::policy::ConfigError;

use super::{Selector, SelectorError};

impl Selector {
    /// Selects an endpoint no more until it is taken back; what it has it finishes.
    ///
    /// # Errors
    /// There is none of that name.
    pub fn drain(&mut self, now: Instant, name: &str) -> Result<(), SelectorError> {
        let key = self.hands.key(name)?;
        self.pull(now, Command::Drain(key, true))
    }

    /// Takes a drained endpoint back.
    ///
    /// # Errors
    /// There is none of that name.
    pub fn undrain(&mut self, now: Instant, name: &str) -> Result<(), SelectorError> {
        let key = self.hands.key(name)?;
        self.pull(now, Command::Drain(key, false))
    }

    /// Selects an endpoint no more until it is [enabled](Self::enable).
    ///
    /// # Errors
    /// There is none of that name.
    pub fn disable(&mut self, now: Instant, name: &str) -> Result<(), SelectorError> {
        let key = self.hands.key(name)?;
        self.pull(now, Command::Disable(key, true))
    }

    /// Takes an endpoint back that was disabled or drained.
    ///
    /// # Errors
    /// There is none of that name.
    pub fn enable(&mut self, now: Instant, name: &str) -> Result<(), SelectorError> {
        let key = self.hands.key(name)?;
        self.machine.command(Command::Drain(key.clone(), false));
        self.pull(now, Command::Disable(key, false))
    }

    /// Selects an endpoint for this share of what falls to its peers, above 0; 1 is the full share again.
    ///
    /// # Errors
    /// There is none of that name, or it is no such share.
    pub fn degrade(&mut self, now: Instant, name: &str, share: f64) -> Result<(), SelectorError> {
        if !(share > 0.0 && share <= 1.0) {
            return Err(ConfigError::new("share", share, "a number above 0 and at most 1").into());
        }
        let key = self.hands.key(name)?;
        self.pull(now, Command::Degrade(key, share))
    }

    fn pull(&mut self, now: Instant, lever: Command) -> Result<(), SelectorError> {
        self.machine.command(lever);
        self.settle(now);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::{Value, json};

    use super::*;
    use crate::hints::PickHints;
    use crate::policies::testing::start;
    use crate::stats::Outcome;

    #[test]
    fn levers_are_pulled_as_data_and_shown() {
        let mut selector = Selector::new(1, "round_robin", &Value::Null).unwrap();
        let now = start();
        let mut ask = |operation: Value| selector.apply_json(now, &operation);
        for id in ["a", "b", "c"] {
            let address = format!("10.0.0.{}:1", id.as_bytes()[0]);
            ask(json!({"op": "add", "endpoint": {"addresses": [address], "id": id}}));
        }
        assert_eq!(ask(json!({"op": "disable", "name": "a", "disabled": true})), json!({"ok": null}));
        assert_eq!(ask(json!({"op": "get", "name": "a"}))["ok"]["excluded"], "disabled");
        assert_eq!(ask(json!({"op": "disable", "name": "a", "disabled": false})), json!({"ok": null}));
        assert_eq!(ask(json!({"op": "get", "name": "a"}))["ok"]["excluded"], Value::Null);
        assert_eq!(ask(json!({"op": "degrade", "name": "b", "share": 0.5})), json!({"ok": null}));
        assert_eq!(ask(json!({"op": "get", "name": "b"}))["ok"]["share"], 0.5);
        let refused = ask(json!({"op": "degrade", "name": "b", "share": 0.0}));
        assert_eq!(refused, json!({"error": "share is 0, allowed is a number above 0 and at most 1"}));
        assert!(ask(json!({"op": "degrade", "name": "nobody", "share": 0.5}))["error"].is_string());
    }

    #[test]
    fn a_degraded_endpoint_is_selected_for_its_share() {
        let mut selector = Selector::new(1, "least_request", &Value::Null).unwrap();
        let mut now = start();
        let endpoint = |port| crate::Endpoint::new(std::net::SocketAddr::from(([10, 0, 0, 1], port)));
        selector.add_all(now, [1, 2, 3].map(endpoint)).unwrap();
        selector.degrade(now, "10.0.0.1:1", 0.25).unwrap();
        let mut counts = [0_u32; 3];
        for _ in 0..900 {
            now += Duration::from_millis(5);
            let selection = selector.select(now, &PickHints::new()).unwrap();
            let port = selection.key.as_str().rsplit(':').next().unwrap().parse::<usize>().unwrap();
            counts[port - 1] += 1;
            selector.report(now, selection.ticket, Outcome::Success, None).unwrap();
        }
        // 900 · 0.25 / 2.25
        assert!(counts[0].abs_diff(100) <= 5, "{counts:?}");
    }
}
