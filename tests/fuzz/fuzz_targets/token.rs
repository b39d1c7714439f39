//! A token that comes apart is put together of its parts again, and names a key.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Some(token) = openmic_fuzz::text(data) else {
        return;
    };
    if let Ok((kid, message, signature, payload)) = openmic_auth::fuzzing::token(token) {
        assert!(!kid.is_empty());
        assert!(token.starts_with(message) && token.as_bytes()[message.len()] == b'.');
        let parts: Vec<&str> = token.split('.').collect();
        assert_eq!(parts.len(), 3);
        assert!(signature <= parts[2].len() && payload.len() <= parts[1].len());
    }
});
