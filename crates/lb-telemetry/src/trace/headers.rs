//! How a context travels: the headers of an attempt.

use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use http::{HeaderMap, HeaderName, HeaderValue};

use super::context::TraceContext;
use super::state;

static TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
static TRACESTATE: HeaderName = HeaderName::from_static("tracestate");
static BAGGAGE: HeaderName = HeaderName::from_static("baggage");
static GRPC_TRACE: HeaderName = HeaderName::from_static("grpc-trace-bin");

const NOTHING: HeaderValue = HeaderValue::from_static("");

/// So many headers are compared with a name sooner than the name is hashed; tonic's own requests have two.
const FEW: usize = 4;

/// Bytes of a context in its binary form: a version, and three fields of which each begins with its number.
const BINARY: usize = 1 + (1 + 16) + (1 + 8) + (1 + 1);

/// Other clients may pad or not; we do not, as gRPC asks.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_encode_padding(false).with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// In which headers contexts travel. An attempt carries one set, never several, so that a server cannot see two parents.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Propagation {
    /// `traceparent`, `tracestate` and `baggage`, by the W3C's recommendations: what everybody understands now.
    #[default]
    W3c,
    /// `grpc-trace-bin`, for servers that still trace with OpenCensus.
    GrpcTraceBin,
    /// None: traces end at this program.
    Off,
}

impl Propagation {
    /// The context that a request brings, if it brings one that is well formed. Whatever else stands there is as if it did not.
    pub fn extract(self, headers: &HeaderMap) -> Option<TraceContext> {
        match self {
            Self::W3c => w3c(headers),
            Self::GrpcTraceBin => from_binary(only(headers, &GRPC_TRACE)?.as_bytes()),
            Self::Off => None,
        }
    }

    /// Whether a request brings something that could be a context.
    #[inline]
    pub(super) fn is_in(self, headers: &HeaderMap) -> bool {
        match self {
            Self::W3c => has(headers, &TRACEPARENT),
            Self::GrpcTraceBin => has(headers, &GRPC_TRACE),
            Self::Off => false,
        }
    }

    /// Sends a context along, in place of what the headers say already.
    pub fn inject(self, context: &TraceContext, headers: &mut HeaderMap) {
        match self {
            Self::W3c => {
                // Its own text is what is sent, without a copy.
                drop(headers.insert(&TRACEPARENT, HeaderValue::try_from(context.traceparent()).unwrap_or(NOTHING)));
                set(headers, &TRACESTATE, context.tracestate());
                if let Some(baggage) = context.baggage() {
                    // The caller's own words win, and what is not sent along is not taken away either.
                    headers.entry(&BAGGAGE).or_insert_with(|| value(baggage));
                }
            }
            Self::GrpcTraceBin => set(headers, &GRPC_TRACE, Some(&BASE64.encode(to_binary(context)))),
            Self::Off => {}
        }
    }
}

fn w3c(headers: &HeaderMap) -> Option<TraceContext> {
    let mut context = TraceContext::parse(only(headers, &TRACEPARENT)?.to_str().ok()?)?;
    context.state = state::state(headers.get_all(&TRACESTATE));
    context.baggage = state::baggage(headers.get_all(&BAGGAGE));
    Some(context)
}

/// The value of a header that must not come twice: of two parents neither is believed.
fn only<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a HeaderValue> {
    let mut values = headers.get_all(name).iter();
    values.next().filter(|_| values.next().is_none())
}

/// Whether there is a header of this name.
#[inline]
fn has(headers: &HeaderMap, name: &HeaderName) -> bool {
    if headers.len() <= FEW { headers.keys().any(|known| known == name) } else { headers.contains_key(name) }
}

fn set(headers: &mut HeaderMap, name: &HeaderName, text: Option<&str>) {
    match text {
        Some(text) => drop(headers.insert(name, value(text))),
        None => drop(headers.remove(name)),
    }
}

/// What goes in has been checked when it came; nothing is better than something else.
fn value(text: &str) -> HeaderValue {
    HeaderValue::from_str(text).unwrap_or(NOTHING)
}

fn to_binary(context: &TraceContext) -> [u8; BINARY] {
    let mut bytes = [0; BINARY];
    bytes[2..18].copy_from_slice(&context.trace.get().to_be_bytes());
    bytes[18] = 1;
    bytes[19..27].copy_from_slice(&context.span.get().to_be_bytes());
    bytes[27] = 2;
    bytes[28] = context.flags;
    bytes
}

fn from_binary(header: &[u8]) -> Option<TraceContext> {
    // Decoding what is longer would be work for nothing.
    let bytes = Some(header).filter(|header| header.len() <= 2 * BINARY).and_then(|header| BASE64.decode(header).ok())?;
    let fields: &[u8; BINARY] = bytes.as_slice().try_into().ok()?;
    if [fields[0], fields[1], fields[18], fields[27]] != [0, 0, 1, 2] {
        return None;
    }
    let (trace, span) = (fields[2..18].try_into().ok()?, fields[19..27].try_into().ok()?);
    TraceContext::new(u128::from_be_bytes(trace), u64::from_be_bytes(span), fields[28])
}

