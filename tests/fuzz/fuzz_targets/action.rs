//! A context that was read is written and read back the same.
#![no_main]

use libfuzzer_sys::fuzz_target;
use openmic_wire::action;

fuzz_target!(|data: &[u8]| {
    let Ok(Some(context)) = action::decode(data) else {
        return;
    };
    let again = action::decode(&action::encode(&context));
    assert_eq!(again.expect("we wrote it"), Some(context));
});
