//! What a server says about retrying, in `grpc-retry-pushback-ms`.

use std::time::Duration;

/// A server's word on whether and when to send a call again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Pushback {
    /// It said nothing.
    #[default]
    None,
    /// Exactly so long from now.
    After(Duration),
    /// Not at all: it said a negative number, something that is no number, or several things.
    Stop,
}

impl Pushback {
    /// From the values of the header in the trailers: none, or one signed 32-bit number of milliseconds.
    pub fn parse<'a>(values: impl IntoIterator<Item = &'a [u8]>) -> Self {
        let mut values = values.into_iter();
        let (first, second) = (values.next(), values.next());
        match (first, second) {
            (None, _) => Self::None,
            (Some(value), None) => std::str::from_utf8(value)
                .ok()
                .and_then(|text| text.parse::<i32>().ok())
                .and_then(|millis| u64::try_from(millis).ok())
                .map_or(Self::Stop, |millis| Self::After(Duration::from_millis(millis))),
            (Some(_), Some(_)) => Self::Stop,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_number_from_zero_is_a_delay_and_all_else_says_stop() {
        let parse = |values: &[&str]| Pushback::parse(values.iter().map(|value| value.as_bytes()));
        assert_eq!(parse(&[]), Pushback::None);
        for (text, millis) in [("0", 0), ("1000", 1000), ("2147483647", i32::MAX as u64)] {
            assert_eq!(parse(&[text]), Pushback::After(Duration::from_millis(millis)));
        }
        for text in ["-1", "xxx", "", "1.5", "2147483648", " 1", "1 ", "1e3"] {
            assert_eq!(parse(&[text]), Pushback::Stop, "{text:?}");
        }
        assert_eq!(parse(&["10", "10"]), Pushback::Stop);
        assert_eq!(Pushback::parse([&b"\xff\xfe"[..]]), Pushback::Stop);
    }
}
