//! A roster as frames make it.

use std::collections::BTreeMap;

use serde_json::Value;

/// What a subscriber holds.
#[derive(Debug, Clone, Default)]
pub struct HeldRoster {
    /// Everybody, by id.
    pub entries: BTreeMap<String, Value>,
}

impl HeldRoster {
    /// Applies a `snapshot` or a `delta`.
    pub fn apply(&mut self, frame: &Value) {
        if frame["type"] == "snapshot" {
            self.entries.clear();
        }
        for member in ["participants", "changed"] {
            for entry in frame[member].as_array().into_iter().flatten() {
                let id = entry["id"].as_str().unwrap_or_default();
                self.entries.insert(id.to_owned(), entry.clone());
            }
        }
        for id in frame["removed"].as_array().into_iter().flatten() {
            self.entries.remove(id.as_str().unwrap_or_default());
        }
    }

    /// Its hash as the contract has it: the sum of the FNV-1a hashes of the entries' texts.
    pub fn hash(&self) -> u64 {
        let entries = self
            .entries
            .values()
            .map(|entry| fnv(text(entry).as_bytes()));
        entries.fold(0, u64::wrapping_add)
    }
}

fn fnv(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

/// An entry as the frame has it; a parsed one does not keep the order of its members.
fn text(entry: &Value) -> String {
    let identity = &entry["identity"];
    let streams: Vec<_> = entry["streams"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|stream| {
            format!(
                r#"{{"mediaType":{},"label":{},"sourceId":{},"direction":{},"serverMuted":{}}}"#,
                stream["mediaType"],
                stream["label"],
                stream["sourceId"],
                stream["direction"],
                stream["serverMuted"],
            )
        })
        .collect();
    format!(
        r#"{{"id":{},"identity":{{"kind":{},"id":{},"displayName":{}}},"isMuted":{},"serverMuted":{},"isInLobby":{},"rosterSequenceNumber":{},"streams":[{}]}}"#,
        entry["id"],
        identity["kind"],
        identity["id"],
        identity["displayName"],
        entry["isMuted"],
        entry["serverMuted"],
        entry["isInLobby"],
        entry["rosterSequenceNumber"],
        streams.join(","),
    )
}
