//! Times as they stand in queries: `500ms`, `30s`, `5m`, `1h`.

use std::time::Duration;

use http::StatusCode;

use crate::problem::Problem;

/// Nothing in this API is about more than 30 days.
const MOST: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// Reads a time of at least 1 ms.
pub(super) fn parse(text: &str) -> Result<Duration, Problem> {
    let refused = || {
        let detail = "a time is a whole number and `ms`, `s`, `m` or `h`, from 1ms to 720h, such as 30s";
        Problem::new(StatusCode::BAD_REQUEST, detail)
    };
    let digits = text.find(|c: char| !c.is_ascii_digit()).ok_or_else(refused)?;
    let (number, unit) = text.split_at(digits);
    let factor = match unit {
        "ms" => 1,
        "s" => 1000,
        "m" => 60 * 1000,
        "h" => 60 * 60 * 1000,
        _ => return Err(refused()),
    };
    let number: u64 = number.parse().map_err(|_| refused())?;
    let time = Duration::from_millis(number.saturating_mul(factor));
    Some(time).filter(|time| (Duration::from_millis(1)..=MOST).contains(time)).ok_or_else(refused)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_a_number_and_a_unit() {
        for (text, millis) in [("1ms", 1), ("30s", 30_000), ("5m", 300_000), ("1h", 3_600_000), ("720h", 2_592_000_000)] {
            assert_eq!(parse(text), Ok(Duration::from_millis(millis)), "{text}");
        }
        for text in
            ["", "5", "s", "-5s", "1.5s", "0s", "721h", "99999999999999999999h", "18446744073709551615h", "1 s", "1S", "1\u{e4}"]
        {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
