//! Times and sizes as people write them: `250ms`, `1m30s`, `2h`; `64KiB`, `4MB`.
//!
//! A number always has its unit: `30` alone is seconds to one reader and milliseconds to the next, so it is refused. Reading is exact
//! (`0.1s` is 100 000 000 ns), and what [`show`] writes is read as the same time.
//!
//! ```
//! use std::time::Duration;
//! use lb_core::human;
//!
//! assert_eq!(human::duration("1m30s"), Ok(Duration::from_secs(90)));
//! assert_eq!(human::show(Duration::from_millis(90_250)), "1m30.25s");
//! assert_eq!(human::bytes("4MiB"), Ok(4 << 20));
//! ```

use std::time::Duration;

/// What a duration may be, for errors.
pub const DURATION: &str = "a duration with units, such as 250ms, 30s, 1m30s or 2h";

/// What a size may be, for errors.
pub const SIZE: &str = "a number of bytes, with or without a unit: 4096, 64KiB, 4MB";

const SECOND: u128 = 1_000_000_000;

/// More digits than any unit needs; also what keeps the sums below from overflow.
const MOST_DIGITS: usize = 20;

/// Longer texts are nothing a person wrote, and are not looked at.
const LONGEST: usize = 256;

/// Reads a duration: numbers with the units `ns`, `us`, `ms`, `s`, `m` (or `min`), `h` and `d`, added up; at most 10 000 years.
///
/// # Errors
/// What is allowed, if it is no duration.
pub fn duration(text: &str) -> Result<Duration, &'static str> {
    const MOST: u128 = 315_576_000_000 * SECOND;
    let (mut rest, mut nanos) = (text.trim(), 0_u128);
    if rest.is_empty() || rest.len() > LONGEST {
        return Err(DURATION);
    }
    while !rest.is_empty() {
        let (number, unit, after) = piece(rest).ok_or(DURATION)?;
        let unit = match unit {
            "ns" => 1,
            "us" | "µs" => 1_000,
            "ms" => 1_000_000,
            "s" => SECOND,
            "m" | "min" => 60 * SECOND,
            "h" => 3_600 * SECOND,
            "d" => 86_400 * SECOND,
            _ => return Err(DURATION),
        };
        nanos = nanos.saturating_add(scaled(number, unit).ok_or(DURATION)?);
        rest = after;
    }
    let seconds = u64::try_from(nanos / SECOND).ok().filter(|_| nanos <= MOST).ok_or(DURATION)?;
    Ok(Duration::new(seconds, (nanos % SECOND) as u32))
}

/// Reads a size in bytes: a number alone, or with `B`, `KB`, `MB`, `GB` (thousands) or `KiB`, `MiB`, `GiB` (1024s).
///
/// # Errors
/// What is allowed, if it is no size.
pub fn bytes(text: &str) -> Result<u64, &'static str> {
    let (number, unit, rest) = Some(text.trim()).filter(|text| text.len() <= LONGEST).and_then(piece).ok_or(SIZE)?;
    let unit = match unit {
        "" | "B" => 1,
        "KB" | "kB" => 1_000,
        "MB" => 1_000_000,
        "GB" => 1_000_000_000,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        _ => return Err(SIZE),
    };
    let bytes = scaled(number, unit).and_then(|bytes| u64::try_from(bytes).ok());
    bytes.filter(|_| rest.is_empty()).ok_or(SIZE)
}

/// Writes a duration as people do, exactly: `0s`, `250ms`, `1.5s`, `1m30s`, `2h`.
pub fn show(time: Duration) -> String {
    let (seconds, nanos) = (time.as_secs(), time.subsec_nanos());
    if seconds == 0 && nanos > 0 {
        return match nanos {
            _ if nanos % 1_000_000 == 0 => format!("{}ms", nanos / 1_000_000),
            _ if nanos % 1_000 == 0 => format!("{}us", nanos / 1_000),
            _ => format!("{nanos}ns"),
        };
    }
    let mut text = String::new();
    for (count, unit) in [(seconds / 3_600, "h"), (seconds / 60 % 60, "m")] {
        if count > 0 {
            text.push_str(&format!("{count}{unit}"));
        }
    }
    if seconds % 60 > 0 || nanos > 0 || text.is_empty() {
        text.push_str(&in_seconds(Duration::new(seconds % 60, nanos)));
    }
    text
}

/// Writes a duration as proto3's JSON has it, which service configs use: seconds with decimals and an `s`.
pub fn in_seconds(time: Duration) -> String {
    match time.subsec_nanos() {
        0 => format!("{}s", time.as_secs()),
        nanos => format!("{}.{}s", time.as_secs(), format!("{nanos:09}").trim_end_matches('0')),
    }
}

