//! A bearer token is one word, whatever headers came.
#![no_main]

use http::header::{AUTHORIZATION, HeaderMap, HeaderValue};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let mut headers = HeaderMap::new();
    for line in data.split(|byte| *byte == b'\n').take(8) {
        if let Ok(value) = HeaderValue::from_bytes(line) {
            headers.append(AUTHORIZATION, value);
        }
    }
    if let Ok(token) = openmic_auth::bearer(&headers) {
        assert!(!token.is_empty());
        assert!(!token.contains([' ', '\t', ',']));
        assert_eq!(headers.len(), 1);
    }
});
