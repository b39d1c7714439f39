//! An entry that is relayed stays as it came but for what a bot must not see: our callback, and our
//! id and context of its operation.
#![no_main]

use libfuzzer_sys::fuzz_target;
use openmic_model::{ClientContext, OperationId};
use openmic_wire::notification;
use openmic_wire::raw::{self, Named, RawEntry};

const OURS: &str = "https://engine.example/callbacks/k";

fuzz_target!(|data: &[u8]| {
    let Ok(batch) = notification::decode(data) else {
        return;
    };
    let id = OperationId::parse("the-bots").expect("an id");
    let context = ClientContext::parse("the bot's").expect("short");
    let theirs = Named {
        callback_uri: "https://bot.example/".to_owned(),
        call_options: None,
    };
    for entry in &batch.raw.entries(|_| true) {
        assert!(sent(entry) == *entry);
        let mut shown = entry.clone();
        shown.readdress(OURS, &theirs);
        let text = raw::encode([&shown]);
        let text = String::from_utf8(text).expect("JSON is text");
        assert!(!text.contains(&format!(":\"{OURS}\"")), "{text}");
        if let Some((_, Some(_))) = entry.operation() {
            let about = entry.about(&id, Some(&context));
            let read = sent(&about).operation();
            assert_eq!(read.and_then(|(_, id)| id), Some(id.clone()));
        }
    }
});

/// The entry as whoever is told reads it.
fn sent(entry: &RawEntry) -> RawEntry {
    let text = raw::encode([entry]);
    let batch = notification::decode(&text).expect("we wrote it");
    let entries = batch.raw.entries(|_| true);
    entries.into_iter().next().expect("one was written")
}
