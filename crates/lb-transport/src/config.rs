//! How connections are made and kept.
//!
//! Every setter says its unit, default and range; values are checked together by [`H2Connector::new`](crate::H2Connector::new),
//! which names the field that is wrong.

use std::net::IpAddr;
use std::time::Duration;

use http::HeaderValue;

/// The smallest window HTTP/2 starts with; less would stall an ordinary response.
pub(crate) const MIN_WINDOW: u32 = 65_535;
/// The largest window HTTP/2 knows.
const MAX_WINDOW: u32 = (1 << 31) - 1;
/// gRFC A8: servers take more frequent pings for an attack.
const MIN_KEEPALIVE_TIME: Duration = Duration::from_secs(10);
/// The shortest interval that servers with gRPC's defaults allow while a stream is open. A shorter one costs a long quiet stream
/// its connection, three PINGs later.
const KEEPALIVE_TIME: Duration = Duration::from_secs(5 * 60);
/// As good as never, and can be added to the present; what `Duration::MAX` becomes.
const MAX_KEEPALIVE_TIME: Duration = Duration::from_secs(365 * 24 * 60 * 60);
/// Beyond this TCP_USER_TIMEOUT leaves the range the kernel takes.
const MAX_KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(24 * 60 * 60);
/// gRFC A105's ceiling for connections of one endpoint.
const MAX_CONNECTIONS: usize = 10;

/// Options of [`H2Connector`](crate::H2Connector).
#[derive(Debug, Clone)]
pub struct TransportConfig {
    pub(crate) connect_timeout: Duration,
    pub(crate) attempt_delay: Duration,
    pub(crate) local_address: Option<IpAddr>,
    pub(crate) tcp_keepalive: Option<Duration>,
    pub(crate) keepalive_time: Option<Duration>,
    pub(crate) keepalive_timeout: Duration,
    pub(crate) keepalive_without_calls: bool,
    pub(crate) stream_window: u32,
    pub(crate) connection_window: u32,
    pub(crate) adaptive_window: bool,
    pub(crate) max_frame_size: u32,
    pub(crate) max_header_list_size: u32,
    pub(crate) max_connections: usize,
    pub(crate) user_agent: HeaderValue,
}

impl Default for TransportConfig {
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(20),
            attempt_delay: Duration::from_millis(250),
            local_address: None,
            tcp_keepalive: None,
            keepalive_time: Some(KEEPALIVE_TIME),
            keepalive_timeout: Duration::from_secs(20),
            keepalive_without_calls: false,
            stream_window: 2 * 1024 * 1024,
            connection_window: 5 * 1024 * 1024,
            adaptive_window: false,
            max_frame_size: 16 * 1024,
            max_header_list_size: 16 * 1024,
            max_connections: 1,
            user_agent: HeaderValue::from_static(concat!("evenkeel/", env!("CARGO_PKG_VERSION"))),
        }
    }
}

/// An option that is out of range.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("transport option {field}: {value} is not allowed; it must be {allowed}")]
pub struct TransportConfigError {
    field: &'static str,
    value: String,
    allowed: &'static str,
}

impl TransportConfig {
    /// The default options.
    pub fn new() -> Self {
        Self::default()
    }

