//! A load report in a trailer, as it travels and as it is inside. What is read can be written and read again.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let _ = lb_orca::trailer::decode(bytes);
    if let Ok(report) = lb_orca::decode(bytes) {
        let mut again = Vec::new();
        lb_orca::encode(&report, &mut again);
        let read = lb_orca::decode(&again).expect("what we write is a report");
        // A latency loses less than a nanosecond on its way, and a count nothing.
        assert_eq!((read.in_flight, read.qps, read.named_metrics.len()), (report.in_flight, report.qps, report.named_metrics.len()));
    }
});
