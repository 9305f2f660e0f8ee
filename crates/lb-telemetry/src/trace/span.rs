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

/// Bytes of a server's words in a status.
const LONGEST_MESSAGE: usize = 1_024;

/// A span's name by gRFC A72: `Sent.shop.v1.Orders.Place`.
pub(super) struct Name<'a>(pub(super) &'static str, pub(super) &'a str);

impl fmt::Display for Name<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(kind, method) = self;
        write!(f, "{kind}.")?;
        let mut rest = cut(method.trim_start_matches('/'), LONGEST_METHOD);
        // In pieces: a character at a time is most of what a span costs.
        while let Some((at, special)) = rest.char_indices().find(|(_, character)| *character == '/' || character.is_control()) {
            f.write_str(&rest[..at])?;
            // A name is shown to people, and written into lines.
            f.write_char(if special == '/' { '.' } else { '?' })?;
            rest = &rest[at + special.len_utf8()..];
        }
        f.write_str(rest)
    }
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
    span.record("trace_id", display(context.trace_id()));
    span.record("span_id", display(context.span_id()));
    if let Some(parent) = parent {
        span.record("parent_span_id", display(parent));
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
