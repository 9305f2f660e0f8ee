//! The deadline of a call: the caller's `grpc-timeout`, the channel's own timeout, whichever is earlier.

use std::pin::Pin;
use std::time::Duration;

use http::{HeaderMap, HeaderValue};
use tokio::time::{Instant, Sleep};

use crate::header;

/// The most digits the header may have.
const MAX_DIGITS: usize = 8;

/// When a call is out of time, and what wakes it then.
pub(crate) struct Deadline {
    pub(crate) at: Instant,
    pub(crate) sleep: Pin<Box<Sleep>>,
    /// Whether the header the caller set still tells the server the truth.
    pub(crate) announced: bool,
}

impl Deadline {
    pub(crate) fn new(at: Instant, announced: bool) -> Self {
        Self { at, sleep: Box::pin(tokio::time::sleep_until(at)), announced }
    }
}

/// What a `grpc-timeout` says; `None` if it cannot be read (servers ignore such a header too).
pub(crate) fn parse(value: &HeaderValue) -> Option<Duration> {
    parse_bytes(value.as_bytes())
}

fn parse_bytes(value: &[u8]) -> Option<Duration> {
    let (unit, digits) = value.split_last()?;
    if digits.is_empty() || digits.len() > MAX_DIGITS {
        return None;
    }
    let amount = digits.iter().try_fold(0_u64, |sum, digit| digit.is_ascii_digit().then(|| sum * 10 + u64::from(digit - b'0')))?;
    match unit {
        b'H' => Some(Duration::from_secs(amount * 3600)),
        b'M' => Some(Duration::from_secs(amount * 60)),
        b'S' => Some(Duration::from_secs(amount)),
        b'm' => Some(Duration::from_millis(amount)),
        b'u' => Some(Duration::from_micros(amount)),
        b'n' => Some(Duration::from_nanos(amount)),
        _ => None,
    }
}

/// Tells the server what is left of the deadline, waiting and earlier attempts taken off.
pub(crate) fn set_remaining(headers: &mut HeaderMap, deadline: Instant, now: Instant) {
    let mut value = format_timeout(deadline.saturating_duration_since(now));
    // A different value on every call must not push useful entries out of the peer's header table.
    value.set_sensitive(true);
    headers.insert(&header::TIMEOUT, value);
}

/// The finest unit that holds the duration in eight digits, rounded up so that the server never gives up first.
fn format_timeout(timeout: Duration) -> HeaderValue {
    const UNITS: [(u128, char); 5] =
        [(1_000, 'u'), (1_000_000, 'm'), (1_000_000_000, 'S'), (60_000_000_000, 'M'), (3_600_000_000_000, 'H')];
    let nanos = timeout.as_nanos();
    let (unit, suffix) = UNITS.into_iter().find(|(unit, _)| nanos.div_ceil(*unit) < 100_000_000).unwrap_or((UNITS[4].0, 'H'));
    let amount = nanos.div_ceil(unit).min(99_999_999);
    HeaderValue::try_from(format!("{amount}{suffix}")).unwrap_or(HeaderValue::from_static("99999999H"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_unit_is_read() {
        for (text, nanos) in
            [("1H", 3_600_000_000_000), ("2M", 120_000_000_000), ("3S", 3_000_000_000), ("4m", 4_000_000), ("5u", 5_000), ("6n", 6)]
        {
            assert_eq!(parse_bytes(text.as_bytes()), Some(Duration::from_nanos(nanos)), "{text}");
        }
        for text in ["", "S", "1", "1s", "-1S", "123456789S", "1.5S", " 1S"] {
            assert_eq!(parse_bytes(text.as_bytes()), None, "{text:?}");
        }
    }

    #[test]
    fn what_is_written_is_read_back_and_never_shorter() {
        for nanos in [0, 1, 999, 1_000_000, 1_500_000_001, 99_999_999_999, 3_600_000_000_000_000, u64::MAX] {
            let timeout = Duration::from_nanos(nanos);
            let read = parse_bytes(format_timeout(timeout).as_bytes()).unwrap();
            assert!(read >= timeout && read <= timeout + timeout / 1000 + Duration::from_micros(1), "{timeout:?} became {read:?}");
        }
    }
}
