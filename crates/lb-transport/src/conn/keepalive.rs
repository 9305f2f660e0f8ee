//! When to send a PING, and when to give a silent connection up.
//!
//! gRFC A8, client side: a PING goes out when nothing has arrived for `time`; anything that arrives within `timeout` counts as the
//! answer; without active streams (unless told otherwise) the watch sleeps and a new stream wakes it, with a PING at once
//! if the last byte is older than `time`. The time since a PING was *sent* never counts. Pure: clock and timers are the driver's.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;

/// The keepalive of a connector: the interval is shared by its connections and doubles when a server complains.
#[derive(Debug, Clone)]
pub(crate) struct KeepaliveConfig {
    time: Arc<AtomicU64>,
    pub(crate) timeout: Duration,
    pub(crate) without_calls: bool,
}

/// Far beyond any server's limit (gRPC's default allows a PING each 5 minutes); doubling stops here.
const MAX_TIME: Duration = Duration::from_secs(2 * 60 * 60);

impl KeepaliveConfig {
    pub(crate) fn new(time: Duration, timeout: Duration, without_calls: bool) -> Self {
        Self { time: Arc::new(AtomicU64::new(millis(time))), timeout, without_calls }
    }

    /// The present interval for new connections.
    pub(crate) fn time(&self) -> Duration {
        Duration::from_millis(self.time.load(Ordering::Relaxed))
    }

    /// Doubles the interval for new connections, once per complaint: `used` is what the connection complained of had used, so that
    /// several connections made with the same interval double it once.
    pub(super) fn too_many_pings(&self, used: Duration) {
        let (used, most) = (millis(used), millis(MAX_TIME).max(millis(used)));
        let doubled = used.saturating_mul(2).min(most);
        let result = self.time.compare_exchange(used, doubled, Ordering::Relaxed, Ordering::Relaxed);
        if result.is_ok() {
            tracing::warn!(from_ms = used, to_ms = doubled, "server complains of too many keepalive pings; interval doubled");
        }
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// The watch over one connection.
#[derive(Debug)]
pub(super) struct Keepalive {
    pub(super) time: Duration,
    timeout: Duration,
    without_calls: bool,
    last_read: Instant,
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Watching,
    /// A PING is out; something must arrive before this.
    Pinged(Instant),
    /// No streams; a new one wakes it.
    Dormant,
}

/// What to do now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// Ask again then.
    Wait(Instant),
    /// Send a PING and ask again then.
    Ping(Instant),
    /// Ask again when there is a stream.
    Sleep,
    /// Nobody is there.
    Dead,
}

impl Keepalive {
    pub(super) fn new(config: &KeepaliveConfig, now: Instant) -> Self {
        Self {
            time: config.time(),
            timeout: config.timeout,
            without_calls: config.without_calls,
            last_read: now,
            state: State::Watching,
        }
    }

    /// Something arrived. True if it answered a PING, so that the next step is due at another time.
    pub(super) fn read(&mut self, now: Instant) -> bool {
        self.last_read = now;
        let pinged = matches!(self.state, State::Pinged(_));
        if pinged {
            self.state = State::Watching;
        }
        pinged
    }

    pub(super) fn is_dormant(&self) -> bool {
        self.state == State::Dormant
    }

    pub(super) fn step(&mut self, now: Instant, active: bool) -> Step {
        if let State::Pinged(deadline) = self.state {
            return if now >= deadline { Step::Dead } else { Step::Wait(deadline) };
        }
        let due = self.last_read + self.time;
        if now < due {
            self.state = State::Watching;
            return Step::Wait(due);
        }
        if !active && !self.without_calls {
            self.state = State::Dormant;
            return Step::Sleep;
        }
        let deadline = now + self.timeout;
        self.state = State::Pinged(deadline);
        Step::Ping(deadline)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIME: Duration = Duration::from_secs(30);
    const TIMEOUT: Duration = Duration::from_secs(10);

    fn keepalive(without_calls: bool) -> (Keepalive, Instant) {
        let now = Instant::now();
        (Keepalive::new(&KeepaliveConfig::new(TIME, TIMEOUT, without_calls), now), now)
    }

    #[test]
    fn a_silent_peer_with_a_stream_is_dead_after_time_and_timeout() {
        let (mut keepalive, start) = keepalive(false);
        assert_eq!(keepalive.step(start, true), Step::Wait(start + TIME));
        assert_eq!(keepalive.step(start + TIME, true), Step::Ping(start + TIME + TIMEOUT));
        assert_eq!(keepalive.step(start + TIME, true), Step::Wait(start + TIME + TIMEOUT));
        assert_eq!(keepalive.step(start + TIME + TIMEOUT, true), Step::Dead);
    }

    #[test]
    fn any_byte_is_an_answer_and_traffic_needs_no_ping() {
        let (mut keepalive, start) = keepalive(false);
        let second = Duration::from_secs(1);
        assert!(!keepalive.read(start + TIME - second));
        assert_eq!(keepalive.step(start + TIME, true), Step::Wait(start + TIME * 2 - second));
        assert_eq!(keepalive.step(start + TIME * 2, true), Step::Ping(start + TIME * 2 + TIMEOUT));
        assert!(keepalive.read(start + TIME * 2 + second));
        assert_eq!(keepalive.step(start + TIME * 2 + TIMEOUT, true), Step::Wait(start + TIME * 3 + second));
    }

    #[test]
    fn without_streams_it_sleeps_and_a_stream_pings_at_once() {
        let (mut keepalive, start) = keepalive(false);
        assert_eq!(keepalive.step(start + TIME, false), Step::Sleep);
        assert!(keepalive.is_dormant());
        let later = start + TIME * 100;
        assert_eq!(keepalive.step(later, true), Step::Ping(later + TIMEOUT));
        assert_eq!(keepalive.step(later + TIMEOUT, true), Step::Dead);
    }

    #[test]
    fn without_calls_it_watches_always() {
        let (mut keepalive, start) = keepalive(true);
        assert_eq!(keepalive.step(start + TIME, false), Step::Ping(start + TIME + TIMEOUT));
    }

    #[test]
    fn a_complaint_doubles_once_per_interval() {
        let config = KeepaliveConfig::new(TIME, TIMEOUT, false);
        config.too_many_pings(TIME);
        config.too_many_pings(TIME);
        assert_eq!(config.time(), TIME * 2);
        config.too_many_pings(TIME * 2);
        assert_eq!(config.time(), TIME * 4);
        for _ in 0..40 {
            config.too_many_pings(config.time());
        }
        assert_eq!(config.time(), MAX_TIME);
    }
}
