//! Windows that grow with the connection: the bandwidth-delay estimate of grpc and hyper.
//!
//! While DATA arrives, a PING is sent and the bytes until its answer are counted: that is how much this path carries in one round
//! trip. If it filled two thirds of the window and was the fastest so far, the window was the limit, and becomes twice the
//! sample. Windows never shrink. Once samples stop growing, PINGs become rare.

use std::time::Duration;

use tokio::time::Instant;

/// Beyond this TCP's own window is the limit.
const LIMIT: u32 = 16 * 1024 * 1024;
const FIRST_DELAY: Duration = Duration::from_millis(100);
const MAX_DELAY: Duration = Duration::from_secs(10);

#[derive(Debug)]
pub(super) struct Bdp {
    window: u32,
    bytes: usize,
    sent: Option<Instant>,
    /// Smoothed round trip in seconds; 0 before the first sample.
    rtt: f64,
    max_bandwidth: f64,
    delay: Duration,
    next: Instant,
}

impl Bdp {
    pub(super) fn new(window: u32, now: Instant) -> Self {
        Self { window, bytes: 0, sent: None, rtt: 0.0, max_bandwidth: 0.0, delay: FIRST_DELAY, next: now }
    }

    /// DATA arrived; true if a PING should be sent now.
    pub(super) fn data(&mut self, bytes: usize, now: Instant) -> bool {
        if self.sent.is_some() {
            self.bytes = self.bytes.saturating_add(bytes);
            return false;
        }
        bytes > 0 && self.window < LIMIT && now >= self.next
    }

    /// The PING asked for is out.
    pub(super) fn sent(&mut self, now: Instant) {
        self.sent = Some(now);
        self.bytes = 0;
    }

    /// The answer is here; `Some` is the new window.
    pub(super) fn answered(&mut self, now: Instant) -> Option<u32> {
        let sent = self.sent.take()?;
        self.next = now + self.delay;
        let rtt = (now - sent).as_secs_f64();
        self.rtt = if self.rtt == 0.0 { rtt } else { self.rtt + (rtt - self.rtt) / 8.0 };
        let bandwidth = self.bytes as f64 / (self.rtt * 1.5).max(1e-6);
        let filled = self.bytes >= self.window as usize / 3 * 2;
        if bandwidth < self.max_bandwidth || !filled {
            self.max_bandwidth = self.max_bandwidth.max(bandwidth);
            self.delay = (self.delay * 2).min(MAX_DELAY);
            return None;
        }
        self.max_bandwidth = bandwidth;
        self.delay = FIRST_DELAY;
        self.window = u32::try_from(self.bytes.saturating_mul(2)).unwrap_or(LIMIT).clamp(self.window, LIMIT);
        Some(self.window)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_window_doubles_and_an_idle_path_does_not() {
        let start = Instant::now();
        let mut bdp = Bdp::new(65_535, start);
        assert!(!bdp.data(0, start));
        assert!(bdp.data(10, start));
        bdp.sent(start);
        assert!(!bdp.data(60_000, start));
        let answer = start + Duration::from_millis(10);
        assert_eq!(bdp.answered(answer), Some(120_000));
        assert!(!bdp.data(10, answer));
        let later = answer + Duration::from_secs(1);
        assert!(bdp.data(10, later));
        bdp.sent(later);
        bdp.data(100, later);
        assert_eq!(bdp.answered(later + Duration::from_millis(10)), None);
    }

    #[test]
    fn the_window_stops_at_its_limit() {
        let mut now = Instant::now();
        let mut bdp = Bdp::new(65_535, now);
        for _ in 0..20 {
            now += Duration::from_secs(20);
            bdp.sent(now);
            bdp.data(usize::MAX / 4, now);
            now += Duration::from_millis(1);
            assert!(bdp.answered(now).is_none_or(|window| window <= LIMIT));
        }
        assert_eq!(bdp.window, LIMIT);
        assert!(!bdp.data(10, now + Duration::from_secs(60)));
    }
}
