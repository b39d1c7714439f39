//! A batch is bounded; what it says of an operation or a call is read back as we write it.
#![no_main]

use libfuzzer_sys::fuzz_target;
use openmic_model::{OperationKind, RosterUpdate};
use openmic_wire::MAX_ITEMS;
use openmic_wire::notification::{self, Data, Item, Outgoing};

fuzz_target!(|data: &[u8]| {
    let Ok(batch) = notification::decode(data) else {
        return;
    };
    assert!(batch.faults.len() <= MAX_ITEMS);
    for fault in &batch.faults {
        assert!(fault.entry < MAX_ITEMS);
    }
    let more = serde_json::Map::new();
    for one in &batch.notifications {
        let Some(call) = &one.call else { continue };
        let data = match &one.item {
            Item::Call(facts) => Data::Facts(facts),
            Item::Operation(operation) if operation.id.is_some() => {
                Data::Operation(OperationKind::MuteParticipant, operation, &more)
            }
            Item::Roster(RosterUpdate::Full(all)) => Data::Full(all.iter().collect()),
            Item::Roster(RosterUpdate::Delta {
                sequence_number: Some(sequence_number),
                entries,
            }) => Data::Delta {
                sequence_number: *sequence_number,
                entries: entries.iter().collect(),
            },
            _ => continue,
        };
        let written = notification::encode(&[Outgoing {
            call,
            callback_uri: "https://bot.example/",
            change: one.change,
            data,
        }]);
        let again = notification::decode(&written).expect("we wrote it");
        assert!(again.faults.is_empty(), "{again:?}");
        assert_eq!(again.notifications.first(), Some(one));
    }
});