    /// The longest one attempt may take, over all addresses and handshakes; the attempt's own timeout counts if it is shorter.
    /// Default 20 s, more than 0.
    #[must_use]
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.connect_timeout = timeout;
        self
    }

    /// How long the attempt at one address may run before the next address is tried beside it (RFC 8305). Default 250 ms, clamped to
    /// 100 ms – 2 s.
    #[must_use]
    pub fn attempt_delay(mut self, delay: Duration) -> Self {
        self.attempt_delay = delay.clamp(Duration::from_millis(100), Duration::from_secs(2));
        self
    }

    /// The local IP address to dial from; addresses of the other family then fail. Default none: the system chooses.
    #[must_use]
    pub fn local_address(mut self, address: impl Into<Option<IpAddr>>) -> Self {
        self.local_address = address.into();
        self
    }

    /// TCP's own keepalive: how long a socket is idle before probes are sent. Default off; 1 s to 32 767 s.
    #[must_use]
    pub fn tcp_keepalive(mut self, idle: impl Into<Option<Duration>>) -> Self {
        self.tcp_keepalive = idle.into();
        self
    }

    /// How long nothing may arrive before a PING is sent, or `None` for no keepalive. Default 5 min; less than 10 s becomes 10 s, as
    /// gRFC A8 has it.
    ///
    /// gRPC's own default is no keepalive. Ours is on while calls are in flight, at the shortest interval that servers allow by
    /// default; those that enforce a longer one answer with GOAWAY `too_many_pings`, whereupon the interval doubles. A call that
    /// is *sent* on a connection whose other end has vanished is noticed much sooner on Linux, after
    /// [`keepalive_timeout`](Self::keepalive_timeout). Set 30 s where the servers allow it and streams wait long for the other side.
    #[must_use]
    pub fn keepalive_time(mut self, time: impl Into<Option<Duration>>) -> Self {
        self.keepalive_time = time.into().map(|time| time.clamp(MIN_KEEPALIVE_TIME, MAX_KEEPALIVE_TIME));
        self
    }

    /// Like [`keepalive_time`](Self::keepalive_time) without its floor of 10 s; at least 1 ms. For tests and for servers known to
    /// allow it: others close the connection.
    #[must_use]
    pub fn keepalive_time_unchecked(mut self, time: Duration) -> Self {
        self.keepalive_time = Some(time.min(MAX_KEEPALIVE_TIME));
        self
    }

    /// How long after a PING something must arrive; also TCP_USER_TIMEOUT on Linux (gRFC A18), so how
    /// long sent data may stay unacknowledged. Default 20 s; 1 ms to
    /// 24 h.
    #[must_use]
    pub fn keepalive_timeout(mut self, timeout: Duration) -> Self {
        self.keepalive_timeout = timeout;
        self
    }

    /// Whether PINGs are also sent while no call is in flight. Default false.
    #[must_use]
    pub fn keepalive_without_calls(mut self, on: bool) -> Self {
        self.keepalive_without_calls = on;
        self
    }

    /// Bytes a server may send on one stream before we have read them. Default 2 MiB; 65 535 to 2³¹ − 1.
    #[must_use]
    pub fn initial_stream_window(mut self, bytes: u32) -> Self {
        self.stream_window = bytes;
        self
    }

    /// Bytes a server may send on all streams of a connection before we have read them. Default 5 MiB; 65 535 to 2³¹ − 1.
    #[must_use]
    pub fn initial_connection_window(mut self, bytes: u32) -> Self {
        self.connection_window = bytes;
        self
    }

    /// Start both windows at 64 KiB and let them grow with the measured bandwidth-delay product, to 16 MiB at most. Default false.
    /// Saves memory on many slow connections; costs PINGs while data arrives. Overrides the two initial windows.
    #[must_use]
    pub fn adaptive_window(mut self, on: bool) -> Self {
        self.adaptive_window = on;
        self
    }

    /// The largest frame a server may send, in bytes. Default 16 KiB; 16 384 to 16 777 215.
    #[must_use]
    pub fn max_frame_size(mut self, bytes: u32) -> Self {
        self.max_frame_size = bytes;
        self
    }

    /// The largest response headers or trailers we accept, in bytes as HTTP/2 counts them. Default 16 KiB; 1 KiB to 16 MiB.
    #[must_use]
    pub fn max_header_list_size(mut self, bytes: u32) -> Self {
        self.max_header_list_size = bytes;
        self
    }

    /// How many connections one endpoint may have when calls wait for a stream (gRFC A105). Default 1; 1 to 10.
    #[must_use]
    pub fn max_connections_per_endpoint(mut self, count: usize) -> Self {
        self.max_connections = count;
        self
    }

    /// Our part of the `user-agent` header; appended to the request's own, if it has one. Default `evenkeel/` and the version.
    #[must_use]
    pub fn user_agent(mut self, value: HeaderValue) -> Self {
        self.user_agent = value;
        self
    }

    pub(crate) fn validate(&self) -> Result<(), TransportConfigError> {
        let millisecond = Duration::from_millis(1);
        let window = MIN_WINDOW..=MAX_WINDOW;
        const WINDOW: &str = "65535 to 2147483647 bytes";
        check("connect_timeout", self.connect_timeout, |time| !time.is_zero(), "more than 0")?;
        let idle = 1..=32_767;
        check(
            "tcp_keepalive",
            self.tcp_keepalive,
            |time| time.is_none_or(|time| idle.contains(&time.as_secs())),
            "1 s to 32767 s",
        )?;
        check("keepalive_time", self.keepalive_time, |time| time.is_none_or(|time| time >= millisecond), "1 ms or more")?;
        let answer = millisecond..=MAX_KEEPALIVE_TIMEOUT;
        check("keepalive_timeout", self.keepalive_timeout, |time| answer.contains(time), "1 ms to 24 h")?;
        check("initial_stream_window", self.stream_window, |bytes| window.contains(bytes), WINDOW)?;
        check("initial_connection_window", self.connection_window, |bytes| window.contains(bytes), WINDOW)?;
        check("max_frame_size", self.max_frame_size, |bytes| (16_384..=16_777_215).contains(bytes), "16384 to 16777215 bytes")?;
        check("max_header_list_size", self.max_header_list_size, |bytes| (1_024..=1 << 24).contains(bytes), "1 KiB to 16 MiB")?;
        check("max_connections_per_endpoint", self.max_connections, |count| (1..=MAX_CONNECTIONS).contains(count), "1 to 10")
    }

    /// The stream and connection windows to start with.
    pub(crate) fn windows(&self) -> (u32, u32) {
        if self.adaptive_window { (MIN_WINDOW, MIN_WINDOW) } else { (self.stream_window, self.connection_window) }
    }
}

