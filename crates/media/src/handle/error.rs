use std::io;
use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::time::Duration;

use openmic_model::ParticipantId;

use super::spec::MAX_SLOTS;

/// Why a participant has no media.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum JoinError {
    /// An address no RTP can be sent to.
    #[error("{0} is no address to send RTP to; declare a unicast address and a port above 0")]
    Address(SocketAddr),
    /// IPv4 offered to an IPv6 service, or the other way round.
    #[error("{remote} is of another address family than the service's {bind}")]
    Family {
        /// What was declared.
        remote: SocketAddr,
        /// What the sockets are bound to.
        bind: IpAddr,
    },
    /// No way leads from the service's media address there, as from loopback to the internet.
    #[error(
        "nothing can be sent to {remote} from {bind}, where the service's media is bound; \
             declare an address it can reach"
    )]
    Unroutable {
        /// What was declared.
        remote: SocketAddr,
        /// What the sockets are bound to.
        bind: IpAddr,
        /// The system's reason.
        #[source]
        source: io::Error,
    },
    /// One of the ports that legs are given: their packets would go round in circles.
    #[error("{0} is one of the service's own media ports; declare where the participant listens")]
    OwnPort(SocketAddr),
    /// A payload type that cannot be told from RTCP, or that has more than seven bits.
    #[error("payload type {0} cannot be used: take one of 0 to 63 or 96 to 127 (RFC 5761)")]
    PayloadType(u8),
    /// A clock that does not tick.
    #[error("the clock rate is 0; declare the codec's, such as 48000 for Opus")]
    ClockRate,
    /// Too many lines to receive on.
    #[error("{0} lines to receive on are more than the {MAX_SLOTS} a participant may have")]
    Slots(usize),
    /// The id is in this meeting.
    #[error("participant {0} is in this meeting already; leave first")]
    Duplicate(ParticipantId),
    /// The range is used up.
    #[error(
        "no free pair of ports in {}-{}: widen the range or end a call",
        range.start(),
        range.end()
    )]
    NoPort {
        /// Where it was looked for.
        range: RangeInclusive<u16>,
    },
    /// The system refused a socket.
    #[error(
        "cannot open a media socket on {addr}; check the bind address and the limit of open files"
    )]
    Socket {
        /// Which local address was asked for.
        addr: SocketAddr,
        /// The system's reason.
        #[source]
        source: io::Error,
    },
    /// The thread did not answer.
    #[error("the media thread did not answer within {0:?}; it is overloaded")]
    TimedOut(Duration),
    /// Shut down.
    #[error("media has been shut down")]
    Stopped,
}

/// Why an unmute did not open the gate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// A later mute came first; its epoch.
    #[error("a later mute overtook the unmute (epoch {0}); the participant is muted")]
    Overtaken(u64),
    /// The participant left.
    #[error("the participant has left the meeting's media")]
    Gone,
}

/// Why a mute cannot promise yet that nothing leaves. The gate is closed all the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FenceError {
    /// The thread did not answer.
    #[error("the gate is closed, but the media thread did not confirm it within {0:?}; mute again")]
    TimedOut(Duration),
    /// Shut down: nothing is forwarded at all.
    #[error("media has been shut down")]
    Stopped,
}

/// The participant is not (or no longer) in a meeting.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the participant has left the meeting's media")]
pub struct LegGone;
