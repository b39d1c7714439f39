use std::io::Read;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::ensure;
use bytes::Bytes;
use openmic_hub::{Hub, HubConfig, Subscribe, Topic};
use openmic_model::{
    CallId, Change, Identity, IdentityKind, MediaStream, Participant, ParticipantId, Roster,
    RosterVersion, Version,
};

use crate::crowd::Crowd;

/// A call with subscribers on a hub with its default settings: pings on, default limits.
#[derive(Debug)]
pub struct Watched {
    // first, so that subscribers stop reading before the hub goes
    crowd: Crowd,
    subscribers: u64,
    history: History,
    topic: Topic,
    _hub: Hub,
}

impl Watched {
    /// Starts the hub, subscribes, and waits until every subscriber has its snapshot.
    ///
    /// # Errors
    /// When sockets or threads are not to be had.
    pub fn start(subscribers: usize) -> anyhow::Result<Self> {
        let hub = Hub::start(HubConfig::default())?;
        let mut history = History::new();
        let topic = hub.topic(history.call.clone());
        topic.publish(history.next());
        let (mut crowd, sockets) = Crowd::seat(subscribers)?;
        crowd.expect(subscribers as u64)?;
        for socket in sockets {
            hub.subscribe(&history.call, socket, Bytes::new(), Subscribe::default())?;
        }
        crowd.arrived()?;
        Ok(Self {
            crowd,
            subscribers: subscribers as u64,
            history,
            topic,
            _hub: hub,
        })
    }

    /// Publishes `rounds` bursts of `burst` versions, each after the last arrival of the one
    /// before; the time from publication to last arrival, summed.
    ///
    /// # Errors
    /// When a frame does not arrive.
    pub fn broadcast(&mut self, rounds: u64, burst: usize) -> anyhow::Result<Duration> {
        let mut sum = Duration::ZERO;
        for _ in 0..rounds {
            let versions: Vec<_> = (0..burst).map(|_| self.history.next()).collect();
            self.crowd.expect(self.subscribers * burst as u64)?;
            let begun = Instant::now();
            for version in versions {
                self.topic.publish(version);
            }
            sum += self.crowd.arrived()? - begun;
        }
        Ok(sum)
    }
}

/// A delta exactly as the hub puts it on the wire, header included, for the limit to send.
///
/// # Errors
/// When the hub does not deliver it.
pub fn delta_frame() -> anyhow::Result<Bytes> {
    let hub = Hub::start(HubConfig::default())?;
    let mut history = History::new();
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

/// One text frame of 126 to 65,535 bytes of payload, which rosters of three have.
fn read_frame(client: &mut TcpStream) -> anyhow::Result<Bytes> {
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

/// The versions of one call in which one of three participants is muted and unmuted in turn. Its
/// deltas have about 350 B, all the same but for two bytes: ids are short for that, and the numbers
/// have the same digits throughout.
#[derive(Debug)]
struct History {
    call: CallId,
    version: Version,
    roster: Roster,
}

impl History {
    fn new() -> Self {
        let mut roster = Roster::default();
        for number in 1..=2 {
            roster.apply(&Change::Upsert(participant(number, false)));
        }
        Self {
            call: CallId::parse("c").expect("a short id"),
            version: Version {
                epoch: 1,
                seq: 1_000_000,
            },
            roster,
        }
    }

    fn next(&mut self) -> RosterVersion {
        self.version.seq += 1;
        let change = Change::Upsert(participant(0, self.version.seq.is_multiple_of(2)));
        self.roster.apply(&change);
        RosterVersion {
            call: self.call.clone(),
            version: self.version,
            roster: Arc::new(self.roster.clone()),
            changes: [change].into(),
        }
    }
}

fn participant(number: usize, muted: bool) -> Arc<Participant> {
    Arc::new(Participant {
        id: ParticipantId::parse(&format!("p{number}")).expect("a short id"),
        identity: Identity {
            kind: IdentityKind::User,
            id: Some(format!("u{number}")),
            display_name: None,
        },
        is_muted: muted,
        in_lobby: false,
        roster_sequence_number: Some(1),
        streams: vec![MediaStream {
            media_type: "audio".to_owned(),
            label: None,
            source_id: number.to_string(),
            direction: "sendReceive".to_owned(),
            server_muted: Some(muted),
        }],
    })
}

#[cfg(test)]
mod tests {
    use super::delta_frame;

    #[test]
    fn the_delta_is_as_long_as_the_bench_says() {
        let frame = delta_frame().expect("a frame");
        let text = str::from_utf8(&frame[4..]).expect("a text frame");
        assert!(text.contains(r#""type":"delta""#), "{text}");
        assert!(
            (340..=360).contains(&frame.len()),
            "{}: {text}",
            frame.len()
        );
    }
}