fn check<T: std::fmt::Debug>(
    field: &'static str,
    value: T,
    allowed: impl Fn(&T) -> bool,
    text: &'static str,
) -> Result<(), TransportConfigError> {
    if allowed(&value) { Ok(()) } else { Err(TransportConfigError { field, value: format!("{value:?}"), allowed: text }) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn floors_and_clamps() {
        assert_eq!(TransportConfig::new().keepalive_time(Duration::from_secs(1)).keepalive_time, Some(MIN_KEEPALIVE_TIME));
        assert_eq!(TransportConfig::new().keepalive_time(Duration::MAX).keepalive_time, Some(MAX_KEEPALIVE_TIME));
        assert_eq!(TransportConfig::new().keepalive_time(None).keepalive_time, None);
        assert_eq!(TransportConfig::new().attempt_delay(Duration::ZERO).attempt_delay, Duration::from_millis(100));
        assert_eq!(TransportConfig::new().attempt_delay(Duration::MAX).attempt_delay, Duration::from_secs(2));
        assert_eq!(TransportConfig::new().validate(), Ok(()));
    }

    #[test]
    fn a_value_out_of_range_names_its_field() {
        let bad = [
            (TransportConfig::new().connect_timeout(Duration::ZERO), "connect_timeout"),
            (TransportConfig::new().tcp_keepalive(Duration::from_millis(1)), "tcp_keepalive"),
            (TransportConfig::new().keepalive_time_unchecked(Duration::ZERO), "keepalive_time"),
            (TransportConfig::new().tcp_keepalive(Duration::MAX), "tcp_keepalive"),
            (TransportConfig::new().keepalive_timeout(Duration::ZERO), "keepalive_timeout"),
            (TransportConfig::new().keepalive_timeout(Duration::MAX), "keepalive_timeout"),
            (TransportConfig::new().initial_stream_window(65_534), "initial_stream_window"),
            (TransportConfig::new().initial_connection_window(u32::MAX), "initial_connection_window"),
            (TransportConfig::new().max_frame_size(1), "max_frame_size"),
            (TransportConfig::new().max_header_list_size(1), "max_header_list_size"),
            (TransportConfig::new().max_connections_per_endpoint(0), "max_connections_per_endpoint"),
            (TransportConfig::new().max_connections_per_endpoint(11), "max_connections_per_endpoint"),
        ];
        for (config, field) in bad {
            assert!(config.validate().unwrap_err().to_string().contains(field), "{field}");
        }
    }
}
