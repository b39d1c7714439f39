//! OpenID configurations and documents of keys; an entry without a usable key is passed over.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    openmic_auth::fuzzing::configuration(data);
    // a key without an id is never one
    assert_ne!(openmic_auth::fuzzing::keys(data, ""), Some(true));
});
