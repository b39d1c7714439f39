use std::fmt;

use serde::{Deserialize, Serialize};

use crate::ParticipantId;

/// Who a participant is. Graph's `identitySet` holds one of several kinds. `Debug` shows no name.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub struct Identity {
    /// Which member of the identity set is filled.
    pub kind: IdentityKind,
    /// The directory's or the service's id of it.
    pub id: Option<String>,
    /// For people; never logged.
    pub display_name: Option<String>,
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let named = self.display_name.as_ref().map(|_| "(a name)");
        f.debug_struct("Identity")
            .field("kind", &self.kind)
            .field("id", &self.id)
            .field("display_name", &named)
            .finish()
    }
}

/// The members of Graph's `communicationsIdentitySet` that openmic tells apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum IdentityKind {
    /// A person of the directory.
    User,
    /// A bot.
    Application,
    /// Somebody without an account.
    Guest,
    /// A telephone.
    Phone,
    /// Anything else, or nothing.
    Other,
}

/// One entry of a roster. Source: Graph `participant` resource.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub struct Participant {
    /// Its id in this meeting.
    pub id: ParticipantId,
    /// Who it is.
    pub identity: Identity,
    /// Muted by itself or by the service.
    pub is_muted: bool,
    /// Waiting to be let in.
    pub in_lobby: bool,
    /// The roster sequence at which this entry last changed; orders versions of one entry.
    pub roster_sequence_number: Option<u64>,
    /// Its media.
    pub streams: Vec<MediaStream>,
}

impl Participant {
    /// Whether the service drops its audio: `serverMuted` of the audio stream, when stated.
    pub fn server_muted(&self) -> Option<bool> {
        self.streams
            .iter()
            .find(|stream| stream.media_type == "audio")?
            .server_muted
    }
}

/// One media stream of a participant. Source: Graph `mediaStream` resource.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub struct MediaStream {
    /// `audio`, `video`, `videoBasedScreenSharing`, `data`.
    pub media_type: String,
    /// Such as `main-audio`.
    pub label: Option<String>,
    /// The stream's number in the meeting.
    pub source_id: String,
    /// Seen from the participant: `sendReceive`, `sendOnly`, `receiveOnly`, `inactive`.
    pub direction: String,
    /// Whether the service drops it; some answers leave it out.
    pub server_muted: Option<bool>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_printed_participant_shows_no_display_name() {
        let participant = Participant {
            id: ParticipantId::parse("p1").unwrap(),
            identity: Identity {
                kind: IdentityKind::User,
                id: Some("u1".to_owned()),
                display_name: Some("k4nar1 of a name".to_owned()),
            },
            is_muted: true,
            in_lobby: false,
            roster_sequence_number: None,
            streams: Vec::new(),
        };
        let printed = format!("{participant:?} {participant:#?}");
        assert!(printed.contains("u1"), "{printed}");
        assert!(!printed.contains("k4nar1"), "{printed}");
    }
}
