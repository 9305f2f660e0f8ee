//! Reports to bytes and back without a message in between.
//!
//! A generated message would allocate a string per name, and the two named metrics nearly every report of ours has are not even
//! kept under their names. This way a report with nothing but numbers is read and written without any allocation.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::str;
use std::sync::Arc;
use std::time::Duration;

use bytes::BufMut;
use lb_core::LoadReport;
use prost::DecodeError;
use prost::encoding::{self, DecodeContext, WireType};

use crate::{IN_FLIGHT, LATENCY, MAX_ENTRIES, MAX_NAME};

/// Longer is a mistake of the server, and must not reach anybody's arithmetic.
const LONGEST: f64 = 24.0 * 60.0 * 60.0;

/// Bytes that are no report.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MalformedReport(Cow<'static, str>);

impl std::fmt::Display for MalformedReport {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "malformed load report: {}", self.0)
    }
}

impl std::error::Error for MalformedReport {}

impl From<DecodeError> for MalformedReport {
    fn from(error: DecodeError) -> Self {
        Self(error.to_string().into())
    }
}

impl MalformedReport {
    pub(crate) fn new(reason: &'static str) -> Self {
        Self(reason.into())
    }
}

/// A number that counts: finite and not negative.
pub(crate) fn said(value: f64) -> Option<f64> {
    (value.is_finite() && value >= 0.0).then_some(value)
}

/// A latency in seconds that can be one; 0 is not known.
pub(crate) fn latency(seconds: f64) -> Option<Duration> {
    said(seconds).filter(|seconds| *seconds > 0.0 && *seconds <= LONGEST).map(Duration::from_secs_f64)
}

/// Reads a serialized `OrcaLoadReport`. Unknown fields are skipped; entries that are too many or too long are left out.
pub fn decode(mut bytes: &[u8]) -> Result<LoadReport, MalformedReport> {
    let mut report = LoadReport::default();
    while !bytes.is_empty() {
        field(&mut report, &mut bytes)?;
    }
    Ok(report)
}

fn field(report: &mut LoadReport, bytes: &mut &[u8]) -> Result<(), MalformedReport> {
    let (tag, kind) = encoding::decode_key(bytes)?;
    match tag {
        1 => number(&mut report.cpu_utilization, kind, bytes),
        2 => number(&mut report.mem_utilization, kind, bytes),
        5 => entry(kind, bytes, |name, value| keep(&mut report.utilization, name, value)),
        6 => number(&mut report.qps, kind, bytes),
        7 => number(&mut report.eps, kind, bytes),
        8 => entry(kind, bytes, |name, value| match name {
            IN_FLIGHT => report.in_flight = said(value).map(|count| count as u32),
            LATENCY => report.latency = latency(value),
            _ => keep(&mut report.named_metrics, name, value),
        }),
        9 => number(&mut report.application_utilization, kind, bytes),
        _ => Ok(encoding::skip_field(kind, tag, bytes, DecodeContext::default())?),
    }
}

fn number(into: &mut f64, kind: WireType, bytes: &mut &[u8]) -> Result<(), MalformedReport> {
    let mut value = 0.0;
    encoding::double::merge(kind, &mut value, bytes, DecodeContext::default())?;
    *into = said(value).unwrap_or(0.0);
    Ok(())
}

/// One entry of a map: a message with the name as field 1 and the number as field 2.
fn entry(kind: WireType, bytes: &mut &[u8], take: impl FnOnce(&str, f64)) -> Result<(), MalformedReport> {
    let mut inside = delimited(kind, bytes)?;
    let (mut name, mut value) = ("", 0.0);
    while !inside.is_empty() {
        let (tag, kind) = encoding::decode_key(&mut inside)?;
        match tag {
            1 => {
                let text = delimited(kind, &mut inside)?;
                name = str::from_utf8(text).map_err(|_| MalformedReport::new("a name is not UTF-8"))?;
            }
            2 => encoding::double::merge(kind, &mut value, &mut inside, DecodeContext::default())?,
            _ => encoding::skip_field(kind, tag, &mut inside, DecodeContext::default())?,
        }
    }
    take(name, value);
    Ok(())
}

