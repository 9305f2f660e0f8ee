//! The service config in TXT records (A2).
//!
//! A record that begins with `grpc_config=` goes on with a JSON list of choices; the first that fits this client counts. Several such
//! records are read in the order of their text, because DNS keeps no order. Other records are not ours. What cannot be read
//! makes the whole config broken, and the addresses are used all the same.

use lb_core::ServiceConfigUpdate;
use serde::Deserialize;

const PREFIX: &str = "grpc_config=";

/// What the choices are compared with.
#[derive(Debug, Clone)]
pub(crate) struct Chooser {
    /// 0 to 99, drawn once per stream so that a client does not change sides.
    pub(crate) percentile: u8,
    /// The name of this machine, if it is known.
    pub(crate) hostname: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Choice {
    #[serde(default)]
    client_language: Vec<String>,
    percentage: Option<u8>,
    #[serde(default)]
    client_hostname: Vec<String>,
    service_config: serde_json::Map<String, serde_json::Value>,
}

impl Chooser {
    /// The service config that these TXT records hold for this client.
    pub(crate) fn choose(&self, mut records: Vec<String>) -> ServiceConfigUpdate {
        records.retain(|record| record.starts_with(PREFIX));
        records.sort_unstable();
        let mut choices = Vec::new();
        for record in &records {
            match choices_of(&record[PREFIX.len()..]) {
                Ok(more) => choices.extend(more),
                Err(reason) => return ServiceConfigUpdate::Broken(format!("service config in DNS: {reason}").into()),
            }
        }
        let chosen = choices.into_iter().find(|choice| self.fits(choice));
        chosen.map_or(ServiceConfigUpdate::Absent, |choice| ServiceConfigUpdate::Json(choice.service_config.into()))
    }

