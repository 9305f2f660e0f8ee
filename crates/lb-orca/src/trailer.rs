//! The report that comes with a call, in the trailer [`NAME`].
//!
//! A report costs both sides about as much as any other header that differs every time: a few tenths of a microsecond. It is marked as
//! never to be indexed, or every report would push useful entries out of the peer's header table.

use base64::Engine;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use http::{HeaderMap, HeaderName, HeaderValue};
use lb_core::LoadReport;

use crate::MAX_TRAILER;
use crate::wire::{self, MalformedReport};

/// The trailer's name. Headers of a response without messages may carry it too.
pub const NAME: HeaderName = HeaderName::from_static("endpoint-load-metrics-bin");

/// The same where it is looked up, because a constant is made anew wherever it is used.
static LOOKED_UP: HeaderName = NAME;

/// Writes without padding, as gRPC asks; reads with and without it.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_encode_padding(false).with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// What most reports fit into without growing.
const USUAL_SIZE: usize = 96;

/// The trailer's value for this report.
pub fn encode(report: &LoadReport) -> HeaderValue {
    let mut message = Vec::with_capacity(USUAL_SIZE);
    wire::encode(report, &mut message);
    value(&message)
}

/// The trailer's value for a serialized report.
pub fn value(message: &[u8]) -> HeaderValue {
    let mut value = HeaderValue::try_from(BASE64.encode(message)).expect("base64 consists of letters, digits, + and /");
    value.set_sensitive(true);
    value
}

/// The report in these trailers or headers, if there is exactly one that can be read. Another client of the same channel may be told
/// the same; nobody's call fails because of a bad report.
pub fn read(headers: &HeaderMap) -> Option<LoadReport> {
    let mut values = headers.get_all(&LOOKED_UP).iter();
    let (only, None) = (values.next()?, values.next()) else { return None };
    decode(only.as_bytes()).ok()
}

/// Reads a value of the trailer; `Err` says what is wrong with it.
pub fn decode(value: &[u8]) -> Result<LoadReport, MalformedReport> {
    // The longest value decodes into three quarters of its length.
    let mut short = [0; 192];
    let mut long = Vec::new();
    let message = match value.len() {
        ..=256 => &mut short[..],
        257..=MAX_TRAILER => {
            long.resize(MAX_TRAILER / 4 * 3, 0);
            &mut long[..]
        }
        _ => return Err(MalformedReport::new("longer than any report")),
    };
    let length = BASE64.decode_slice(value, message).map_err(|_| MalformedReport::new("not base64"))?;
    wire::decode(&message[..length])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> LoadReport {
        let mut report = LoadReport::default();
        (report.application_utilization, report.in_flight) = (0.5, Some(3));
        report
    }

    fn headers(values: &[&str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(NAME, HeaderValue::try_from(*value).unwrap());
        }
        headers
    }

    #[test]
    fn padded_and_not_are_the_same() {
        let value = encode(&report());
        assert!(value.is_sensitive());
        let plain = value.to_str().unwrap();
        assert!(!plain.len().is_multiple_of(4) && !plain.contains('='), "{plain} shows no difference");
        let padded = format!("{plain}{}", "=".repeat(4 - plain.len() % 4));
        for text in [plain, &padded] {
            assert_eq!(read(&headers(&[text])), Some(report()), "{text}");
        }
    }

    #[test]
    fn none_or_more_than_one_or_garbage_is_absent() {
        let value = encode(&report());
        let good = value.to_str().unwrap();
        let long = "A".repeat(MAX_TRAILER + 1);
        for values in [&[][..], &[good, good], &["?"], &["A"], &["////"], &[&long]] {
            assert_eq!(read(&headers(values)), None, "{values:.60?}");
        }
        assert_eq!(read(&headers(&[""])), Some(LoadReport::default()), "nothing said");
    }

    #[test]
    fn every_length_is_read_up_to_the_longest() {
        for entries in 0..64 {
            let mut report = report();
            report.named_metrics = (0..entries).map(|index| (format!("name-{index}").into(), 1.0)).collect();
            assert_eq!(read(&headers(&[encode(&report).to_str().unwrap()])), Some(report), "{entries} entries");
        }
        assert!(decode("A".repeat(MAX_TRAILER).as_bytes()).is_err(), "no report, and no panic either");
    }
}
