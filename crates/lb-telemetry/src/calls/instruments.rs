//! The instruments of calls, with gRPC's names, units and buckets.

use opentelemetry::metrics::{Counter, Histogram, Meter};

/// Seconds (gRFC A66).
const LATENCY: [f64; 41] = [
    0.0, 0.000_01, 0.000_05, 0.000_1, 0.000_3, 0.000_6, 0.000_8, 0.001, 0.002, 0.003, 0.004, 0.005, 0.006, 0.008, 0.01, 0.013,
    0.016, 0.02, 0.025, 0.03, 0.04, 0.05, 0.065, 0.08, 0.1, 0.13, 0.16, 0.2, 0.25, 0.3, 0.4, 0.5, 0.65, 0.8, 1.0, 2.0, 5.0, 10.0,
    20.0, 50.0, 100.0,
];

/// Bytes (gRFC A66).
const SIZE: [f64; 14] = [
    0.0,
    1024.0,
    2048.0,
    4096.0,
    16_384.0,
    65_536.0,
    262_144.0,
    1_048_576.0,
    4_194_304.0,
    16_777_216.0,
    67_108_864.0,
    268_435_456.0,
    1_073_741_824.0,
    4_294_967_296.0,
];

/// Retries and hedges (gRFC A96).
const FEW: [f64; 5] = [1.0, 2.0, 3.0, 4.0, 5.0];

/// Transparent retries (gRFC A96).
const SOME: [f64; 6] = [1.0, 2.0, 3.0, 4.0, 5.0, 10.0];

/// What calls are recorded with.
#[derive(Debug)]
pub(crate) struct Instruments {
    pub(super) started: Counter<u64>,
    pub(super) attempt_duration: Histogram<f64>,
    pub(super) sent: Histogram<u64>,
    pub(super) received: Histogram<u64>,
    pub(super) call_duration: Histogram<f64>,
    pub(super) retries: Histogram<u64>,
    pub(super) transparent_retries: Histogram<u64>,
    pub(super) hedges: Histogram<u64>,
    pub(super) retry_delay: Histogram<f64>,
}

impl Instruments {
    pub(crate) fn new(meter: &Meter) -> Self {
        let seconds = |name: &'static str, what: &'static str| {
            meter.f64_histogram(name).with_unit("s").with_description(what).with_boundaries(LATENCY.to_vec()).build()
        };
        let whole = |name: &'static str, unit: &'static str, bounds: &[f64], what: &'static str| {
            meter.u64_histogram(name).with_unit(unit).with_description(what).with_boundaries(bounds.to_vec()).build()
        };
        let started = meter.u64_counter("grpc.client.attempt.started").with_unit("{attempt}");
        Self {
            started: started.with_description("Number of client call attempts started.").build(),
            attempt_duration: seconds("grpc.client.attempt.duration", "End-to-end time taken to complete a client call attempt."),
            sent: whole(
                "grpc.client.attempt.sent_total_compressed_message_size",
                "By",
                &SIZE,
                "Compressed message bytes sent per client call attempt.",
            ),
            received: whole(
                "grpc.client.attempt.rcvd_total_compressed_message_size",
                "By",
                &SIZE,
                "Compressed message bytes received per call attempt.",
            ),
            call_duration: seconds("grpc.client.call.duration", "Time taken by a client call from the application's perspective."),
            retries: whole("grpc.client.call.retries", "{retry}", &FEW, "Number of retries during the client call."),
            transparent_retries: whole(
                "grpc.client.call.transparent_retries",
                "{transparent_retry}",
                &SOME,
                "Number of transparent retries during the client call.",
            ),
            hedges: whole("grpc.client.call.hedges", "{hedge}", &FEW, "Number of hedges during the client call."),
            retry_delay: seconds("grpc.client.call.retry_delay", "Time without an active attempt during the client call."),
        }
    }
}
