use std::collections::BTreeMap;

use bytes::Bytes;
use openmic_model::{
    Action, Change, ClientContext, OperationId, Participant, ParticipantId, ResultInfo, Roster,
    RosterVersion, Verdict,
};
use serde::Serialize;
use tokio_tungstenite::tungstenite::protocol::frame::FrameHeader;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{Control, Data, OpCode};

pub(crate) mod hash;
pub(crate) mod json;

/// Longest header of an unmasked frame (RFC 6455, 5.2).
const MAX_HEADER: usize = 10;
/// Rosters up to this many entries are hashed anew in debug builds, to check the changes.
const MAX_CHECKED: usize = 16;

/// A new state of a call, for subscribers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CallFrame {
    /// The word for it: `establishing`, `muted`, `unmuting`, `terminated`, ...
    pub state: &'static str,
    /// Why, where the service said so.
    pub result: Option<ResultInfo>,
}

/// How a command stands or ended, for subscribers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OperationFrame {
    /// The operation the bot knows.
    pub operation: OperationId,
    /// What was asked.
    pub action: Action,
    /// The bot's own mark.
    pub client_context: Option<ClientContext>,
    /// Graph's word: `running`, `completed`, `failed`.
    pub status: &'static str,
    /// How it ended; nothing while it runs.
    pub verdict: Option<Verdict>,
}

/// The label of `openmic_frames_sent_total`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Snapshot,
    Delta,
    Call,
    Operation,
}

impl Kind {
    pub(crate) const ALL: [Self; 4] = [Self::Snapshot, Self::Delta, Self::Call, Self::Operation];

    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Snapshot => "snapshot",
            Self::Delta => "delta",
            Self::Call => "call",
            Self::Operation => "operation",
        }
    }
}

/// A roster with its hash.
#[derive(Clone, Copy)]
pub(crate) struct Hashed<'a> {
    pub(crate) roster: &'a Roster,
    pub(crate) hash: u64,
}

/// Turns values into whole frames, header included, over one buffer that is kept.
#[derive(Default)]
pub(crate) struct Encoder {
    buffer: Vec<u8>,
}

/// The JSON text of a snapshot frame, for whoever asks for a roster once instead of watching it.
pub fn snapshot_document(version: &RosterVersion) -> Vec<u8> {
    let hash = hash::roster(&version.roster);
    serde_json::to_vec(&json::Snapshot::new(version, hash, false))
        .expect("plain structs always serialise")
}

impl Encoder {
    /// `hash` is of the roster; `reset` tells who has a version already why no deltas come.
    pub(crate) fn snapshot(&mut self, version: &RosterVersion, hash: u64, reset: bool) -> Bytes {
        self.text(&json::Snapshot::new(version, hash, reset))
    }

    /// The frame that leads from the roster `before` to `version`, and the hash it leads to.
    pub(crate) fn delta(&mut self, before: Hashed<'_>, version: &RosterVersion) -> (Bytes, u64) {
        // the last word on each participant, so that the order inside a frame does not matter
        let mut last: BTreeMap<&ParticipantId, Option<&Participant>> = BTreeMap::new();
        for change in version.changes.iter() {
            match change {
                Change::Upsert(participant) => last.insert(&participant.id, Some(participant)),
                Change::Remove(id) => last.insert(id, None),
            };
        }
        let mut hash = before.hash;
        for (id, now) in &last {
            if let Some(had) = before.roster.get(id) {
                hash = hash.wrapping_sub(hash::entry(had));
            }
            if let Some(now) = now {
                hash = hash.wrapping_add(hash::entry(now));
            }
        }
        debug_assert!(
            version.roster.len() > MAX_CHECKED || hash == hash::roster(&version.roster),
            "the changes do not lead to the roster"
        );
        (self.text(&json::Delta::new(version, hash, &last)), hash)
    }

    pub(crate) fn call(&mut self, call: &str, frame: &CallFrame) -> Bytes {
        self.text(&json::Call::new(call, frame))
    }

    pub(crate) fn operation(&mut self, call: &str, frame: &OperationFrame) -> Bytes {
        self.text(&json::Operation::new(call, frame))
    }

    fn text(&mut self, value: &impl Serialize) -> Bytes {
        /// A large roster's buffer is not kept for good.
        const KEEP: usize = 256 * 1024;
        self.buffer.clear();
        self.buffer.resize(MAX_HEADER, 0);
        serde_json::to_writer(&mut self.buffer, value)
            .expect("plain structs with string keys always serialise into memory");
        let mut header = [0; MAX_HEADER];
        let length = self.buffer.len() - MAX_HEADER;
        let used = put_header(OpCode::Data(Data::Text), length, &mut header);
        let start = MAX_HEADER - used;
        self.buffer[start..MAX_HEADER].copy_from_slice(&header[..used]);
        let frame = Bytes::copy_from_slice(&self.buffer[start..]);
        self.buffer.shrink_to(KEEP);
        frame
    }
}

/// A control frame; `payload` is at most 125 bytes (RFC 6455, 5.5).
pub(crate) fn control(kind: Control, payload: &[u8]) -> Bytes {
    debug_assert!(payload.len() <= 125, "control frames are short");
    let mut header = [0; MAX_HEADER];
    let used = put_header(OpCode::Control(kind), payload.len(), &mut header);
    [&header[..used], payload].concat().into()
}

fn put_header(opcode: OpCode, length: usize, out: &mut [u8; MAX_HEADER]) -> usize {
    let header = FrameHeader {
        opcode,
        ..FrameHeader::default()
    };
    let mut rest = &mut out[..];
    header
        .format(length as u64, &mut rest)
        .expect("an unmasked header fits ten bytes");
    MAX_HEADER - rest.len()
}

#[cfg(test)]
mod tests;
