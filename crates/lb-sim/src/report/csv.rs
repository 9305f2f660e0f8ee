//! A line per candidate, load and measured second, for programs.

use std::fmt::Write as _;

use crate::compare::Line;

/// Comma-separated: the whole run first (`second` is empty), then each measured second.
pub fn csv(lines: &[Line]) -> String {
    let mut out =
        String::from("load,policy,second,calls,errors,timeouts,p50_ms,p90_ms,p99_ms,p99.9_ms,max_over_mean,moved,cold,probes\n");
    for Line { load, candidate, tally } in lines {
        let name = quoted(&candidate.label);
        let [p50, p90, p99, p999] = tally.quantiles([0.5, 0.9, 0.99, 0.999]);
        let _ = writeln!(
            out,
            "{load},{name},,{},{},{},{p50:.3},{p90:.3},{p99:.3},{p999:.3},{:.4},{},{},{}",
            tally.calls,
            tally.errors,
            tally.timeouts,
            tally.imbalance(),
            tally.moved,
            tally.cold,
            tally.probes
        );
        let (p50, p90) = (tally.quantile_by_second(0.5), tally.quantile_by_second(0.9));
        let (p99, p999) = (tally.quantile_by_second(0.99), tally.quantile_by_second(0.999));
        for second in 0..p50.len() {
            let errors = tally.errors_by_second[second];
            let calls = tally.latencies[second].len() as u64 + errors;
            let _ = writeln!(
                out,
                "{load},{name},{second},{calls},{errors},,{:.3},{:.3},{:.3},{:.3},,,,",
                p50[second], p90[second], p99[second], p999[second]
            );
        }
    }
    out
}

/// As RFC 4180 has it.
fn quoted(text: &str) -> String {
    if text.contains([',', '"', '\n']) { format!("\"{}\"", text.replace('"', "\"\"")) } else { text.to_owned() }
}
