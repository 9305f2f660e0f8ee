//! What travels beside a trace's ids, checked before it is passed on: `tracestate`, and `baggage`.

use std::sync::Arc;

use http::HeaderValue;
use http::header::GetAll;
use smallvec::SmallVec;

/// Members of a `tracestate`, by the recommendation.
const MOST_MEMBERS: usize = 32;

/// Bytes of a `tracestate` that are passed on: as many as the recommendation asks for.
const LONGEST_STATE: usize = 512;

/// Members longer than this go first when there are too many bytes.
const LONG_MEMBER: usize = 128;

/// Bytes of a key, and of a value.
const LONGEST_PART: usize = 256;

/// Bytes of `baggage` that are passed on: as many as its recommendation asks for.
const LONGEST_BAGGAGE: usize = 8_192;

/// The `tracestate` of these headers, in order, or nothing if one of their members is not well formed.
pub(super) fn state(headers: GetAll<'_, HeaderValue>) -> Option<Arc<str>> {
    let mut members: SmallVec<[&str; 4]> = SmallVec::new();
    for header in headers {
        for member in header.to_str().ok()?.split(',').map(|member| member.trim_matches([' ', '\t'])) {
            if member.is_empty() {
                continue;
            }
            let (key, value) = member.split_once('=')?;
            let is_known = |other: &&str| other.split_once('=').is_some_and(|(other, _)| other == key);
            if !is_key(key) || !is_value(value) || members.len() == MOST_MEMBERS || members.iter().any(is_known) {
                return None;
            }
            members.push(member);
        }
    }
    shorten(&mut members);
    (!members.is_empty()).then(|| members.join(",").into())
}

/// Removes whole members until the rest is short enough: long ones first, then the oldest, which stand last.
fn shorten(members: &mut SmallVec<[&str; 4]>) {
    while members.iter().map(|member| member.len() + 1).sum::<usize>() > LONGEST_STATE + 1 {
        let long = members.iter().rposition(|member| member.len() > LONG_MEMBER);
        members.remove(long.unwrap_or(members.len() - 1));
    }
}

fn is_key(key: &str) -> bool {
    let starts = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let goes_on = |byte: &u8| starts(byte) || b"_-*/@".contains(byte);
    key.as_bytes().first().is_some_and(starts) && key.bytes().all(|byte| goes_on(&byte)) && key.len() <= LONGEST_PART
}

fn is_value(value: &str) -> bool {
    let fits = |byte| matches!(byte, b' '..=b'~') && byte != b'=';
    !value.is_empty() && value.bytes().all(fits) && value.len() <= LONGEST_PART
}

/// The `baggage` of these headers, or nothing if it is too long or not text.
pub(super) fn baggage(headers: GetAll<'_, HeaderValue>) -> Option<Arc<str>> {
    let mut joined = String::new();
    for header in headers {
        let text = header.to_str().ok()?;
        if joined.len() + text.len() >= LONGEST_BAGGAGE {
            return None;
        }
        if !joined.is_empty() {
            joined.push(',');
        }
        joined.push_str(text);
    }
    (!joined.is_empty()).then(|| joined.into())
}

#[cfg(test)]
mod tests {
    use http::HeaderMap;
    use proptest::prelude::*;

    use super::*;

    fn read(lines: &[&str]) -> Option<Arc<str>> {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append("tracestate", HeaderValue::from_str(line).unwrap());
        }
        state(headers.get_all("tracestate"))
    }

    #[test]
    fn members_are_kept_in_order_over_several_headers() {
        assert_eq!(
            read(&["rojo=00f067aa0ba902b7 , ,congo=t61rcWkgMzE", "1@x=!~ a"]).as_deref(),
            Some("rojo=00f067aa0ba902b7,congo=t61rcWkgMzE,1@x=!~ a")
        );
        assert_eq!(read(&[]), None);
        assert_eq!(read(&[" , "]), None);
    }

    #[test]
    fn one_bad_member_spoils_all() {
        let long = "a".repeat(257);
        for bad in ["a", "=b", "A=b", "a=b=c", "a=", "a=b,a=c", "_=b", "a=\u{7f}", &format!("{long}=b"), &format!("a={long}")] {
            assert_eq!(HeaderValue::from_str(bad).ok().and_then(|_| read(&["ok=1", bad])), None, "{bad}");
        }
        let many: Vec<String> = (0..33).map(|index| format!("k{index}=v")).collect();
        assert_eq!(read(&[&many.join(",")]), None);
        assert!(read(&[&many[..32].join(",")]).is_some());
    }

    #[test]
    fn what_is_too_long_loses_long_members_and_then_the_oldest() {
        let (long, short) = (format!("long={}", "x".repeat(200)), |index| format!("k{index}={}", "y".repeat(60)));
        let mut members = vec![short(0), long.clone(), short(1), short(2), short(3), long.replace("long", "longer")];
        let kept = read(&[&members.join(",")]).unwrap();
        assert_eq!(&*kept, [short(0), long, short(1), short(2), short(3)].join(","));
        members = (0..20).map(short).collect();
        let kept = read(&[&members.join(",")]).unwrap();
        assert_eq!(&*kept, members[..8].join(","));
    }

    proptest! {
        #[test]
        fn nothing_is_a_panic_and_what_is_passed_on_is_well_formed(lines in prop::collection::vec(prop::collection::vec(32_u8.., 0..600), 0..4)) {
            let mut headers = HeaderMap::new();
            for line in lines.iter().filter_map(|line| HeaderValue::from_bytes(line).ok()) {
                headers.append("x", line);
            }
            if let Some(kept) = state(headers.get_all("x")) {
                prop_assert!(kept.len() <= LONGEST_STATE);
                let again = read(&[&kept]);
                prop_assert_eq!(again, Some(kept));
            }
            if let Some(kept) = baggage(headers.get_all("x")) {
                prop_assert!(kept.len() < LONGEST_BAGGAGE && HeaderValue::from_str(&kept).is_ok());
            }
        }
    }
}
