//! A token lives a week at most, whatever its endpoint says.
#![no_main]

use std::time::Duration;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    if let Some(life) = openmic_graph::fuzzing::grant(data) {
        assert!(life <= Duration::from_hours(7 * 24));
    }
});
