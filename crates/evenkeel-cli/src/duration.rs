//! Timeouts as people write them: `500ms`, `5s`, `1m30s`, `1.5h`.

use std::time::Duration;

use evenkeel::human;

/// The shortest and the longest that make sense for a timeout; the channel's own bounds.
const SHORTEST: Duration = Duration::from_millis(1);
const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);

const ALLOWED: &str = "allowed is 1ms to 24h, written as 500ms, 5s, 1m30s or 2h";

/// Reads a timeout, 1 ms to 24 h.
pub(crate) fn parse(text: &str) -> Result<Duration, String> {
    let read = human::duration(text).ok().filter(|time| (SHORTEST..=LONGEST).contains(time));
    read.ok_or_else(|| format!("{text:?} is no duration; {ALLOWED}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn people_write_them_so() {
        for (text, milliseconds) in [
            ("1ms", 1),
            ("500ms", 500),
            ("5s", 5_000),
            ("1.5s", 1_500),
            ("1m30s", 90_000),
            ("1h 2m", 3_720_000),
            ("24h", 86_400_000),
        ] {
            assert_eq!(parse(text), Ok(Duration::from_millis(milliseconds)), "{text}");
        }
    }

    #[test]
    fn the_rest_is_refused_with_what_is_allowed() {
        for text in
            ["", "5", "s", "-5s", "5x", "0s", "0.5ms", "25h", "1.2.3s", "5 seconds", "ö", "5ö", "1e3s", "99999999999999999999999h"]
        {
            assert!(parse(text).unwrap_err().contains("1m30s"), "{text}");
        }
    }
}
