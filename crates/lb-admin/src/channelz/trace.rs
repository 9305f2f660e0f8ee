//! The latest events of one channel or subchannel.

use std::collections::VecDeque;
use std::fmt::{self, Write};
use std::time::SystemTime;

use lb_core::Severity;

use super::messages::{ChannelTrace, ChannelTraceEvent, SubchannelRef, TraceSeverity};

/// The most bytes of one description. Servers and registries have a say in them, and ten thousand subchannels keep eight each.
const MOST_TEXT: usize = 240;

/// A ring of events, the newest of which stay.
#[derive(Debug)]
pub(super) struct Trace {
    created: SystemTime,
    most: usize,
    logged: u64,
    events: VecDeque<Event>,
}

#[derive(Debug)]
struct Event {
    at: SystemTime,
    severity: Severity,
    text: Box<str>,
    child: Option<u64>,
}

impl Trace {
    /// Keeps so many events at most, which may be none.
    pub(super) fn new(created: SystemTime, most: usize) -> Self {
        Self { created, most, logged: 0, events: VecDeque::new() }
    }

    /// Adds an event; `child` is the subchannel it is about, if it is told of a channel.
    pub(super) fn push(&mut self, at: SystemTime, severity: Severity, text: &dyn fmt::Display, child: Option<u64>) {
        self.logged += 1;
        if self.most == 0 {
            return;
        }
        while self.events.len() >= self.most {
            self.events.pop_front();
        }
        self.events.push_back(Event { at, severity, text: cut(text), child });
    }

    /// As clients see it, oldest first.
    pub(super) fn message(&self) -> ChannelTrace {
        ChannelTrace {
            num_events_logged: super::id(self.logged),
            creation_timestamp: Some(self.created.into()),
            events: self.events.iter().map(Event::message).collect(),
        }
    }
}

impl Event {
    fn message(&self) -> ChannelTraceEvent {
        let severity = match self.severity {
            Severity::Debug | Severity::Info => TraceSeverity::Info,
            Severity::Warning => TraceSeverity::Warning,
        };
        let child = self.child.map(|serial| SubchannelRef { subchannel_id: super::id(serial), name: String::new() });
        ChannelTraceEvent {
            description: self.text.to_string(),
            severity: severity.into(),
            timestamp: Some(self.at.into()),
            subchannel_ref: child,
        }
    }
}

/// The text, or as much of it as is kept.
pub(super) fn cut(text: &dyn fmt::Display) -> Box<str> {
    let mut kept = Kept(String::new());
    if write!(kept, "{text}").is_err() {
        kept.0.push('…');
    }
    kept.0.into()
}

/// Takes text up to the limit, and not one character beyond it: what is longer is not even written.
struct Kept(String);

impl Write for Kept {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let room = MOST_TEXT - self.0.len();
        if text.len() <= room {
            self.0.push_str(text);
            return Ok(());
        }
        let end = (0..=room).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
        self.0.push_str(&text[..end]);
        Err(fmt::Error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn descriptions(trace: &Trace) -> Vec<String> {
        trace.message().events.into_iter().map(|event| event.description).collect()
    }

    #[test]
    fn the_newest_stay_and_all_are_counted() {
        let now = SystemTime::now();
        let mut trace = Trace::new(now, 3);
        for number in 0..10 {
            trace.push(now, Severity::Warning, &number, Some(number));
        }
        assert_eq!(descriptions(&trace), ["7", "8", "9"]);
        let message = trace.message();
        assert_eq!((message.num_events_logged, message.creation_timestamp), (10, Some(now.into())));
        let last = message.events.last().unwrap();
        assert_eq!((last.severity(), last.subchannel_ref.as_ref().unwrap().subchannel_id), (TraceSeverity::Warning, 9));
        let mut none = Trace::new(now, 0);
        none.push(now, Severity::Info, &"x", None);
        assert_eq!((none.message().num_events_logged, none.message().events.len()), (1, 0));
    }

    #[test]
    fn a_subchannel_that_sees_much_keeps_what_the_essay_says() {
        let event = size_of::<Event>() + MOST_TEXT + '…'.len_utf8();
        assert!(crate::channelz::SUBCHANNEL_EVENTS * event <= 2_560, "{event} bytes for each event");
    }

    #[test]
    fn a_long_text_is_cut_between_characters() {
        for text in ["a".repeat(10_000), "ä".repeat(10_000), format!("a{}", "😀".repeat(10_000))] {
            let cut = cut(&text);
            let kept = cut.strip_suffix('…').unwrap();
            assert!(kept.len() <= MOST_TEXT && kept.len() > MOST_TEXT - 4 && text.starts_with(kept), "{kept}");
        }
        assert_eq!(&*cut(&"a".repeat(MOST_TEXT)), "a".repeat(MOST_TEXT));
        assert_eq!(&*cut(&""), "");
    }
}
