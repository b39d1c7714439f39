use std::net::SocketAddr;

use openmic_media::{
    Codec, FenceError, JoinError, JoinSpec, Leg, LegGone, LegStats, Media, Receive,
};
use openmic_model::{MediaStream, ParticipantId};
use uuid::Uuid;

use crate::sdp::{Answer, Direction, Listing, Offer, Payload};

/// A participant's audio path, and what its offer and our answer said about it.
#[derive(Debug)]
pub(crate) struct MediaLeg {
    leg: Leg,
    payload: Payload,
    /// Where it listens, as declared; empty when it is to be found by its first packet.
    listens: Vec<SocketAddr>,
    session: u64,
    /// The SDP answer.
    pub(crate) answer: String,
    pub(crate) direction: Direction,
}

impl MediaLeg {
    /// Puts a participant into the meeting's media as its offer asks, with the gate open or closed.
    pub(crate) async fn join(
        media: &Media,
        meeting: &str,
        participant: &ParticipantId,
        offer: &Offer,
        open: bool,
    ) -> Result<Self, JoinError> {
        let payload = offer.payload();
        let codec = match payload.encoding.to_ascii_lowercase().as_str() {
            "opus" => Codec::Opus,
            "pcmu" => Codec::Pcmu,
            "pcma" => Codec::Pcma,
            _ => Codec::Other,
        };
        let main = offer.main();
        let receiving: Vec<Option<SocketAddr>> = offer.receiving().collect();
        let mut spec = JoinSpec::new(participant.clone(), codec);
        spec.payload_type = payload.number;
        spec.clock_rate = payload.clock_rate;
        spec.ssrc = main.ssrc;
        spec.remote = main.destination();
        spec.sends = main.direction.sends();
        spec.starts_open = open;
        spec.level_extension = main.audio_level;
        let listens: Vec<SocketAddr> = receiving.iter().copied().flatten().collect();
        spec.receive = match receiving.len() {
            0 => Receive::None,
            1 if main.direction.receives() => Receive::Multi,
            _ => Receive::Split(listens.clone()),
        };
        let joined = media.join(meeting, spec).await?;
        let (session, _) = Uuid::new_v4().as_u64_pair();
        // RFC 8866 §5.2 wants a number; JavaScript reads 53 bits of it exactly.
        let session = session >> 11;
        let answer = Answer {
            local: joined.local_addr,
            split: &joined.split_addrs,
            session,
        }
        .write(offer);
        Ok(Self {
            leg: joined.leg,
            payload: payload.clone(),
            listens,
            session,
            answer,
            direction: main.direction,
        })
    }

    /// Lets it be heard. A participant that is gone stays unheard, which is no error here.
    pub(crate) async fn open(&self) {
        if let Err(error) = self.leg.open().await {
            tracing::debug!(%error, "a gate was not opened");
        }
    }

    /// Stops it from being heard; once this answers `Ok`, nothing that arrives is forwarded.
    pub(crate) async fn close(&self) -> Result<(), FenceError> {
        self.leg.close().await.map(|_| ())
    }

    pub(crate) async fn leave(&self) {
        self.leg.leave().await;
    }

    pub(crate) async fn stats(&self) -> Result<LegStats, LegGone> {
        self.leg.stats().await
    }

    /// The description of what it receives, for a plain receiver. `None` while nobody knows where
    /// it listens.
    pub(crate) async fn listing(&self) -> Option<String> {
        let at = if self.listens.is_empty() {
            vec![self.leg.stats().await.ok()?.latched?]
        } else {
            self.listens.clone()
        };
        let listing = Listing {
            at,
            payload: &self.payload,
        };
        Some(listing.write(self.session))
    }
}

/// The one audio stream of a roster entry. Source: Graph `mediaStream` resource.
pub(crate) fn audio_stream(source: u64, direction: Direction) -> MediaStream {
    let direction = match direction {
        Direction::SendRecv => "sendReceive",
        Direction::SendOnly => "sendOnly",
        Direction::RecvOnly => "receiveOnly",
        Direction::Inactive => "inactive",
    };
    MediaStream {
        media_type: "audio".to_owned(),
        label: Some("main-audio".to_owned()),
        source_id: source.to_string(),
        direction: direction.to_owned(),
        server_muted: Some(false),
    }
}