/// Keeps what another system knows of the same span, where that is well formed.
#[cfg(feature = "otel-trace")]
pub(super) fn checked_state(text: &str) -> Option<std::sync::Arc<str>> {
    let mut headers = HeaderMap::new();
    headers.insert(&TRACESTATE, HeaderValue::from_str(text).ok()?);
    state::state(headers.get_all(&TRACESTATE))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn headers(lines: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, text) in lines {
            headers.append(*name, HeaderValue::from_str(text).unwrap());
        }
        headers
    }

    const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn what_came_goes_on() {
        let came = headers(&[("traceparent", PARENT), ("tracestate", "a=1"), ("tracestate", "b=2"), ("baggage", "user=1;x=y")]);
        let context = Propagation::W3c.extract(&came).unwrap();
        assert_eq!((context.tracestate(), context.baggage()), (Some("a=1,b=2"), Some("user=1;x=y")));
        let mut sent = headers(&[("tracestate", "old=1"), ("tracestate", "older=1"), ("traceparent", "x"), ("other", "stays")]);
        Propagation::W3c.inject(&context, &mut sent);
        assert_eq!(
            sent,
            headers(&[("traceparent", PARENT), ("tracestate", "a=1,b=2"), ("baggage", "user=1;x=y"), ("other", "stays")])
        );
        let bare = TraceContext::parse(PARENT).unwrap();
        let mut sent = headers(&[("tracestate", "of=another"), ("baggage", "mine=1")]);
        Propagation::W3c.inject(&bare, &mut sent);
        assert_eq!(sent, headers(&[("traceparent", PARENT), ("baggage", "mine=1")]));
    }

    #[test]
    fn a_bad_state_is_dropped_and_its_parent_is_not() {
        let came = headers(&[("traceparent", PARENT), ("tracestate", "A=1"), ("baggage", &"x".repeat(9_000))]);
        assert_eq!(Propagation::W3c.extract(&came), TraceContext::parse(PARENT));
        let twice = headers(&[("traceparent", PARENT), ("traceparent", PARENT)]);
        assert_eq!(Propagation::W3c.extract(&twice), None, "of two parents neither is believed");
    }

    #[test]
    fn opencensus_has_its_own_form() {
        let context = TraceContext::parse(PARENT).unwrap();
        let mut sent = HeaderMap::new();
        Propagation::GrpcTraceBin.inject(&context, &mut sent);
        assert_eq!(sent, headers(&[("grpc-trace-bin", "AABL+S81d7NNpqPOkp0ODkc2AQDwZ6oLqQK3AgE")]));
        assert_eq!(Propagation::GrpcTraceBin.extract(&sent), Some(context.clone()));
        assert_eq!(
            Propagation::GrpcTraceBin.extract(&headers(&[("grpc-trace-bin", "AABL+S81d7NNpqPOkp0ODkc2AQDwZ6oLqQK3AgE=")])),
            Some(context)
        );
        for bad in ["", "AAA", "!", &"A".repeat(39), &"A".repeat(100_000), "AQBL+S81d7NNpqPOkp0ODkc2AQDwZ6oLqQK3AgE"] {
            assert_eq!(Propagation::GrpcTraceBin.extract(&headers(&[("grpc-trace-bin", bad)])), None, "{bad:.40}");
        }
        assert_eq!(Propagation::W3c.extract(&sent), None);
    }

    #[test]
    fn whether_there_is_a_parent_is_seen_among_few_headers_and_among_many() {
        for others in [0, 1, 3, 4, 9] {
            let mut came = HeaderMap::new();
            for other in 0..others {
                came.insert(HeaderName::try_from(format!("x-{other}")).unwrap(), HeaderValue::from_static("x"));
            }
            let all = [Propagation::W3c, Propagation::GrpcTraceBin, Propagation::Off];
            let brings = |came: &HeaderMap| all.map(|propagation| propagation.is_in(came));
            assert_eq!(brings(&came), [false; 3], "{others}");
            came.insert(&TRACEPARENT, HeaderValue::from_static(PARENT));
            assert_eq!(brings(&came), [true, false, false], "{others}");
            came.insert(&GRPC_TRACE, HeaderValue::from_static(""));
            assert_eq!(brings(&came), [true, true, false], "{others}");
        }
    }

    #[test]
    fn off_is_off() {
        let mut sent = HeaderMap::new();
        Propagation::Off.inject(&TraceContext::root(), &mut sent);
        assert!(sent.is_empty());
        assert_eq!(Propagation::Off.extract(&headers(&[("traceparent", PARENT)])), None);
    }

    proptest! {
        #[test]
        fn hostile_bytes_are_no_panic(parent in prop::collection::vec(32_u8.., 0..80), state in prop::collection::vec(32_u8.., 0..80)) {
            let mut came = HeaderMap::new();
            for (name, bytes) in [(&TRACEPARENT, &parent), (&TRACESTATE, &state), (&BAGGAGE, &state), (&GRPC_TRACE, &parent)] {
                if let Ok(value) = HeaderValue::from_bytes(bytes) {
                    came.insert(name, value);
                }
            }
            for propagation in [Propagation::W3c, Propagation::GrpcTraceBin] {
                if let Some(context) = propagation.extract(&came) {
                    let mut sent = HeaderMap::new();
                    propagation.inject(&context, &mut sent);
                    prop_assert_eq!(propagation.extract(&sent), Some(context));
                }
            }
        }
    }
}
