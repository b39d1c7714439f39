//! An operation that was read is written and read back the same.
#![no_main]

use libfuzzer_sys::fuzz_target;
use openmic_model::OperationKind;
use openmic_wire::operation::{self, Casing};

fuzz_target!(|data: &[u8]| {
    let Ok(read) = operation::decode(data) else {
        return;
    };
    for casing in [Casing::Camel, Casing::Pascal] {
        let base = "https://graph.microsoft.com/v1.0/";
        let written = operation::encode(base, OperationKind::UnmuteParticipant, &read, casing);
        assert_eq!(operation::decode(&written).expect("we wrote it"), read);
    }
});
