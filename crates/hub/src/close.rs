use bytes::Bytes;
use tokio_tungstenite::tungstenite::protocol::frame::coding::Control;

use crate::frame;

/// Close code: the call is over, there is nothing to reconnect to.
pub const CALL_ENDED: u16 = 4004;
/// Close code: frames that may not be left out did not fit, or the version that the subscriber
/// states stays behind what it was sent; reconnect, read operations by GET.
pub const RESYNC: u16 = 4010;
/// Close code: the token that let the subscriber in expired; reconnect with a new one.
pub const TOKEN_EXPIRED: u16 = 4401;
/// Close code: the service restarts (RFC 6455, 7.4.1 and the IANA registry).
pub const SERVICE_RESTART: u16 = 1012;

/// One code that a subscriber may be closed with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CloseCode {
    /// As in the close frame (RFC 6455, 7.4).
    pub code: u16,
    /// What happened.
    pub meaning: &'static str,
    /// What a subscriber does about it.
    pub remedy: &'static str,
}

/// Every code that the hub closes a subscriber with by itself. [`Hub::close_all`](crate::Hub::close_all)
/// takes others too, and a subscriber's own close is answered with its own code.
pub const CLOSE_CODES: [CloseCode; 8] = [
    CloseCode {
        code: 1002,
        meaning: "the peer broke RFC 6455",
        remedy: "mend the client",
    },
    CloseCode {
        code: 1007,
        meaning: "a text message was not UTF-8",
        remedy: "mend the client",
    },
    CloseCode {
        code: 1008,
        meaning: "too many messages: 20 in a second by default",
        remedy: "send less",
    },
    CloseCode {
        code: 1009,
        meaning: "a message was over 16 KiB",
        remedy: "send less",
    },
    CloseCode {
        code: SERVICE_RESTART,
        meaning: "the service restarts",
        remedy: "reconnect with `since` after a random wait",
    },
    CloseCode {
        code: CALL_ENDED,
        meaning: "call ended",
        remedy: "stop",
    },
    CloseCode {
        code: RESYNC,
        meaning: "resync: too many frames were not taken, or the version it states stays behind",
        remedy: "reconnect with `since`, read operations by GET",
    },
    CloseCode {
        code: TOKEN_EXPIRED,
        meaning: "the token expired",
        remedy: "reconnect with `since` and a new token",
    },
];

/// Longest reason that fits a control frame (RFC 6455, 5.5): 125 bytes less the code.
const MAX_REASON: usize = 123;

/// Why a subscriber was closed; the label of `openmic_subscribers_closed_total`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reason {
    /// It sent a close.
    Client,
    /// Its connection ended without one.
    Gone,
    /// It sent what RFC 6455 forbids.
    Protocol,
    /// It sent a message over the limit.
    TooBig,
    /// It sent too many.
    Flood,
    /// It answered no ping.
    Unresponsive,
    /// It took no byte for too long.
    Slow,
    /// It missed a frame that may not be left out.
    Resync,
    /// Its token expired.
    Expired,
    /// The call ended.
    CallEnded,
    /// The embedder closed all.
    Closed,
}

impl Reason {
    pub(crate) const ALL: [Self; 11] = [
        Self::Client,
        Self::Gone,
        Self::Protocol,
        Self::TooBig,
        Self::Flood,
        Self::Unresponsive,
        Self::Slow,
        Self::Resync,
        Self::Expired,
        Self::CallEnded,
        Self::Closed,
    ];

    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Gone => "gone",
            Self::Protocol => "protocol",
            Self::TooBig => "too_big",
            Self::Flood => "flood",
            Self::Unresponsive => "unresponsive",
            Self::Slow => "slow",
            Self::Resync => "resync",
            Self::Expired => "expired",
            Self::CallEnded => "call_ended",
            Self::Closed => "closed",
        }
    }
}

/// The close frame of `code`; a reason that is too long is cut.
pub(crate) fn close_frame(code: u16, reason: &str) -> Bytes {
    let mut end = reason.len().min(MAX_REASON);
    while !reason.is_char_boundary(end) {
        end -= 1;
    }
    let mut payload = Vec::with_capacity(2 + end);
    payload.extend_from_slice(&code.to_be_bytes());
    payload.extend_from_slice(&reason.as_bytes()[..end]);
    frame::control(Control::Close, &payload)
}

#[cfg(test)]
mod tests {
    use super::{CLOSE_CODES, Reason, close_frame};

    #[test]
    fn a_long_reason_is_cut_between_characters() {
        let frame = close_frame(4010, &"é".repeat(100));
        assert_eq!(frame[..4], [0x88, 2 + 122, 0x0f, 0xaa]);
        assert_eq!(frame.len(), 4 + 122);
        assert!(std::str::from_utf8(&frame[4..]).is_ok());
    }

    #[test]
    fn every_code_stands_in_the_documentation() {
        let documentation = include_str!("lib.rs");
        for entry in CLOSE_CODES {
            let (code, meaning, remedy) = (entry.code, entry.meaning, entry.remedy);
            let row = format!("//! | {code} | {meaning} | {remedy} |");
            assert!(documentation.contains(&row), "{row}");
        }
        let rows = documentation.lines().filter(|line| {
            let cell = line.strip_prefix("//! | ").and_then(|rest| rest.get(..4));
            cell.is_some_and(|code| code.parse::<u16>().is_ok())
        });
        assert_eq!(rows.count(), CLOSE_CODES.len());
    }

    #[test]
    fn reasons_stand_at_their_number() {
        for (at, reason) in Reason::ALL.into_iter().enumerate() {
            assert_eq!(reason as usize, at);
        }
    }
}
