//! The disk cache of the last good set.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| lb_resolver_compose::fuzzing::cache_file(bytes));