/// The content of a field that says its own length.
fn delimited<'a>(kind: WireType, bytes: &mut &'a [u8]) -> Result<&'a [u8], MalformedReport> {
    encoding::check_wire_type(WireType::LengthDelimited, kind)?;
    let length = encoding::decode_varint(bytes)?;
    let content = usize::try_from(length).ok().and_then(|length| bytes.split_at_checked(length));
    let (content, rest) = content.ok_or_else(|| MalformedReport::new("shorter than it says"))?;
    *bytes = rest;
    Ok(content)
}

fn keep(map: &mut BTreeMap<Arc<str>, f64>, name: &str, value: f64) {
    if name.len() > MAX_NAME || said(value).is_none() {
        return;
    }
    if let Some(known) = map.get_mut(name) {
        *known = value;
    } else if map.len() < MAX_ENTRIES {
        map.insert(name.into(), value);
    }
}

/// Writes a report as a serialized `OrcaLoadReport`, without what was not said.
pub fn encode(report: &LoadReport, buf: &mut impl BufMut) {
    let numbers = [
        (1, report.cpu_utilization),
        (2, report.mem_utilization),
        (6, report.qps),
        (7, report.eps),
        (9, report.application_utilization),
    ];
    for (tag, value) in numbers {
        if said(value).is_some_and(|value| value > 0.0) {
            encoding::double::encode(tag, &value, buf);
        }
    }
    for (name, value) in &report.utilization {
        put_entry(5, name, *value, buf);
    }
    for (name, value) in report.named_metrics.iter().filter(|(name, _)| ![IN_FLIGHT, LATENCY].contains(&&***name)) {
        put_entry(8, name, *value, buf);
    }
    if let Some(count) = report.in_flight {
        put_entry(8, IN_FLIGHT, f64::from(count), buf);
    }
    if let Some(latency) = report.latency {
        put_entry(8, LATENCY, latency.as_secs_f64(), buf);
    }
}

/// Writes what a call cost, by name, to follow or precede a report in the same message.
pub fn encode_request_cost(costs: &BTreeMap<Arc<str>, f64>, buf: &mut impl BufMut) {
    for (name, cost) in costs {
        put_entry(4, name, *cost, buf);
    }
}

