//! The publishing side of the tests, and sockets.
#![allow(clippy::unwrap_used, reason = "in a test an unwrap is an assertion")]

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use openmic_hub::{CallFrame, Hub, HubConfig, OperationFrame, Subscribe, Topic};
use openmic_model::{
    Action, CallId, Change, ClientContext, Evidence, Identity, IdentityKind, MediaStream,
    OperationId, Participant, ParticipantId, Roster, RosterSeen, RosterVersion, Verdict, Version,
};
use prometheus::Registry;
use serde_json::{Value, json};
use socket2::{Domain, Socket, Type};

use crate::watcher::Watcher;

/// A step that takes this long is a failure, not a slow machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) fn call(name: &str) -> CallId {
    CallId::parse(name).unwrap()
}

pub(crate) fn hub(change: impl FnOnce(&mut HubConfig)) -> Hub {
    let mut config = HubConfig {
        shards: 1,
        // tests that are about these set them; a busy machine may stall the others for long
        slow_after: Duration::from_mins(5),
        ping_interval: Duration::from_mins(5),
        ..HubConfig::default()
    };
    change(&mut config);
    Hub::start(config).unwrap()
}

/// What the kernel may hold between the two ends.
#[derive(Clone, Copy)]
pub(crate) enum Buffers {
    Default,
    /// A few KiB, so that a stalled reader is noticed soon.
    Small,
}

/// Two ends of one connection: the client's, the hub's.
pub(crate) fn pair(buffers: Buffers) -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let client = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    if let Buffers::Small = buffers {
        client.set_recv_buffer_size(4096).unwrap();
    }
    let address: SocketAddr = listener.local_addr().unwrap();
    client.connect(&address.into()).unwrap();
    let (server, _) = listener.accept().unwrap();
    if let Buffers::Small = buffers {
        socket2::SockRef::from(&server)
            .set_send_buffer_size(4096)
            .unwrap();
    }
    (client.into(), server)
}

pub(crate) fn watch(hub: &Hub, call: &CallId, options: Subscribe, buffers: Buffers) -> Watcher {
    let (client, server) = pair(buffers);
    hub.subscribe(call, server, Bytes::new(), options).unwrap();
    Watcher::new(client)
}

pub(crate) fn participant(index: usize, muted: bool) -> Arc<Participant> {
    Arc::new(Participant {
        id: ParticipantId::parse(&format!("participant-{index}")).unwrap(),
        identity: Identity {
            kind: IdentityKind::User,
            id: Some(format!("user-{index}")),
            display_name: Some(format!("Somebody \"{index}\" é")),
        },
        is_muted: muted,
        in_lobby: false,
        roster_sequence_number: Some(index as u64),
        streams: vec![MediaStream {
            media_type: "audio".into(),
            label: Some("main-audio".into()),
            source_id: index.to_string(),
            direction: "sendReceive".into(),
            server_muted: Some(muted),
        }],
    })
}

/// What a subscriber should read of `participant`; written out by hand, since it is the contract.
fn expected(participant: &Participant) -> Value {
    let index = participant.roster_sequence_number.unwrap();
    json!({
        "id": format!("participant-{index}"),
        "identity": {
            "kind": "user",
            "id": format!("user-{index}"),
            "displayName": format!("Somebody \"{index}\" é"),
        },
        "isMuted": participant.is_muted,
        "serverMuted": participant.is_muted,
        "isInLobby": false,
        "rosterSequenceNumber": index,
        "streams": [{
            "mediaType": "audio",
            "label": "main-audio",
            "sourceId": index.to_string(),
            "direction": "sendReceive",
            "serverMuted": participant.is_muted,
        }],
    })
}

/// A call's actor, as far as the hub sees it.
pub(crate) struct Publisher {
    pub(crate) topic: Topic,
    pub(crate) version: Version,
    pub(crate) roster: Roster,
    call: CallId,
}

impl Publisher {
    pub(crate) fn new(hub: &Hub, call: &CallId) -> Self {
        Self {
            topic: hub.topic(call.clone()),
            version: Version { epoch: 7, seq: 0 },
            roster: Roster::default(),
            call: call.clone(),
        }
    }

    pub(crate) fn publish(&mut self, changes: &[Change]) {
        self.version.seq += 1;
        for change in changes {
            self.roster.apply(change);
        }
        self.topic.publish(RosterVersion {
            call: self.call.clone(),
            version: self.version,
            roster: Arc::new(self.roster.clone()),
            changes: changes.into(),
        });
    }

    /// A version in which `index` is muted or not.
    pub(crate) fn mute(&mut self, index: usize, muted: bool) {
        self.publish(&[Change::Upsert(participant(index, muted))]);
    }

    /// A first version with `count` participants.
    pub(crate) fn fill(&mut self, count: usize) {
        let changes: Vec<_> = (0..count)
            .map(|index| Change::Upsert(participant(index, false)))
            .collect();
        self.publish(&changes);
    }

    pub(crate) fn operation(&self, number: usize) {
        self.topic.operation(OperationFrame {
            operation: OperationId::parse(&format!("operation-{number}")).unwrap(),
            action: Action::Unmute,
            client_context: Some(ClientContext::parse("mine").unwrap()),
            status: "completed",
            verdict: Some(Verdict::Confirmed {
                evidence: Evidence::Roster,
                roster: RosterSeen::Fresh,
            }),
        });
    }

    pub(crate) fn state(&self, state: &'static str) {
        self.topic.call_state(CallFrame {
            state,
            result: None,
        });
    }

    /// The roster as a subscriber should have it.
    pub(crate) fn expected(&self) -> BTreeMap<String, Value> {
        expected_of(&self.roster)
    }
}

/// `roster` as a subscriber should have it.
pub(crate) fn expected_of(roster: &Roster) -> BTreeMap<String, Value> {
    roster
        .iter()
        .map(|entry| (entry.id.as_str().to_owned(), expected(entry)))
        .collect()
}

/// The value of a counter or gauge, summed over the labels that contain `label`.
pub(crate) fn metric(hub: &Hub, name: &str, label: &str) -> f64 {
    let registry = Registry::new();
    hub.metrics().register(&registry).unwrap();
    let families = registry.gather();
    let family = families.iter().find(|family| family.name() == name);
    let family = family.unwrap_or_else(|| panic!("no metric {name}"));
    let labelled = family
        .get_metric()
        .iter()
        .filter(|metric| label.is_empty() || metric.get_label().iter().any(|l| l.value() == label));
    labelled
        .map(|metric| {
            #[expect(clippy::cast_precision_loss, reason = "small counts")]
            let observed = metric.get_histogram().get_sample_count() as f64;
            metric.get_counter().get_value() + metric.get_gauge().get_value() + observed
        })
        .sum()
}

/// Waits until `holds`; for what the hub does in its own time and tells nobody.
pub(crate) fn eventually(what: &str, holds: impl Fn() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < PATIENCE, "never: {what}");
        std::thread::yield_now();
    }
}

/// Memory of this process that is in RAM.
#[allow(dead_code, reason = "for the binaries that measure memory")]
pub(crate) fn resident_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:"));
    let number = line.unwrap().split_whitespace().nth(1).unwrap();
    number.parse().unwrap()
}
