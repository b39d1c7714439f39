//! What our server publishes: versions of a roster.

use std::io::Read as _;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use anyhow::ensure;
use bytes::Bytes;
use openmic_hub::{Hub, HubConfig, Subscribe};
use openmic_model::{
    CallId, Change, Identity, IdentityKind, Participant, ParticipantId, Roster, RosterVersion,
    Version,
};

/// Bytes of a delta for each entry in it.
const ENTRY: usize = 256;
/// What a delta has besides its entries, and an entry besides its name, in bytes.
const ENVELOPE: usize = 141;
const NAMELESS: usize = 158;

/// A delta exactly as the hub puts it on the wire, header included, of about `bytes`.
///
/// # Errors
/// When the hub does not deliver it.
pub fn delta_frame(bytes: usize) -> anyhow::Result<Bytes> {
    let hub = Hub::start(HubConfig::default())?;
    let call = CallId::parse("00000000-0000-4000-8000-000000000000");
    let mut history = History::new(call.expect("a call's id"), bytes);
    let topic = hub.topic(history.call.clone());
    topic.publish(history.next());
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let mut client = TcpStream::connect(listener.local_addr()?)?;
    client.set_read_timeout(Some(Duration::from_secs(10)))?;
    let (server, _) = listener.accept()?;
    hub.subscribe(&history.call, server, Bytes::new(), Subscribe::default())?;
    read_frame(&mut client)?;
    topic.publish(history.next());
    read_frame(&mut client)
}

/// One text frame of 126 to 65,535 bytes of payload, which such rosters have.
pub(crate) fn read_frame(client: &mut TcpStream) -> anyhow::Result<Bytes> {
    let mut frame = vec![0; 4];
    client.read_exact(&mut frame)?;
    ensure!(
        frame[..2] == [0x81, 126],
        "no text frame of medium length but {frame:?}"
    );
    let length = u16::from_be_bytes([frame[2], frame[3]]);
    frame.resize(4 + usize::from(length), 0);
    client.read_exact(&mut frame[4..])?;
    Ok(frame.into())
}

/// The versions of one call in which some participants, one for 350 B, are muted and unmuted in
/// turn; two more are there. Its deltas are all the same but for a few bytes: the numbers have the
/// same digits throughout, and names are as long as it takes.
#[derive(Debug)]
pub(crate) struct History {
    call: CallId,
    version: Version,
    roster: Roster,
    /// Participants that change, and how long their names are.
    changing: usize,
    name: usize,
}

impl History {
    /// With deltas of about `bytes`.
    pub(crate) fn new(call: CallId, bytes: usize) -> Self {
        let changing = (bytes / ENTRY).max(1);
        let mut roster = Roster::default();
        for number in 1..=2 {
            roster.apply(&Change::Upsert(participant(number, 8, false)));
        }
        Self {
            call,
            version: Version {
                epoch: 1,
                seq: 1_000_000,
            },
            roster,
            changing,
            name: (bytes.saturating_sub(ENVELOPE) / changing).saturating_sub(NAMELESS),
        }
    }

    pub(crate) fn next(&mut self) -> RosterVersion {
        self.version.seq += 1;
        let muted = self.version.seq.is_multiple_of(2);
        let changes: Vec<_> = (0..self.changing)
            .map(|number| Change::Upsert(participant(number + 10, self.name, muted)))
            .collect();
        for change in &changes {
            self.roster.apply(change);
        }
        RosterVersion {
            call: self.call.clone(),
            version: self.version,
            roster: Arc::new(self.roster.clone()),
            changes: changes.into(),
        }
    }
}

fn participant(number: usize, name: usize, muted: bool) -> Arc<Participant> {
    Arc::new(Participant {
        id: ParticipantId::parse(&format!("p{number}")).expect("a short id"),
        identity: Identity {
            kind: IdentityKind::User,
            id: Some(format!("u{number}")),
            display_name: Some("n".repeat(name)),
        },
        is_muted: muted,
        in_lobby: false,
        roster_sequence_number: Some(1),
        streams: Vec::new(),
    })
}

#[cfg(test)]
mod tests {
    use super::delta_frame;

    #[test]
    fn the_delta_is_as_long_as_the_bench_says() {
        for (bytes, around) in [(350, 349..=350), (4096, 4080..=4096)] {
            let frame = delta_frame(bytes).expect("a frame");
            let text = str::from_utf8(&frame[4..]).expect("a text frame");
            assert!(text.contains(r#""type":"delta""#), "{text}");
            assert!(around.contains(&frame.len()), "{}: {text}", frame.len());
        }
    }
}
