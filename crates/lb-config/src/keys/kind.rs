//! What a key may hold, and how it is read from JSON and from text.

use std::time::Duration;

use lb_core::human;
use serde_json::{Value, json};

/// What a key may hold.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub enum Kind {
    /// `true` or `false`.
    Flag,
    /// A whole number within bounds.
    Whole(u64, u64),
    /// A number within bounds.
    Number(f64, f64),
    /// A number above 0 and at most this.
    Above(f64),
    /// A duration within bounds.
    Time(Duration, Duration),
    /// A duration within bounds, or `never`.
    TimeOrNever(Duration, Duration),
    /// A number of bytes within bounds.
    Size(u64, u64),
    /// Text, not empty.
    Text,
    /// An `http` or `https` URL without user and password: those belong in a file of their own.
    Url,
    /// One of these words.
    Choice(&'static [&'static str]),
    /// A list of texts.
    Texts,
    /// A list of texts that are never shown.
    Secrets,
    /// A list of gRPC status codes by name or number.
    Codes,
    /// A JSON object that something else reads.
    Object,
    /// A list of endpoints: addresses, or objects as in an endpoint file.
    Endpoints,
    /// A list of rates for methods and services.
    MethodRates,
}

/// The most of a value that an error or a table shows.
const SHOWN: usize = 80;

impl Kind {
    /// What is allowed, in words.
    pub fn allowed(&self) -> String {
        match self {
            Self::Flag => "true or false".to_owned(),
            Self::Whole(least, most) if *most >= u64::from(u32::MAX) => format!("a whole number from {least}"),
            Self::Whole(least, most) => format!("a whole number from {least} to {most}"),
            Self::Number(least, most) => format!("a number from {least} to {most}"),
            Self::Above(most) if most.is_finite() => format!("a number above 0 and at most {most}"),
            Self::Above(_) => "a number above 0".to_owned(),
            Self::Time(least, most) => format!("a duration from {} to {}", human::show(*least), human::show(*most)),
            Self::TimeOrNever(least, most) => {
                format!("a duration from {} to {}, or never", human::show(*least), human::show(*most))
            }
            Self::Size(least, most) => format!("{} to {} bytes, as 4096, 64KiB or 4MB", least, human::show_bytes(*most)),
            Self::Text => "a text".to_owned(),
            Self::Url => "an http or https URL without user and password".to_owned(),
            Self::Choice(words) => format!("one of {}", words.join(", ")),
            Self::Texts | Self::Secrets => "a list of texts".to_owned(),
            Self::Codes => "a list of names or numbers of gRPC status codes other than OK".to_owned(),
            Self::Object => "an object".to_owned(),
            Self::Endpoints => "a list of addresses, or of objects with an address, a weight and more".to_owned(),
            Self::MethodRates => "a list of objects with service, method, perSecond and burst".to_owned(),
        }
    }

    /// Whether its values must not be shown.
    pub fn is_secret(&self) -> bool {
        matches!(self, Self::Secrets)
    }

    /// The value in its canonical form, or `None` if it is not allowed.
    pub(crate) fn read(&self, value: &Value) -> Option<Value> {
        match (self, value) {
            (Self::Flag, Value::Bool(_)) => Some(value.clone()),
            (Self::Whole(least, most), _) => value.as_u64().filter(|number| (*least..=*most).contains(number)).map(Value::from),
            (Self::Number(least, most), _) => value.as_f64().filter(|number| (*least..=*most).contains(number)).map(number),
            (Self::Above(most), _) => value.as_f64().filter(|number| *number > 0.0 && number <= most).map(number),
            (Self::TimeOrNever(..), Value::String(text)) if text == "never" => Some(value.clone()),
            (Self::Time(least, most) | Self::TimeOrNever(least, most), Value::String(text)) => {
                let time = human::duration(text).ok().filter(|time| (*least..=*most).contains(time));
                time.map(|time| human::show(time).into())
            }
            (Self::Size(least, most), _) => {
                let size = value.as_u64().or_else(|| human::bytes(value.as_str()?).ok());
                size.filter(|size| (*least..=*most).contains(size)).map(Value::from)
            }
            (Self::Text, Value::String(text)) if !text.is_empty() => Some(value.clone()),
            (Self::Url, Value::String(text)) if is_url(text) => Some(value.clone()),
            (Self::Choice(words), Value::String(text)) if words.contains(&text.as_str()) => Some(value.clone()),
            (Self::Texts | Self::Secrets, Value::Array(list)) if list.iter().all(Value::is_string) => Some(value.clone()),
            (Self::Object, Value::Object(_)) => Some(value.clone()),
            (Self::Codes | Self::Endpoints | Self::MethodRates, Value::Array(_)) => Some(value.clone()),
            _ => None,
        }
    }

