//! Words about endpoints and times.

use std::fmt::Write;
use std::time::SystemTime;
use std::time::UNIX_EPOCH;

use evenkeel::Attributes;
use evenkeel::Endpoint;
use evenkeel::Locality;
use evenkeel::RegistryHealth;
use serde_json::Value;
use serde_json::json;

/// The text with everything replaced that could move a terminal's cursor, hide text or turn it around. Registries say what they want.
pub(crate) fn clean(text: &str) -> String {
    let unsafe_char = |c: char| {
        c.is_control() || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
    };
    text.chars().map(|c| if unsafe_char(c) { '\u{fffd}' } else { c }).collect()
}

/// What differs from the default, such as `weight=3 locality=eu/eu-b`; empty if nothing does.
pub(crate) fn described(attributes: &Attributes) -> String {
    let default = Attributes::default();
    let mut text = String::new();
    let mut say = |word: &str, value: String| {
        if !value.is_empty() {
            let space = if text.is_empty() { "" } else { " " };
            // Writing to a string cannot fail.
            let _ = write!(text, "{space}{word}={}", clean(&value));
        }
    };
    say("id", attributes.id.as_deref().unwrap_or_default().to_owned());
    say("weight", unless(attributes.weight, default.weight));
    say("priority", unless(attributes.priority, default.priority));
    say("locality", locality(&attributes.locality));
    say("health", health(attributes.health).to_owned());
    say("capabilities", capabilities(attributes));
    say("capacity", attributes.capacity.map(|capacity| capacity.to_string()).unwrap_or_default());
    say("cost", attributes.cost.map(|cost| cost.to_string()).unwrap_or_default());
    say("replicaOf", attributes.replica_of.as_deref().unwrap_or_default().to_owned());
    say("hostname", attributes.hostname.as_deref().unwrap_or_default().to_owned());
    for (key, value) in &attributes.metadata {
        say(&clean(key), value.to_string());
    }
    text
}

fn unless(value: u32, default: u32) -> String {
    if value == default { String::new() } else { value.to_string() }
}

/// `region/zone/subZone`, cut after the last part that is known.
pub(crate) fn locality(locality: &Locality) -> String {
    let joined = format!("{}/{}/{}", locality.region, locality.zone, locality.sub_zone);
    joined.trim_end_matches('/').to_owned()
}

/// What the registry says; empty if it says nothing.
pub(crate) fn health(health: RegistryHealth) -> &'static str {
    match health {
        RegistryHealth::Healthy => "healthy",
        RegistryHealth::Degraded => "degraded",
        RegistryHealth::Draining => "draining",
        RegistryHealth::Unhealthy => "unhealthy",
        _ => "",
    }
}

pub(crate) fn capabilities(attributes: &Attributes) -> String {
    attributes.capabilities.iter().map(|word| &**word).collect::<Vec<_>>().join(",")
}

/// An endpoint with all that is known of it.
pub(crate) fn json(endpoint: &Endpoint) -> Value {
    let addresses: Vec<String> = endpoint.addresses().iter().map(ToString::to_string).collect();
    json!({ "key": endpoint.key().as_str(), "addresses": addresses, "attributes": endpoint.attributes })
}

/// `2026-11-21T00:30:05.123Z`, as RFC 3339 has it. Times before 1970 are 1970.
pub(crate) fn timestamp(time: SystemTime) -> String {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    let (days, second) = (since.as_secs() / 86_400, since.as_secs() % 86_400);
    let (year, month, day) = civil(days);
    let (hour, minute, second, milli) = (second / 3600, second / 60 % 60, second % 60, since.subsec_millis());
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{milli:03}Z")
}

/// The date so many days after 1970-01-01, counted in eras of 400 years that begin on a 1st of March.
fn civil(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    (era * 400 + year_of_era + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn timestamps() {
        for (seconds, expected) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_400, "2000-02-29T00:00:00.000Z"),
            (1_709_251_199, "2024-02-29T23:59:59.000Z"),
            (1_795_221_005, "2026-11-21T00:30:05.000Z"),
            (4_107_542_400, "2100-03-01T00:00:00.000Z"),
        ] {
            assert_eq!(timestamp(UNIX_EPOCH + Duration::from_secs(seconds)), expected);
        }
        assert_eq!(timestamp(UNIX_EPOCH - Duration::from_secs(5)), "1970-01-01T00:00:00.000Z");
    }

    #[test]
    fn only_what_is_known_is_said_and_nothing_commands_the_terminal() {
        let mut attributes = Attributes::default();
        assert_eq!(described(&attributes), "");
        attributes.weight = 3;
        attributes.id = Some("a\x1b[2Jb".into());
        attributes.locality = Locality::new("eu", "", "");
        attributes.metadata = [("k\n".into(), "v\u{202e}".into())].into();
        assert_eq!(described(&attributes), "id=a\u{fffd}[2Jb weight=3 locality=eu k\u{fffd}=v\u{fffd}");
    }

    #[test]
    fn localities_end_with_what_is_known() {
        assert_eq!(locality(&Locality::default()), "");
        assert_eq!(locality(&Locality::new("eu", "eu-b", "")), "eu/eu-b");
        assert_eq!(locality(&Locality::new("", "eu-b", "r1")), "/eu-b/r1");
    }
}
