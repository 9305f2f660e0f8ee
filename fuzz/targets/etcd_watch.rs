//! What an etcd member answers to a range and tells a watch.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| lb_resolver_etcd::fuzzing::watch(bytes));
