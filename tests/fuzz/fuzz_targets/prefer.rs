//! No preference makes a caller wait longer than five minutes.
#![no_main]

use std::time::Duration;

use http::header::{HeaderMap, HeaderName, HeaderValue};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let mut headers = HeaderMap::new();
    for line in data.split(|byte| *byte == b'\n').take(8) {
        if let Ok(value) = HeaderValue::from_bytes(line) {
            headers.append(HeaderName::from_static("prefer"), value);
        }
    }
    if let Some(limit) = openmic_edge::fuzzing::prefer(&headers) {
        assert!(limit <= Duration::from_mins(5));
    }
});
