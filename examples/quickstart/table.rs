//! What a phase was to each endpoint, in columns that fit a terminal of 100.

use std::fmt::Display;
use std::io::IsTerminal;
use std::time::Duration;

use evenkeel::{ConnectivityState, EndpointInfo};

use crate::fleet::Fleet;
use crate::load::Recorded;

/// Columns of the bar of an endpoint that gets half of the calls or more.
const BAR: f64 = 14.0;

const BOLD: &str = "1";
const DIM: &str = "2";
const RED: &str = "31";
const GREEN: &str = "32";
const YELLOW: &str = "33";

/// What stands above a table; further lines of `what` begin below the first.
pub(crate) fn headline(number: u32, name: &str, what: &str) -> String {
    let what = what.replace('\n', "\n           ");
    format!("{} {what}", paint(BOLD, &format!("{number} {name:<8}")))
}

/// One line per endpoint, and one for all; `before` and `after` are the endpoints when the phase began and ended.
pub(crate) fn render(
    before: &[EndpointInfo],
    after: &[EndpointInfo],
    fleet: &Fleet,
    recorded: &Recorded,
    length: Duration,
) -> String {
    let mut lines = vec![paint(DIM, &columns("endpoint", "speed", "state", ["calls", "errors", "p50 ms", "p99 ms", "share"]))];
    for endpoint in after {
        let latencies = recorded.latencies.get(&endpoint.key).cloned().unwrap_or_default();
        let share = latencies.len() as f64 / recorded.calls().max(1) as f64;
        let earlier = before.iter().find(|earlier| earlier.key == endpoint.key).map_or(0, |earlier| earlier.failed);
        let failed = endpoint.failed.saturating_sub(earlier);
        let (name, speed) = fleet.describe(&endpoint.key).unwrap_or(("?", Duration::ZERO));
        let (state, color) = state(endpoint);
        let line = columns(
            &format!("{name} {}", endpoint.key),
            &format!("{} ms", speed.as_millis()),
            state,
            numbers(latencies, failed, share),
        );
        let bar = "▪".repeat((share.min(0.5) * 2.0 * BAR).round() as usize);
        lines.push(format!("{} {bar}", line.replacen(state, &paint(color, state), 1)));
    }
    let all = recorded.latencies.values().flatten().copied().collect();
    let rate = format!("{:.0} calls/s", recorded.calls() as f64 / length.as_secs_f64());
    lines.push(paint(DIM, &columns("all", "", &rate, numbers(all, recorded.failed, 1.0))));
    lines.join("\n")
}

/// A number with its thousands apart.
pub(crate) fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut apart = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            apart.push(' ');
        }
        apart.push(digit);
    }
    apart
}

fn columns(endpoint: &str, speed: &str, state: &str, [calls, errors, p50, p99, share]: [impl Display; 5]) -> String {
    format!("   {endpoint:<17} {speed:>6}  {state:<17} {calls:>6} {errors:>6} {p50:>7} {p99:>7} {share:>7}")
}

fn numbers(mut latencies: Vec<Duration>, failed: u64, share: f64) -> [String; 5] {
    latencies.sort_unstable();
    let millis =
        |quantile| percentile(&latencies, quantile).map_or_else(|| "-".to_owned(), |at| format!("{:.1}", at.as_secs_f64() * 1e3));
    let calls = latencies.len() as u64 + failed;
    [calls.to_string(), failed.to_string(), millis(0.5), millis(0.99), format!("{:.1} %", share * 100.0)]
}

/// The smallest value that so large a part of the sorted values does not exceed.
fn percentile(sorted: &[Duration], part: f64) -> Option<Duration> {
    let rank = (part * sorted.len() as f64).ceil() as usize;
    sorted.get(rank.checked_sub(1)?).copied()
}

fn state(endpoint: &EndpointInfo) -> (&'static str, &'static str) {
    match (endpoint.excluded, endpoint.state) {
        (Some(why), _) => (why, YELLOW),
        (None, ConnectivityState::Ready) => ("READY", GREEN),
        (None, ConnectivityState::TransientFailure) => ("TRANSIENT_FAILURE", RED),
        (None, ConnectivityState::Connecting) => ("CONNECTING", YELLOW),
        (None, ConnectivityState::Idle) => ("IDLE", YELLOW),
        (None, ConnectivityState::Shutdown) => ("SHUTDOWN", RED),
    }
}

/// Colour, on a terminal whose user has not asked for none.
fn paint(code: &str, text: &str) -> String {
    let plain = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty()) || !std::io::stdout().is_terminal();
    if plain { text.to_owned() } else { format!("\x1b[{code}m{text}\x1b[0m") }
}
