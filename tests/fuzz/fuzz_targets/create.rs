//! A create that was read goes on as it came, but for what we change, and is read back the same.
#![no_main]

use libfuzzer_sys::fuzz_target;
use openmic_wire::create::CreateCall;

fuzz_target!(|data: &[u8]| {
    let Ok(mut create) = CreateCall::decode(data) else {
        return;
    };
    let again = CreateCall::decode(&create.encode()).expect("we wrote it");
    assert!(again == create);
    create.set_callback_uri("https://engine.example/callbacks/k");
    create.set_delta_roster(true);
    let again = CreateCall::decode(&create.encode()).expect("we wrote it");
    assert!(again == create);
    assert!(again.delta_roster());
    assert_eq!(again.callback_uri(), "https://engine.example/callbacks/k");
});