    /// A text, from the environment or a default, as JSON of this kind; then [`read`](Self::read) judges it. Lists are separated by
    /// commas, or are JSON.
    pub(crate) fn parse(&self, text: &str) -> Option<Value> {
        let text = text.trim();
        let value = match self {
            Self::Flag => match text.to_ascii_lowercase().as_str() {
                "true" | "1" | "yes" | "on" => json!(true),
                "false" | "0" | "no" | "off" => json!(false),
                _ => return None,
            },
            Self::Whole(..) => text.parse::<u64>().ok()?.into(),
            Self::Number(..) | Self::Above(_) => text.parse::<f64>().ok().filter(|number| number.is_finite())?.into(),
            Self::Object | Self::MethodRates => serde_json::from_str(text).ok()?,
            Self::Texts | Self::Secrets | Self::Codes | Self::Endpoints if text.starts_with('[') && text.ends_with("]") => {
                serde_json::from_str(text).ok()?
            }
            Self::Texts | Self::Secrets | Self::Endpoints => split(text).map(Value::from).collect(),
            Self::Codes => split(text).map(|code| code.parse::<u64>().map_or_else(|_| code.into(), Value::from)).collect(),
            _ => text.into(),
        };
        self.read(&value)
    }

    /// A value as errors and tables show it: cut where it is long, without what is secret.
    pub(crate) fn show(&self, value: &Value) -> String {
        match (self, value) {
            (Self::Secrets, _) => HIDDEN.to_owned(),
            (Self::Url, Value::String(text)) => cut(&without_user(text)),
            (Self::Size(..), Value::Number(size)) => size.as_u64().map(human::show_bytes).unwrap_or_default(),
            (_, Value::String(text)) => cut(text),
            (_, value) => {
                let mut text = String::new();
                beginning(value, &mut text);
                cut(&text)
            }
        }
    }
}

/// One number has one form: 2 and 2.0 are the same.
fn number(number: f64) -> Value {
    const EXACT: f64 = 9e15;
    if number.fract() == 0.0 && number.abs() < EXACT { Value::from(number as i64) } else { Value::from(number) }
}

/// What stands for a secret where values are shown.
pub(crate) const HIDDEN: &str = "(hidden)";

/// A URL without the user and the password in it.
pub(crate) fn without_user(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else { return cut(url) };
    let authority = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    match rest[..authority].rfind('@') {
        Some(at) => format!("{scheme}://{}", &rest[at + 1..]),
        None => url.to_owned(),
    }
}

/// The beginning of a value as JSON, however large it is: what does not fit is not even looked at.
fn beginning(value: &Value, text: &mut String) {
    let quote = |text: &str| Value::from(cut(text)).to_string();
    match value {
        _ if text.len() > SHOWN => text.push('…'),
        Value::String(value) => text.push_str(&quote(value)),
        Value::Array(list) => {
            text.push('[');
            parts(list.iter(), text, beginning);
            text.push(']');
        }
        Value::Object(object) => {
            text.push('{');
            parts(object.iter(), text, |(name, value), text| {
                text.push_str(&quote(name));
                text.push(':');
                beginning(value, text);
            });
            text.push('}');
        }
        plain => text.push_str(&plain.to_string()),
    }
}

/// Parts with commas between, as long as there is room.
fn parts<T>(parts: impl Iterator<Item = T>, text: &mut String, write: impl Fn(T, &mut String)) {
    for (at, part) in parts.enumerate() {
        if at > 0 {
            text.push(',');
        }
        write(part, text);
        if text.len() > SHOWN {
            break;
        }
    }
}

/// The beginning of a text.
pub(crate) fn cut(text: &str) -> String {
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

fn split(text: &str) -> impl Iterator<Item = &str> {
    text.split(',').map(str::trim).filter(|part| !part.is_empty())
}

fn is_url(text: &str) -> bool {
    let rest = text.strip_prefix("http://").or_else(|| text.strip_prefix("https://"));
    rest.is_some_and(|rest| !rest.is_empty() && !rest.starts_with('/'))
        && without_user(text) == text
        && text.parse::<http::Uri>().is_ok()
}
