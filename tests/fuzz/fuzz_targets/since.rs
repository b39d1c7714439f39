//! A version that was read is printed as one that reads the same.
#![no_main]

use libfuzzer_sys::fuzz_target;
use openmic_model::Version;

fuzz_target!(|data: &[u8]| {
    let Some(text) = openmic_fuzz::text(data) else {
        return;
    };
    if let Ok(version) = text.parse::<Version>() {
        assert_eq!(version.to_string().parse(), Ok(version));
    }
    if let Some(version) = openmic_edge::fuzzing::since(text) {
        let query = format!("since={version}");
        assert_eq!(openmic_edge::fuzzing::since(&query), Some(version));
    }
});
