//! A participant that was read is written and read back the same, alone and in a list.
#![no_main]

use libfuzzer_sys::fuzz_target;
use openmic_model::CallId;
use openmic_wire::participant;

fuzz_target!(|data: &[u8]| {
    let base = "https://graph.microsoft.com/v1.0";
    let call = CallId::parse("c").expect("an id");
    if let Ok(read) = participant::decode(data) {
        let written = participant::encode(base, &call, &read);
        assert_eq!(participant::decode(&written).expect("we wrote it"), read);
    }
    if let Ok(page) = participant::decode_page(data) {
        let written = participant::encode_list(base, &call, page.participants.iter());
        let again = participant::decode_page(&written).expect("we wrote it");
        assert_eq!(again.participants, page.participants);
        assert_eq!(again.unreadable, 0);
    }
});
