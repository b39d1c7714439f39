//! An answer to an incoming call that was read goes on as it came, but for what we change; so does
//! a rejection.
#![no_main]

use libfuzzer_sys::fuzz_target;
use openmic_wire::answer::{AnswerCall, RejectCall};

fuzz_target!(|data: &[u8]| {
    if let Ok(mut answer) = AnswerCall::decode(data) {
        let again = AnswerCall::decode(&answer.encode()).expect("we wrote it");
        assert!(again == answer);
        answer.set_callback_uri("https://engine.example/callbacks/k");
        answer.set_delta_roster(true);
        let again = AnswerCall::decode(&answer.encode()).expect("we wrote it");
        assert!(again == answer);
    }
    if let Ok(reject) = RejectCall::decode(data) {
        let again = RejectCall::decode(&reject.encode()).expect("we wrote it");
        assert!(again == reject);
    }
});
