//! A service config, and what it means to a few paths.
#![no_main]

use lb_core::PolicyRegistry;
use lb_core::service_config::ServiceConfig;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    match ServiceConfig::parse(text, &PolicyRegistry::default()) {
        Ok(config) => {
            for path in ["", "/", "/a/b", "/orders.v1.Orders/Place", "no slash", text] {
                let _ = config.methods.find(path);
            }
        }
        Err(error) => assert!(!error.field.is_empty() && !error.allowed.is_empty(), "{error}"),
    }
});
