//! What a Consul agent answers.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| lb_resolver_consul::fuzzing::answer(bytes));
