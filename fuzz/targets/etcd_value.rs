//! A value in etcd.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| lb_resolver_etcd::fuzzing::value(bytes));
