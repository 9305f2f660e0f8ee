//! A watched file of endpoints.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| lb_resolver_static::fuzzing::endpoint_file(bytes));
