//! When a backend that refused wants to be asked again: `Retry-After` (RFC 9110, section 10.2.3), in seconds or as a date.

use std::time::{Duration, SystemTime};

use http::HeaderMap;
use http::header::RETRY_AFTER;

/// Whoever asks for more is asked again after this: a clock that is wrong must not silence a hook for good.
const LONGEST: Duration = Duration::from_secs(3600);

/// The wait that an answer asks for, at most an hour; a date in the past is no wait. `None` if it does not say, or says it wrongly.
pub(super) fn read(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    let wait = match text.bytes().all(|byte| byte.is_ascii_digit()) {
        // Digits that are no number are a very large one.
        true => Duration::from_secs(Some(text).filter(|text| !text.is_empty())?.parse().unwrap_or(u64::MAX)),
        false => httpdate::parse_http_date(text).ok()?.duration_since(now).unwrap_or_default(),
    };
    Some(wait.min(LONGEST))
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use proptest::prelude::*;

    use super::*;

    fn of(value: &str) -> Option<u64> {
        let headers: HeaderMap = [(RETRY_AFTER, HeaderValue::from_str(value).ok()?)].into_iter().collect();
        // Sun, 06 Nov 1994 08:49:37 GMT.
        read(&headers, SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777)).map(|wait| wait.as_secs())
    }

    #[test]
    fn seconds_and_dates_are_read_and_an_hour_is_the_most() {
        let cases = [("0", 0), ("17", 17), (" 5 ", 5), ("3601", 3600), ("99999999999999999999999", 3600)];
        let dates = [
            ("Sun, 06 Nov 1994 08:49:47 GMT", 10),
            ("Sunday, 06-Nov-94 08:50:37 GMT", 60),
            ("Sun Nov  6 08:49:38 1994", 1),
            ("Sun, 06 Nov 1994 08:49:30 GMT", 0),
            ("Sat, 06 Nov 2094 08:49:37 GMT", 3600),
        ];
        for (value, seconds) in cases.into_iter().chain(dates) {
            assert_eq!(of(value), Some(seconds), "{value}");
        }
        for wrong in ["", "-1", "1.5", "soon", "Sun, 06 Nov 1994", "10s"] {
            assert_eq!(of(wrong), None, "{wrong}");
        }
        assert_eq!(read(&HeaderMap::new(), SystemTime::UNIX_EPOCH), None);
    }

    proptest! {
        #[test]
        fn no_value_is_a_panic_or_a_wait_without_end(value in "[ -~]{0,60}") {
            prop_assert!(of(&value).is_none_or(|seconds| seconds <= 3600));
        }
    }
}
