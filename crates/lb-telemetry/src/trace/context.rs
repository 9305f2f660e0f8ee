//! Who a call's work belongs to: the trace, and the span that asked for it.

use std::fmt;
use std::num::{NonZeroU64, NonZeroU128};
use std::sync::Arc;

use super::ids;

/// Bits of the flags that mean something: sampled, and that the trace id is random. What others may come is not passed on, as the
/// recommendation asks.
const KNOWN_FLAGS: u8 = 0b11;

/// The caller may have recorded the trace.
const SAMPLED: u8 = 0b01;

/// The trace id is random.
const RANDOM: u8 = 0b10;

/// The length of a header of version 0, and of what any later version begins with.
const LENGTH: usize = 55;

const DIGITS: &[u8; 16] = b"0123456789abcdef";

/// A trace and the span in it that work is done for, as [W3C Trace Context](https://www.w3.org/TR/trace-context-2/) has it, with what
/// travels along: the `tracestate` of other tracing systems, and `baggage`.
///
/// ```
/// # use lb_telemetry::trace::TraceContext;
/// let header = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
/// let context = TraceContext::parse(header).ok_or("not a context")?;
/// assert_eq!(context.trace_id().to_string(), "4bf92f3577b34da6a3ce929d0e0e4736");
/// assert!(context.is_sampled());
/// assert_eq!(context.traceparent(), header);
/// # Ok::<(), &str>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TraceContext {
    pub(super) trace: NonZeroU128,
    pub(super) span: NonZeroU64,
    pub(super) flags: u8,
    pub(super) state: Option<Arc<str>>,
    pub(super) baggage: Option<Arc<str>>,
}

/// The id of a trace: 32 hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TraceId(NonZeroU128);

/// The id of a span within its trace: 16 hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct SpanId(NonZeroU64);

impl TraceContext {
    pub(super) fn new(trace: u128, span: u64, flags: u8) -> Option<Self> {
        let (trace, span) = (NonZeroU128::new(trace)?, NonZeroU64::new(span)?);
        Some(Self { trace, span, flags: flags & KNOWN_FLAGS, state: None, baggage: None })
    }

    /// The beginning of a trace of our own, with ids nobody can foresee.
    pub fn root() -> Self {
        Self::beginning(ids::span(), true)
    }

    /// The beginning of a trace whose id has this lower half.
    pub(super) fn beginning(low: NonZeroU64, sampled: bool) -> Self {
        let flags = if sampled { SAMPLED | RANDOM } else { RANDOM };
        Self { trace: ids::trace(low), span: ids::span(), flags, state: None, baggage: None }
    }

    /// Another span of the same trace, for work that this one asks for.
    #[must_use]
    pub fn child(&self) -> Self {
        Self { span: ids::span(), ..self.clone() }
    }

    /// Reads a `traceparent`. `None` if it is not one: then the recommendation wants a new trace begun, and nothing guessed.
    ///
    /// Of a version later than 0 the part is read that version 0 has, which is how they promise to go on.
    pub fn parse(header: &str) -> Option<Self> {
        let bytes = header.as_bytes();
        let version = bytes.get(..2).and_then(hex)?;
        match (version, bytes.len()) {
            (0xff, _) => return None,
            (_, LENGTH) => {}
            (1.., LENGTH..) if bytes[LENGTH] == b'-' => {}
            _ => return None,
        }
        if [2, 35, 52].iter().any(|dash| bytes[*dash] != b'-') {
            return None;
        }
        let (trace, span, flags) = (hex(&bytes[3..35])?, hex(&bytes[36..52])?, hex(&bytes[53..55])?);
        Self::new(trace, u64::try_from(span).ok()?, u8::try_from(flags).ok()?)
    }

    /// As a `traceparent`.
    pub fn traceparent(&self) -> String {
        let mut text = String::with_capacity(LENGTH);
        let (trace, span) = (digits(self.trace.get()), digits(self.span.get().into()));
        let flags = digits(self.flags.into());
        for part in ["00-", written(&trace), "-", written(&span[16..]), "-", written(&flags[30..])] {
            text.push_str(part);
        }
        text
    }

