//! The lines of a watch of EndpointSlices.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| lb_resolver_kube::fuzzing::watch(bytes));
