//! Host and port of targets that name one.

use std::net::Ipv6Addr;

use super::TargetErrorKind;
use crate::address::Address;

pub(super) fn split(path: &str, default_port: u16) -> Result<(String, u16), TargetErrorKind> {
    if path.parse::<Ipv6Addr>().is_ok() {
        return Ok((path.to_owned(), default_port));
    }
    if let Some(rest) = path.strip_prefix('[') {
        return bracketed(path, rest, default_port);
    }
    let (host, port) = match path.split_once(':') {
        Some((host, port)) => (host, self::port(port)?),
        None => (path, default_port),
    };
    match host {
        "" if path.is_empty() => Err(TargetErrorKind::Host("the host name is empty".to_owned())),
        "" => Ok(("localhost".to_owned(), port)),
        name => match Address::host(name, port) {
            Ok(_) => Ok((name.to_owned(), port)),
            Err(error) => Err(TargetErrorKind::Host(error.to_string())),
        },
    }
}

fn bracketed(path: &str, rest: &str, default_port: u16) -> Result<(String, u16), TargetErrorKind> {
    let error = || TargetErrorKind::Host(format!("{path:?} begins with '[', but is not [ipv6] or [ipv6]:port"));
    let (ip, after) = rest.split_once(']').ok_or_else(error)?;
    ip.parse::<Ipv6Addr>().map_err(|_| error())?;
    match after.strip_prefix(':') {
        Some(port) => Ok((ip.to_owned(), self::port(port)?)),
        None if after.is_empty() => Ok((ip.to_owned(), default_port)),
        None => Err(error()),
    }
}

/// Digits only: `parse` alone would take `+80`.
fn port(text: &str) -> Result<u16, TargetErrorKind> {
    match text.parse() {
        Ok(port) if text.bytes().all(|b| b.is_ascii_digit()) => Ok(port),
        _ => Err(TargetErrorKind::Port(text.to_owned())),
    }
}
