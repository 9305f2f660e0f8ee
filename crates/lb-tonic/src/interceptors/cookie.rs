//! Cookies of a request, as RFC 6265 has servers read them.

use http::HeaderMap;

/// The value of the first cookie of this name that can be read. A list may be spread over several header fields, as HTTP/2 allows.
pub(super) fn find<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    let lists = headers.get_all(http::header::COOKIE).into_iter().filter_map(|list| list.to_str().ok());
    let mut pairs = lists.flat_map(|list| list.split(';')).filter_map(|pair| pair.split_once('='));
    pairs.find(|(other, _)| other.trim_matches([' ', '\t']) == name).and_then(|(_, value)| unquote(value.trim_matches([' ', '\t'])))
}

/// The value without the quotes that may stand around it; `None` if it holds what a cookie may not (section 4.1.1).
fn unquote(value: &str) -> Option<&str> {
    let value = value.strip_prefix('"').and_then(|value| value.strip_suffix('"')).unwrap_or(value);
    let allowed = |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b'"' | b',' | b';' | b'\\');
    value.bytes().all(allowed).then_some(value)
}
