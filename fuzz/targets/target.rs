//! A target as users write it: what is read and printed must read the same.
#![no_main]

use lb_core::Target;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let known = |scheme: &str| ["dns", "static", "consul"].contains(&scheme);
    if let Ok(target) = Target::parse(text, &known) {
        let printed = target.to_string();
        let again = Target::parse(&printed, &known).map(|again| again.to_string());
        assert_eq!(again.as_ref(), Ok(&printed), "{text:?}");
    }
});
