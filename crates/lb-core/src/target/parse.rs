//! Splitting a target's text into its parts.

use percent_encoding::percent_decode_str;

use super::{Target, TargetErrorKind};

/// What a name without a scheme is for.
const DEFAULT_SCHEME: &str = "dns";

/// Schemes that mean this machine or list literal addresses, so that an authority can only be a slip (`unix://run/a.sock`).
const WITHOUT_AUTHORITY: [&str; 5] = ["ipv4", "ipv6", "unix", "unix-abstract", "vsock"];

/// Schemes whose path without a leading slash differs from the one with it.
const FILE_LIKE: [&str; 4] = ["file", "unix", "unix-abstract", "vsock"];

/// The parts of a target as they stand in the text.
struct Raw<'a> {
    authority: &'a str,
    path: &'a str,
    query: &'a str,
}

pub(super) fn parse(text: &str, known: &dyn Fn(&str) -> bool) -> Result<Target, TargetErrorKind> {
    if text.is_empty() {
        return Err(TargetErrorKind::Empty);
    }
    if text.chars().any(char::is_control) {
        return Err(TargetErrorKind::ControlCharacter);
    }
    match scheme(text).filter(|(scheme, _)| known(scheme)) {
        Some((scheme, rest)) => build(text, scheme, &Raw::of(rest)),
        None => build(text, DEFAULT_SCHEME.to_owned(), &Raw::of(&format!("///{text}"))),
    }
}

/// The scheme in lower case and what follows its colon, if the text begins with one.
fn scheme(text: &str) -> Option<(String, &str)> {
    let (scheme, rest) = text.split_once(':')?;
    let mut bytes = scheme.bytes();
    let first = bytes.next()?.is_ascii_alphabetic();
    let others = bytes.all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(&b));
    (first && others).then(|| (scheme.to_ascii_lowercase(), rest))
}

impl<'a> Raw<'a> {
    fn of(rest: &'a str) -> Self {
        match rest.strip_prefix("//") {
            Some(after) => {
                let end = after.find(['/', '?', '#']).unwrap_or(after.len());
                Self { authority: &after[..end], ..Self::of_path(&after[end..]) }
            }
            None => Self::of_path(rest),
        }
    }

    fn of_path(text: &'a str) -> Self {
        let text = text.split_once('#').map_or(text, |(before, _)| before);
        let (path, query) = text.split_once('?').unwrap_or((text, ""));
        Self { authority: "", path, query }
    }
}

fn build(text: &str, scheme: String, raw: &Raw<'_>) -> Result<Target, TargetErrorKind> {
    check_authority(&scheme, raw.authority)?;
    Ok(Target {
        text: text.to_owned(),
        canonical: canonical(&scheme, raw),
        authority: decode(raw.authority)?,
        file_path: decode(raw.path)?,
        query: raw.query.split('&').filter(|pair| !pair.is_empty()).map(decode_pair).collect::<Result<_, _>>()?,
        scheme,
    })
}

fn check_authority(scheme: &str, authority: &str) -> Result<(), TargetErrorKind> {
    if !authority.is_empty() && WITHOUT_AUTHORITY.contains(&scheme) {
        return Err(TargetErrorKind::UnexpectedAuthority { scheme: scheme.to_owned(), authority: authority.to_owned() });
    }
    match authority.chars().find(|c| !(c.is_ascii_alphanumeric() || "-._~!$&'()*+,;=:[]@%".contains(*c))) {
        Some(odd) => Err(TargetErrorKind::AuthorityCharacter(odd)),
        None => Ok(()),
    }
}

fn canonical(scheme: &str, raw: &Raw<'_>) -> String {
    if FILE_LIKE.contains(&scheme) && raw.authority.is_empty() && !raw.path.starts_with('/') {
        return format!("{scheme}:{}", raw.path);
    }
    format!("{scheme}://{}/{}", raw.authority, raw.path.strip_prefix('/').unwrap_or(raw.path))
}

fn decode_pair(pair: &str) -> Result<(String, String), TargetErrorKind> {
    let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
    Ok((decode(key)?, decode(value)?))
}

fn decode(text: &str) -> Result<String, TargetErrorKind> {
    let complete = |part: &str| part.as_bytes().get(..2).is_some_and(|hex| hex.iter().all(u8::is_ascii_hexdigit));
    if !text.split('%').skip(1).all(complete) {
        return Err(TargetErrorKind::PercentEncoding);
    }
    let decoded = percent_decode_str(text).decode_utf8().map_err(|_| TargetErrorKind::PercentEncoding)?;
    if decoded.contains('\0') { Err(TargetErrorKind::ControlCharacter) } else { Ok(decoded.into_owned()) }
}