fn put_entry(tag: u32, name: &str, value: f64, buf: &mut impl BufMut) {
    let length = name.len() as u64;
    encoding::encode_key(tag, WireType::LengthDelimited, buf);
    // Key and number of a byte each, the length of the name, the name, eight bytes of number.
    encoding::encode_varint(2 + encoding::encoded_len_varint(length) as u64 + length + 8, buf);
    encoding::encode_key(1, WireType::LengthDelimited, buf);
    encoding::encode_varint(length, buf);
    buf.put_slice(name.as_bytes());
    encoding::double::encode(2, &value, buf);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use prost::Message;

    use super::*;
    use crate::OrcaLoadReport;

    fn bytes(report: &LoadReport) -> Vec<u8> {
        let mut bytes = Vec::new();
        encode(report, &mut bytes);
        bytes
    }

    /// A report with something in every field.
    pub(crate) fn full() -> LoadReport {
        let mut report = LoadReport::default();
        (report.cpu_utilization, report.mem_utilization, report.application_utilization) = (1.5, 0.25, 2.0);
        (report.qps, report.eps) = (1000.5, 0.125);
        (report.in_flight, report.latency) = (Some(12), Some(Duration::from_micros(1500)));
        report.utilization = [("disk".into(), 0.5), ("gpu".into(), 0.0)].into();
        report.named_metrics = [("queue".into(), 17.0), ("".into(), 1.0)].into();
        report
    }

    #[test]
    fn a_report_survives_and_is_the_message() {
        let report = full();
        assert_eq!(decode(&bytes(&report)).unwrap(), report);
        let message = OrcaLoadReport::decode(&*bytes(&report)).unwrap();
        assert_eq!(LoadReport::from(&message), report);
        assert_eq!(OrcaLoadReport::from(&report), message);
        assert_eq!(decode(&message.encode_to_vec()).unwrap(), report);
        assert!(bytes(&LoadReport::default()).is_empty());
    }

    #[test]
    fn the_bytes_are_the_standards() {
        let mut report = LoadReport::default();
        (report.cpu_utilization, report.in_flight) = (0.5, Some(2));
        let expected =
            [&[0x09, 0, 0, 0, 0, 0, 0, 0xe0, 0x3f, 0x42, 17, 0x0a, 6], IN_FLIGHT.as_bytes(), &[0x11, 0, 0, 0, 0, 0, 0, 0, 0x40]];
        assert_eq!(bytes(&report), expected.concat());
    }

    #[test]
    fn what_is_no_amount_counts_as_not_said() {
        for bad in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, -1.0, -f64::MIN_POSITIVE] {
            let map = || [("x".to_owned(), bad), (IN_FLIGHT.to_owned(), bad), (LATENCY.to_owned(), bad)].into();
            let message = OrcaLoadReport {
                cpu_utilization: bad,
                mem_utilization: bad,
                application_utilization: bad,
                rps_fractional: bad,
                eps: bad,
                request_cost: map(),
                utilization: [("x".to_owned(), bad)].into(),
                named_metrics: map(),
            };
            assert_eq!(decode(&message.encode_to_vec()).unwrap(), LoadReport::default(), "{bad}");
            assert_eq!(LoadReport::from(&message), LoadReport::default(), "{bad}");
        }
        let absurd = OrcaLoadReport {
            named_metrics: [(IN_FLIGHT.to_owned(), 1e300), (LATENCY.to_owned(), 1e300)].into(),
            ..OrcaLoadReport::default()
        };
        let report = decode(&absurd.encode_to_vec()).unwrap();
        assert_eq!((report.in_flight, report.latency), (Some(u32::MAX), None));
    }

    #[test]
    fn maps_are_bounded_in_number_and_names_in_length() {
        let many: BTreeMap<String, f64> = (0..10_000).map(|index| (format!("{index:05}"), 1.0)).collect();
        let mut message = OrcaLoadReport { utilization: many.clone(), named_metrics: many, ..OrcaLoadReport::default() };
        message.named_metrics.insert(" ".repeat(MAX_NAME + 1), 1.0);
        message.named_metrics.insert(" ".repeat(MAX_NAME), 1.0);
        for report in [decode(&message.encode_to_vec()).unwrap(), LoadReport::from(&message)] {
            assert_eq!((report.utilization.len(), report.named_metrics.len()), (MAX_ENTRIES, MAX_ENTRIES));
            assert!(report.named_metrics.keys().all(|name| name.len() <= MAX_NAME));
        }
    }

    #[test]
    fn unknown_fields_are_skipped_and_the_last_of_two_counts() {
        let (mut one, mut two) = (LoadReport::default(), LoadReport::default());
        (one.cpu_utilization, two.cpu_utilization) = (0.5, 0.75);
        let both = [bytes(&one), vec![0x18, 7, 0x7a, 2, 1, 2], bytes(&two)].concat();
        assert_eq!(decode(&both).unwrap().cpu_utilization, 0.75);
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic_and_it_agrees_with_the_message(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            if let (Ok(report), Ok(message)) = (decode(&bytes), OrcaLoadReport::decode(&*bytes)) {
                prop_assert_eq!(report, LoadReport::from(&message));
            }
        }

        #[test]
        fn a_report_cut_or_changed_anywhere_never_panics(at in 0_usize..150, to in any::<u8>()) {
            let mut bytes = bytes(&full());
            let at = at.min(bytes.len() - 1);
            let _ = decode(&bytes[..at]);
            bytes[at] = to;
            let _ = decode(&bytes);
        }
    }
}