    fn fits(&self, choice: &Choice) -> bool {
        let language =
            choice.client_language.is_empty() || choice.client_language.iter().any(|name| name.eq_ignore_ascii_case("rust"));
        let hostname =
            choice.client_hostname.is_empty() || self.hostname.as_ref().is_some_and(|name| choice.client_hostname.contains(name));
        language && hostname && choice.percentage.is_none_or(|percentage| self.percentile < percentage)
    }
}

fn choices_of(text: &str) -> Result<Vec<Choice>, String> {
    if !text.is_ascii() {
        return Err("it holds characters that are not ASCII".to_owned());
    }
    let choices: Vec<Choice> = serde_json::from_str(text).map_err(|error| error.to_string())?;
    match choices.iter().find_map(|choice| choice.percentage.filter(|percentage| *percentage > 100)) {
        Some(percentage) => Err(format!("percentage is {percentage}; allowed is 0 to 100")),
        None => Ok(choices),
    }
}

/// The name of this machine, where it can be read without asking the system by a call of its own.
pub(crate) fn system_hostname() -> Option<String> {
    let file = ["/proc/sys/kernel/hostname", "/etc/hostname"].into_iter().find_map(|path| std::fs::read_to_string(path).ok());
    let name = file.or_else(|| std::env::var("HOSTNAME").ok()).or_else(|| std::env::var("COMPUTERNAME").ok())?;
    Some(name.trim().to_owned()).filter(|name| !name.is_empty())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn choose(records: &[&str]) -> ServiceConfigUpdate {
        let chooser = Chooser { percentile: 50, hostname: Some("shop-1".to_owned()) };
        chooser.choose(records.iter().map(|record| (*record).to_owned()).collect())
    }

    fn number(update: ServiceConfigUpdate) -> Option<u64> {
        match update {
            ServiceConfigUpdate::Json(config) => config["n"].as_u64(),
            ServiceConfigUpdate::Absent => None,
            other => panic!("{other:?}"),
        }
    }

    fn first_of(choices: &str) -> Option<u64> {
        number(choose(&[&format!("grpc_config=[{choices}]")]))
    }

    #[test]
    fn the_first_choice_that_fits_counts() {
        assert_eq!(first_of(r#"{"serviceConfig":{"n":1}},{"serviceConfig":{"n":2}}"#), Some(1));
        assert_eq!(first_of(r#"{"clientLanguage":["java"],"serviceConfig":{"n":1}},{"serviceConfig":{"n":2}}"#), Some(2));
        assert_eq!(first_of(r#"{"clientLanguage":["JAVA","RuSt"],"serviceConfig":{"n":1}}"#), Some(1));
        assert_eq!(first_of(r#"{"clientLanguage":[],"clientHostname":[],"serviceConfig":{"n":1}}"#), Some(1));
        assert_eq!(first_of(r#"{"clientHostname":["a","shop-1"],"serviceConfig":{"n":1}}"#), Some(1));
        assert_eq!(first_of(r#"{"clientHostname":["Shop-1"],"serviceConfig":{"n":1}}"#), None);
        assert_eq!(first_of(""), None);
    }

    #[test]
    fn percentages_0_and_100_are_never_and_always() {
        for (percentage, chosen) in [(0, false), (50, false), (51, true), (100, true)] {
            let choice = format!(r#"{{"percentage":{percentage},"serviceConfig":{{"n":1}}}}"#);
            assert_eq!(first_of(&choice).is_some(), chosen, "{percentage}");
        }
        for percentile in [0, 99] {
            let records = |percentage| vec![format!(r#"grpc_config=[{{"percentage":{percentage},"serviceConfig":{{}}}}]"#)];
            let chooser = Chooser { percentile, hostname: None };
            assert_eq!(chooser.choose(records(0)), ServiceConfigUpdate::Absent);
            assert_ne!(chooser.choose(records(100)), ServiceConfigUpdate::Absent);
        }
    }

    #[test]
    fn several_records_are_one_list_in_any_order() {
        let records =
            [r#"grpc_config=[{"clientLanguage":["go"],"serviceConfig":{"n":1}}]"#, r#"grpc_config=[{"serviceConfig":{"n":2}}]"#];
        assert_eq!(number(choose(&records)), Some(2));
        assert_eq!(number(choose(&[records[1], "v=spf1 -all", records[0]])), Some(2));
    }

    #[test]
    fn other_records_are_no_config() {
        assert_eq!(choose(&[]), ServiceConfigUpdate::Absent);
        assert_eq!(choose(&["v=spf1 -all", "Grpc_config=[", "x grpc_config=["]), ServiceConfigUpdate::Absent);
    }

    #[test]
    fn what_cannot_be_read_is_broken() {
        for (record, expected) in [
            ("grpc_config=", "EOF"),
            ("grpc_config=[", "EOF"),
            ("grpc_config={}", "expected a sequence"),
            (r#"grpc_config=[{}]"#, "`serviceConfig`"),
            (r#"grpc_config=[{"serviceConfig":[]}]"#, "expected a map"),
            (r#"grpc_config=[{"serviceConfig":{},"langage":["go"]}]"#, "`langage`"),
            (r#"grpc_config=[{"serviceConfig":{},"percentage":101}]"#, "0 to 100"),
            (r#"grpc_config=[{"serviceConfig":{},"percentage":-1}]"#, "-1"),
            (r#"grpc_config=[{"serviceConfig":{"n":"ä"}}]"#, "not ASCII"),
        ] {
            let ServiceConfigUpdate::Broken(reason) = choose(&[record]) else { panic!("{record} was read") };
            assert!(reason.contains(expected), "{record}: {reason}");
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "\\PC{0,100}", cut in 0_usize..100) {
            choose(&[&format!("grpc_config={text}")]);
            let whole = r#"grpc_config=[{"clientLanguage":["rust"],"percentage":100,"serviceConfig":{"n":1}}]"#;
            prop_assert_eq!(choose(&[&whole[..cut.min(whole.len())]]) == choose(&[whole]), cut >= whole.len());
        }
    }
}
