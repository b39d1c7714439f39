//! What is read of a call is bounded, and its facts are read back as they are written.
#![no_main]

use libfuzzer_sys::fuzz_target;
use openmic_wire::call;
use openmic_wire::notification::{self, ChangeType, Data, Item, Outgoing};

fuzz_target!(|data: &[u8]| {
    let Ok(answer) = call::decode(data) else {
        return;
    };
    assert!(answer.id.as_str().len() <= 256);
    assert!(answer.thread_id.as_ref().is_none_or(|id| id.len() <= 1024));
    let told = notification::encode(&[Outgoing {
        call: &answer.id,
        callback_uri: "https://bot.example/",
        change: ChangeType::Updated,
        data: Data::Facts(&answer.facts),
    }]);
    let batch = notification::decode(&told).expect("we wrote it");
    let [one] = &batch.notifications[..] else {
        panic!("{batch:?}");
    };
    assert_eq!(one.call.as_ref(), Some(&answer.id));
    assert_eq!(one.item, Item::Call(answer.facts));
});