/// A size as people write it: in the largest unit of 1024s it is whole in.
pub fn show_bytes(bytes: u64) -> String {
    let units = [(30, "GiB"), (20, "MiB"), (10, "KiB")];
    let fits = |shift: u32| bytes > 0 && bytes.is_multiple_of(1 << shift);
    match units.into_iter().find(|(shift, _)| fits(*shift)) {
        Some((shift, unit)) => format!("{}{unit}", bytes >> shift),
        None => bytes.to_string(),
    }
}

/// A number, its unit, and what comes behind.
fn piece(text: &str) -> Option<(&str, &str, &str)> {
    let in_number = |c: char| c.is_ascii_digit() || c == '.';
    let (number, rest) = text.split_at(text.find(|c| !in_number(c)).unwrap_or(text.len()));
    let (unit, rest) = rest.split_at(rest.find(in_number).unwrap_or(rest.len()));
    (!number.is_empty()).then_some((number, unit.trim(), rest))
}

/// A number with or without decimals, times a unit; what is below one of the smallest is cut off.
fn scaled(number: &str, unit: u128) -> Option<u128> {
    let (whole, decimals) = number.split_once('.').unwrap_or((number, "0"));
    let digits = |part: &str| (1..=MOST_DIGITS).contains(&part.len()) && part.bytes().all(|byte| byte.is_ascii_digit());
    if !digits(whole) || !digits(decimals) {
        return None;
    }
    let (whole, part): (u128, u128) = (whole.parse().ok()?, decimals.parse().ok()?);
    whole.checked_mul(unit)?.checked_add(part.checked_mul(unit)? / 10_u128.pow(decimals.len() as u32))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn people_write_durations_so() {
        for (text, nanos) in [
            ("0s", 0),
            ("7ns", 7),
            ("5us", 5_000),
            ("1ms", 1_000_000),
            ("0.1s", 100_000_000),
            ("1.5s", 1_500_000_000),
            (" 1m30s ", 90_000_000_000),
            ("1h 2m", 3_720_000_000_000),
            ("2min", 120_000_000_000),
            ("1d", 86_400_000_000_000),
            ("0.0000000019s", 1),
        ] {
            assert_eq!(duration(text).map(|time| time.as_nanos()), Ok(nanos), "{text}");
        }
    }

    #[test]
    fn what_is_no_duration_is_refused() {
        for text in [
            "",
            " ",
            "5",
            "s",
            "-5s",
            "+5s",
            "5x",
            "1.2.3s",
            "1.s",
            ".5s",
            "5 seconds",
            "ö",
            "5ö",
            "1e3s",
            "s5",
            "1m30",
            "٣s",
            "10001000d",
            "99999999999999999999999h",
        ] {
            assert_eq!(duration(text), Err(DURATION), "{text}");
        }
        assert_eq!(duration(&"9".repeat(1 << 20)), Err(DURATION));
    }

    #[test]
    fn sizes() {
        for (text, size) in
            [("0", 0), ("4096", 4096), ("64KiB", 65_536), ("4 MB", 4_000_000), ("1.5MiB", 1_572_864), ("2GiB", 2 << 30)]
        {
            assert_eq!(bytes(text), Ok(size), "{text}");
        }
        for text in ["", "4M", "-1", "4 MB 5", "1kib", "KiB", "18446744073709551616", "99999999999999999999GiB"] {
            assert_eq!(bytes(text), Err(SIZE), "{text}");
        }
        assert_eq!([0, 1000, 1024, 3 << 20, 1 << 40].map(show_bytes), ["0", "1000", "1KiB", "3MiB", "1024GiB"]);
    }

    #[test]
    fn shown_as_people_write_them() {
        let shown = [0, 7, 5_000, 250_000_000, 1_500_000_000, 60_000_000_000, 90_250_000_000, 7_200_000_000_000];
        let shown = shown.map(|nanos| show(Duration::from_nanos(nanos)));
        assert_eq!(shown, ["0s", "7ns", "5us", "250ms", "1.5s", "1m", "1m30.25s", "2h"]);
    }

    proptest! {
        #[test]
        fn what_is_shown_is_read_as_the_same(seconds in 0_u64..315_576_000_000, nanos in 0_u32..1_000_000_000, size: u64) {
            let time = Duration::new(seconds, nanos);
            prop_assert_eq!(duration(&show(time)), Ok(time));
            prop_assert_eq!(duration(&in_seconds(time)), Ok(time));
            prop_assert_eq!(bytes(&show_bytes(size)), Ok(size));
        }

        #[test]
        fn no_text_panics(text in "\\PC*|[0-9.]{0,30}[a-zµ]{0,3}") {
            let _ = (duration(&text), bytes(&text));
        }
    }
}
