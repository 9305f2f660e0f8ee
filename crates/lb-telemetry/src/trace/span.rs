//! What all our spans have in common: names, ids, and how they end.

use std::fmt::{self, Write as _};

use lb_core::retry::CODE_NAMES;
use lb_tonic::observe::{Direction, Message};
use tonic::Code;
use tracing::Span;
use tracing::field::display;

use super::bridge;
use super::context::{SpanId, TraceContext};

/// Bytes of a method in a name. Methods of generated code are shorter; strangers can name one as they like.
const LONGEST_METHOD: usize = 256;

/// Bytes of the longest word before it: `Attempt`.
const LONGEST_KIND: usize = 7;

/// Bytes of a server's words in a status.
const LONGEST_MESSAGE: usize = 1_024;

/// A span's name by gRFC A72: `Sent.shop.v1.Orders.Place`.
pub(super) struct Name<'a>(pub(super) &'static str, pub(super) &'a str);

impl fmt::Display for Name<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(kind, method) = self;
        let method = cut(method.trim_start_matches('/'), LONGEST_METHOD);
        let mut name = [0; LONGEST_KIND + 1 + LONGEST_METHOD];
        // In one piece, as nearly all can be: piece by piece the text that it becomes part of grows as often, which is much of what a span costs.
        match joined(&mut name, kind, method) {
            Some(name) => f.write_str(name),
            None => {
                write!(f, "{kind}.")?;
                method.chars().try_for_each(|character| f.write_char(shown(character)))
            }
        }
    }
}

/// As a name shows it: it is read by people, and written into lines.
fn shown(character: char) -> char {
    match character {
        '/' => '.',
        character if character.is_control() => '?',
        character => character,
    }
}

/// The name in this memory, if it is of ASCII and fits.
fn joined<'a>(name: &'a mut [u8], kind: &str, method: &str) -> Option<&'a str> {
    if !method.is_ascii() {
        return None;
    }
    let name = name.get_mut(..kind.len() + 1 + method.len())?;
    let (start, rest) = name.split_at_mut(kind.len());
    start.copy_from_slice(kind.as_bytes());
    let written = rest.iter_mut().zip(b"/".iter().chain(method.as_bytes()));
    written.for_each(|(to, from)| {
        *to = if *from == b'/' {
            b'.'
        } else if from.is_ascii_control() {
            b'?'
        } else {
            *from
        }
    });
    str::from_utf8(name).ok()
}

/// As many bytes of a text as are allowed, and no half character.
pub(super) fn cut(text: &str, most: usize) -> &str {
    let mut end = text.len().min(most);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

/// gRPC's name of a code.
pub(super) fn code_name(code: Code) -> &'static str {
    CODE_NAMES[code as usize]
}

/// Says how what a span stands for has ended.
pub(super) fn end(span: &Span, code: Code, message: &str) {
    if code == Code::Ok {
        span.record("otel.status_code", "OK");
        return;
    }
    // The description makes an error of it where OpenTelemetry listens, whatever the order.
    span.record("otel.status_code", "ERROR");
    span.record("otel.status_description", display(format_args!("{}, {}", code_name(code), cut(message, LONGEST_MESSAGE))));
}

/// The context of a span: OpenTelemetry's, or one of our own, which is then written on it. `root` is what it is if it has no parent.
pub(super) fn context(span: &Span, parent: Option<TraceContext>, root: impl FnOnce() -> TraceContext) -> TraceContext {
    match bridge::of_span(span) {
        Some(context) => TraceContext { baggage: parent.and_then(|parent| parent.baggage), ..context },
        None => {
            let own = parent.as_ref().map_or_else(root, TraceContext::child);
            identify(span, &own, parent.map(|parent| parent.span_id()));
            own
        }
    }
}

/// Writes ids of our own on a span that has none of OpenTelemetry's.
pub(super) fn identify(span: &Span, context: &TraceContext, parent: Option<SpanId>) {
    // At once: each time a subscriber has to find the span.
    match parent {
        Some(parent) => tracing::record_all!(
            span,
            trace_id = %context.trace_id(),
            span_id = %context.span_id(),
            parent_span_id = %parent
        ),
        None => tracing::record_all!(span, trace_id = %context.trace_id(), span_id = %context.span_id()),
    }
}

/// Whether anybody reads of single messages.
pub(super) fn reads_messages() -> bool {
    tracing::enabled!(target: "evenkeel::message", tracing::Level::DEBUG)
}

/// Notes a message that has passed by. The size of a compressed message is known only to its codec.
pub(super) fn message(span: &Span, message: &Message) {
    macro_rules! note {
        ($name:literal, $size:literal) => {
            tracing::debug!(
                target: "evenkeel::message",
                parent: span,
                { "sequence-number" = message.sequence, $size = message.size },
                $name
            )
        };
    }
    match (message.direction, message.compressed) {
        (Direction::Sent, false) => note!("Outbound message", "message-size"),
        (Direction::Sent, true) => note!("Outbound message", "message-size-compressed"),
        (Direction::Received, false) => note!("Inbound message", "message-size"),
        (Direction::Received, true) => note!("Inbound message", "message-size-compressed"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_a72_and_strangers_do_not_make_them_long() {
        assert_eq!(Name("Sent", "/shop.v1.Orders/Place").to_string(), "Sent.shop.v1.Orders.Place");
        assert_eq!(Name("Attempt", "shop.v1.Orders/Place").to_string(), "Attempt.shop.v1.Orders.Place");
        assert_eq!(Name("Recv", "/a\n\u{1b}[0m/b").to_string(), "Recv.a??[0m.b");
        let long = Name("Recv", &"é".repeat(10_000)).to_string();
        assert_eq!(long, format!("Recv.{}", "é".repeat(128)));
        assert_eq!(cut("aé", 2), "a");
    }
}
