//! TXT records with a service config.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| lb_resolver_dns::fuzzing::service_config(bytes));