    /// The trace.
    pub fn trace_id(&self) -> TraceId {
        TraceId(self.trace)
    }

    /// The span.
    pub fn span_id(&self) -> SpanId {
        SpanId(self.span)
    }

    /// Whether who began the trace may have recorded it.
    pub fn is_sampled(&self) -> bool {
        self.flags & SAMPLED != 0
    }

    /// What other tracing systems have to say of the trace, in the form of the header.
    pub fn tracestate(&self) -> Option<&str> {
        self.state.as_deref()
    }

    /// What the application sends along, in the form of the header.
    pub fn baggage(&self) -> Option<&str> {
        self.baggage.as_deref()
    }
}

/// All 32 hexadecimal digits of a number, by pairs: a traced call writes five numbers.
fn digits(number: u128) -> [u8; 32] {
    let mut digits = [0; 32];
    for (pair, byte) in digits.chunks_exact_mut(2).zip(number.to_be_bytes()) {
        pair[0] = DIGITS[usize::from(byte >> 4)];
        pair[1] = DIGITS[usize::from(byte & 0xf)];
    }
    digits
}

/// They are ASCII.
fn written(digits: &[u8]) -> &str {
    str::from_utf8(digits).unwrap_or_default()
}

/// Lower-case hexadecimal digits, at most 32; the recommendation knows no others.
fn hex(digits: &[u8]) -> Option<u128> {
    digits.iter().try_fold(0, |number, digit| {
        let digit = match digit {
            b'0'..=b'9' => digit - b'0',
            b'a'..=b'f' => digit - b'a' + 10,
            _ => return None,
        };
        Some(number << 4 | u128::from(digit))
    })
}

impl fmt::Display for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(written(&digits(self.0.get())))
    }
}

impl fmt::Display for SpanId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(written(&digits(self.0.get().into())[16..]))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const GOOD: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn what_is_not_a_traceparent_is_none() {
        let bad = [
            "",
            "00",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-1",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-x",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01 ",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00_4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01.x",
            "00-4bf92f3577b34da6a3ce929d0e0e473g-00f067aa0ba902b7-01",
            "0é-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-0",
        ];
        for header in bad {
            assert_eq!(TraceContext::parse(header), None, "{header}");
        }
    }

    #[test]
    fn a_later_version_is_read_as_far_as_it_is_known() {
        let later = GOOD.replacen("00", "cc", 1);
        assert_eq!(TraceContext::parse(&later), TraceContext::parse(GOOD));
        assert_eq!(TraceContext::parse(&format!("{later}-what-the-future-brings")), TraceContext::parse(GOOD));
        let flags = TraceContext::parse(&GOOD.replace("-01", "-ff")).unwrap();
        assert!(flags.traceparent().ends_with("-03"), "flags nobody knows are not passed on");
    }

    #[test]
    fn a_child_is_of_the_same_trace_and_roots_are_not() {
        let root = TraceContext::root();
        let child = root.child();
        assert_eq!((child.trace_id(), child.is_sampled()), (root.trace_id(), true));
        assert_ne!(child.span_id(), root.span_id());
        assert_ne!(TraceContext::root().trace_id(), root.trace_id());
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(trace in 1_u128.., span in 1_u64.., flags in 0_u8..4) {
            let context = TraceContext::new(trace, span, flags).unwrap();
            prop_assert_eq!(TraceContext::parse(&context.traceparent()), Some(context));
        }

        #[test]
        fn no_text_is_a_panic_and_what_is_read_is_written_well(header in "(\\PC{0,80}|[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}(-.{0,9})?)") {
            if let Some(context) = TraceContext::parse(&header) {
                prop_assert_eq!(TraceContext::parse(&context.traceparent()), Some(context));
            }
        }
    }
}
