//! A `loadBalancingConfig` list.
#![no_main]

use lb_core::PolicyRegistry;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(list) = serde_json::from_slice(bytes) {
        let _ = PolicyRegistry::default().from_list(&list);
    }
});
