//! The names of gRPC's own headers, parsed once: looking one up by its text would parse it for every call.

use http::{HeaderMap, HeaderName, HeaderValue};

/// So many headers are compared with a name sooner than the name is hashed. tonic's own requests have two, most responses and trailers fewer.
const FEW: usize = 4;

/// How long a server has for a call.
pub(crate) static TIMEOUT: HeaderName = HeaderName::from_static("grpc-timeout");

/// How a call ended.
pub(crate) static STATUS: HeaderName = HeaderName::from_static("grpc-status");

/// How many attempts of the call a server may have worked on before this one.
pub(crate) static PREVIOUS_ATTEMPTS: HeaderName = HeaderName::from_static("grpc-previous-rpc-attempts");

/// In trailers: how long to wait before another attempt, or that there shall be none.
pub(crate) static PUSHBACK: HeaderName = HeaderName::from_static("grpc-retry-pushback-ms");

/// In trailers: the details of a status, in base64.
pub(crate) static STATUS_DETAILS: HeaderName = HeaderName::from_static("grpc-status-details-bin");

/// The first value of this name.
#[inline]
pub(crate) fn get<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a HeaderValue> {
    if headers.len() > FEW {
        return headers.get(name);
    }
    headers.iter().find(|(known, _)| *known == name).map(|(_, value)| value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_value_is_found_among_few_headers_and_among_many() {
        for others in [0, 1, 3, 4, 9] {
            let mut headers = HeaderMap::new();
            for other in 0..others {
                headers.insert(HeaderName::try_from(format!("x-{other}")).unwrap(), HeaderValue::from_static("x"));
            }
            assert_eq!(get(&headers, &STATUS), None, "{others}");
            headers.append(&STATUS, HeaderValue::from_static("0"));
            headers.append(&STATUS, HeaderValue::from_static("1"));
            assert_eq!(get(&headers, &STATUS), headers.get(&STATUS), "{others}");
            assert_eq!(get(&headers, &TIMEOUT), None, "{others}");
        }
    }
}
