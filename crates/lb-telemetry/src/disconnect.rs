//! Why a connection ended, in gRPC's words (gRFC A94), of which there are few: what people are told has no bound and makes no label.

/// HTTP/2's error codes by their names, as they follow `GOAWAY`.
const GOAWAYS: [&str; 14] = [
    "GOAWAY NO_ERROR",
    "GOAWAY PROTOCOL_ERROR",
    "GOAWAY INTERNAL_ERROR",
    "GOAWAY FLOW_CONTROL_ERROR",
    "GOAWAY SETTINGS_TIMEOUT",
    "GOAWAY STREAM_CLOSED",
    "GOAWAY FRAME_SIZE_ERROR",
    "GOAWAY REFUSED_STREAM",
    "GOAWAY CANCEL",
    "GOAWAY COMPRESSION_ERROR",
    "GOAWAY CONNECT_ERROR",
    "GOAWAY ENHANCE_YOUR_CALM",
    "GOAWAY INADEQUATE_SECURITY",
    "GOAWAY HTTP_1_1_REQUIRED",
];

/// What the text of an end shows it to be; the first that it contains counts.
const TEXTS: [(&str, &str); 7] = [
    ("keepalive ping", "connection timed out"),
    ("connection reset", "connection reset"),
    ("timed out", "connection timed out"),
    ("connection abort", "connection aborted"),
    ("broken pipe", "socket error"),
    ("not connected", "socket error"),
    ("os error", "socket error"),
];

/// What `grpc.disconnect_error` says of an end that [`LbEvent::Disconnected`](lb_core::LbEvent::Disconnected) explains so. `None` is the
/// channel's own doing. A server that closes without a word is `unknown`, as are codes that HTTP/2 has not.
pub(crate) fn error(reason: Option<&str>) -> &'static str {
    let Some(reason) = reason else { return "subchannel shutdown" };
    let is_goaway = |label: &&&str| reason.strip_prefix(**label).is_some_and(|rest| rest.is_empty() || rest.starts_with(' '));
    if let Some(label) = GOAWAYS.iter().find(is_goaway) {
        return label;
    }
    let reason = reason.to_ascii_lowercase();
    TEXTS.iter().find(|(text, _)| reason.contains(text)).map_or("unknown", |(_, error)| error)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn every_end_has_a_name() {
        let cases = [
            (None, "subchannel shutdown"),
            (Some("GOAWAY NO_ERROR"), "GOAWAY NO_ERROR"),
            (Some("GOAWAY ENHANCE_YOUR_CALM (too_many_pings)"), "GOAWAY ENHANCE_YOUR_CALM"),
            (Some("GOAWAY error code 77"), "unknown"),
            (Some("GOAWAY CANCELLED"), "unknown"),
            (Some("no answer to a keepalive ping in time"), "connection timed out"),
            (Some("Connection timed out (os error 110)"), "connection timed out"),
            (Some("Connection reset by peer (os error 104)"), "connection reset"),
            (Some("Software caused connection abort (os error 103)"), "connection aborted"),
            (Some("connection aborted"), "connection aborted"),
            (Some("Broken pipe (os error 32)"), "socket error"),
            (Some("closed by the server"), "unknown"),
        ];
        for (reason, expected) in cases {
            assert_eq!(error(reason), expected, "{reason:?}");
        }
    }

    proptest! {
        #[test]
        fn there_are_few_of_them_whatever_a_peer_says(text in "(GOAWAY )?[ -~]{0,80}") {
            let error = error(Some(&text));
            prop_assert!(GOAWAYS.contains(&error) || error == "unknown" || TEXTS.iter().any(|(_, known)| *known == error));
        }
    }
}
