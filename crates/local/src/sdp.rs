//! The little of SDP (RFC 8866) and of offer/answer (RFC 3264) that plain RTP/AVP audio needs.
//!
//! An offer is read whole or refused with the reason; nothing is guessed. What a line of the
//! offer asks for that is not plain RTP audio (video, a second sender) is answered with port 0,
//! as RFC 3264 §6 says.

mod answer;
#[cfg(test)]
mod tests;

pub(crate) use answer::{Answer, Listing};

use std::net::{IpAddr, SocketAddr};

/// Longest offer taken, in bytes. A browser's is about 6 KiB, ours are under 1 KiB.
pub(crate) const MAX_OFFER: usize = 16 * 1024;
/// The discard port (RFC 863): "I listen where I send from".
const DISCARD: u16 = 9;
const MAX_MEDIA: usize = 32;
const MAX_FORMATS: usize = 64;

/// Why an offer was refused. The text goes to the caller as it is.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum SdpError {
    #[error("the SDP offer is longer than {MAX_OFFER} bytes")]
    TooLong,
    #[error("the SDP offer does not begin with v=0; send the offer as text, not encoded")]
    NotSdp,
    #[error("line {0} of the SDP offer is not <letter>=<value> of printable text")]
    BadLine(usize),
    #[error(
        "line {0} of the SDP offer is no c=IN IP4 or IP6 with a numeric unicast address; host names are not looked up"
    )]
    BadConnection(usize),
    #[error("line {0} of the SDP offer is no m=<media> <port> <protocol> <format> ...")]
    BadMedia(usize),
    #[error(
        "line {0} of the SDP offer is no a=rtpmap:<0 to 127> <encoding>/<clock rate>[/<channels>]"
    )]
    BadRtpmap(usize),
    #[error("the SDP offer has more than {MAX_MEDIA} m= lines")]
    TooManyMedia,
    #[error("the SDP offer has no m=audio line with a port other than 0")]
    NoAudio,
    #[error("the m=audio line uses {0}; this service takes plain RTP/AVP")]
    Protocol(String),
    #[error(
        "the m=audio line has no usable payload type; offer one with an a=rtpmap line, such as 111 opus/48000/2 or 0 PCMU/8000"
    )]
    NoPayload,
    #[error(
        "the SDP offer names no c= address to send to; give one, or port 9 to be found by the first packet"
    )]
    NoAddress,
    #[error(
        "of several receiving m=audio lines one names no address and port; only a single line can be found by its packets"
    )]
    Unplaced,
}

/// Which way audio goes, as the offerer sees it. Source: RFC 8866 §6.7.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Direction {
    SendRecv,
    SendOnly,
    RecvOnly,
    Inactive,
}

impl Direction {
    pub(crate) fn sends(self) -> bool {
        matches!(self, Self::SendRecv | Self::SendOnly)
    }

    pub(crate) fn receives(self) -> bool {
        matches!(self, Self::SendRecv | Self::RecvOnly)
    }

    /// The same line as the answerer sees it. Source: RFC 3264 §6.1.
    fn mirrored(self) -> Self {
        match self {
            Self::SendOnly => Self::RecvOnly,
            Self::RecvOnly => Self::SendOnly,
            both => both,
        }
    }

    fn as_str(self) -> &'static str {
        match self {
            Self::SendRecv => "sendrecv",
            Self::SendOnly => "sendonly",
            Self::RecvOnly => "recvonly",
            Self::Inactive => "inactive",
        }
    }

    fn parse(name: &str) -> Option<Self> {
        Some(match name {
            "sendrecv" => Self::SendRecv,
            "sendonly" => Self::SendOnly,
            "recvonly" => Self::RecvOnly,
            "inactive" => Self::Inactive,
            _ => return None,
        })
    }
}

/// One payload type and what it carries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Payload {
    pub(crate) number: u8,
    /// The encoding's name as offered; compared without case.
    pub(crate) encoding: String,
    pub(crate) clock_rate: u32,
    pub(crate) channels: Option<u8>,
    /// The value of `a=fmtp` after the number, if any.
    pub(crate) fmtp: Option<String>,
}

impl Payload {
    pub(crate) fn is(&self, encoding: &str) -> bool {
        self.encoding.eq_ignore_ascii_case(encoding)
    }
}

/// One accepted or refused `m=` line of an offer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Line {
    pub(crate) media: String,
    pub(crate) port: u16,
    pub(crate) protocol: String,
    formats: Vec<String>,
    /// Where the offerer listens, if it said so.
    pub(crate) address: Option<IpAddr>,
    pub(crate) direction: Direction,
    pub(crate) payloads: Vec<Payload>,
    /// `a=ssrc` of the offerer, if declared.
    pub(crate) ssrc: Option<u32>,
    /// The local id of the RFC 6464 audio level extension, if offered.
    pub(crate) audio_level: Option<u8>,
}

impl Line {
    /// Where to send. `None` for a line that receives nothing, and for one that is to be found by its
    /// first packet: port 9 or an unspecified address.
    pub(crate) fn destination(&self) -> Option<SocketAddr> {
        if self.port == DISCARD || !self.direction.receives() {
            return None;
        }
        let address = self.address.filter(|address| !address.is_unspecified())?;
        Some(SocketAddr::new(address, self.port))
    }

    fn check(&self) -> Result<(), SdpError> {
        if self.port == DISCARD || !self.direction.receives() {
            return Ok(());
        }
        // An odd port is taken: RFC 3550 §11 only advises even ones, and clients bind what they get.
        self.address.map(|_| ()).ok_or(SdpError::NoAddress)
    }

    fn is_plain_audio(&self) -> bool {
        self.media == "audio" && self.port != 0 && self.protocol == "RTP/AVP"
    }
}

/// An offer as it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Offer {
    lines: Vec<Line>,
    /// Index of the line that carries the offerer's own audio.
    main: usize,
    payload: Payload,
    /// RFC 4733 events at the audio's clock rate, if offered.
    tone: Option<Payload>,
}

impl Offer {
    /// Reads an offer.
    pub(crate) fn parse(text: &str) -> Result<Self, SdpError> {
        if text.len() > MAX_OFFER {
            return Err(SdpError::TooLong);
        }
        let lines = read_lines(text)?;
        let usable = |line: &Line| line.media == "audio" && line.port != 0;
        let main = lines
            .iter()
            .position(|line| line.is_plain_audio() && line.direction.sends())
            .or_else(|| lines.iter().position(Line::is_plain_audio))
            .or_else(|| lines.iter().position(usable))
            .ok_or(SdpError::NoAudio)?;
        let line = &lines[main];
        if !line.is_plain_audio() {
            return Err(SdpError::Protocol(line.protocol.clone()));
        }
        let audio = |p: &&Payload| !p.is("telephone-event") && !p.is("CN") && !p.is("red");
        let payload = line
            .payloads
            .iter()
            .find(audio)
            .cloned()
            .ok_or(SdpError::NoPayload)?;
        let tone = line
            .payloads
            .iter()
            .find(|p| p.is("telephone-event") && p.clock_rate == payload.clock_rate)
            .cloned();
        let offer = Self {
            lines,
            main,
            payload,
            tone,
        };
        offer.main().check()?;
        for line in offer.extra() {
            line.check()?;
        }
        if offer.receiving().count() > 1 && offer.receiving().any(|at| at.is_none()) {
            return Err(SdpError::Unplaced);
        }
        Ok(offer)
    }

    /// The line with the offerer's own audio; where nothing is sent, its first audio line.
    pub(crate) fn main(&self) -> &Line {
        &self.lines[self.main]
    }

    /// The further `recvonly` lines: each takes one source of the meeting (`media.md` §2.1).
    pub(crate) fn extra(&self) -> impl Iterator<Item = &Line> {
        self.lines
            .iter()
            .enumerate()
            .filter(|(at, line)| *at != self.main && self.takes(line))
            .map(|(_, line)| line)
    }

    /// Where each receiving line listens, the main line first; `None` for a main line that is to be
    /// found by its first packet.
    pub(crate) fn receiving(&self) -> impl Iterator<Item = Option<SocketAddr>> {
        let main = Some(self.main()).filter(|line| line.direction.receives());
        main.into_iter().chain(self.extra()).map(Line::destination)
    }

    fn takes(&self, line: &Line) -> bool {
        line.is_plain_audio()
            && line.direction == Direction::RecvOnly
            && line
                .payloads
                .iter()
                .any(|p| p.is(&self.payload.encoding) && p.clock_rate == self.payload.clock_rate)
    }

    /// The one payload type that was chosen: the offerer's first that carries audio.
    pub(crate) fn payload(&self) -> &Payload {
        &self.payload
    }
}

fn read_lines(text: &str) -> Result<Vec<Line>, SdpError> {
    let mut session_address = None;
    let mut session_direction = None;
    let mut lines: Vec<Line> = Vec::new();
    let mut maps: Vec<(u8, Payload)> = Vec::new();
    let mut params: Vec<(u8, String)> = Vec::new();
    for (at, raw) in text.lines().enumerate() {
        let number = at + 1;
        let raw = raw.trim_end();
        if at == 0 {
            if raw != "v=0" {
                return Err(SdpError::NotSdp);
            }
            continue;
        }
        if raw.is_empty() {
            continue;
        }
        let (kind, value) = match (raw.as_bytes().first(), raw.get(1..2), raw.get(2..)) {
            // Values come back in the answer, where a lone CR would begin a line of the offerer's own.
            (Some(kind), Some("="), Some(value))
                if kind.is_ascii_lowercase() && !value.contains(char::is_control) =>
            {
                (*kind, value)
            }
            _ => return Err(SdpError::BadLine(number)),
        };
        match kind {
            b'm' => {
                finish(lines.last_mut(), &mut maps, &mut params);
                if lines.len() == MAX_MEDIA {
                    return Err(SdpError::TooManyMedia);
                }
                let mut line = media_line(value).ok_or(SdpError::BadMedia(number))?;
                line.address = session_address;
                line.direction = session_direction.unwrap_or(Direction::SendRecv);
                lines.push(line);
            }
            b'c' => {
                let address = connection(value).ok_or(SdpError::BadConnection(number))?;
                match lines.last_mut() {
                    Some(line) => line.address = Some(address),
                    None => session_address = Some(address),
                }
            }
            b'a' => {
                if let Some(direction) = Direction::parse(value) {
                    match lines.last_mut() {
                        Some(line) => line.direction = direction,
                        None => session_direction = Some(direction),
                    }
                } else if let Some(line) = lines.last_mut() {
                    attribute(value, number, line, &mut maps, &mut params)?;
                }
            }
            _ => {}
        }
    }
    finish(lines.last_mut(), &mut maps, &mut params);
    if text.is_empty() {
        return Err(SdpError::NotSdp);
    }
    Ok(lines)
}

fn media_line(value: &str) -> Option<Line> {
    let mut words = value.split_ascii_whitespace();
    let media = words.next()?.to_owned();
    // "<port>/<count>" is for layered streams; the first port is the one.
    let port = words.next()?.split('/').next()?.parse().ok()?;
    let protocol = words.next()?.to_owned();
    let formats: Vec<String> = words.take(MAX_FORMATS).map(str::to_owned).collect();
    if formats.is_empty() {
        return None;
    }
    Some(Line {
        media,
        port,
        protocol,
        formats,
        address: None,
        direction: Direction::SendRecv,
        payloads: Vec::new(),
        ssrc: None,
        audio_level: None,
    })
}

fn connection(value: &str) -> Option<IpAddr> {
    let mut words = value.split_ascii_whitespace();
    let (net, family, address) = (words.next()?, words.next()?, words.next()?);
    let address: IpAddr = match (net, family) {
        ("IN", "IP4") => IpAddr::V4(address.parse().ok()?),
        ("IN", "IP6") => IpAddr::V6(address.parse().ok()?),
        _ => return None,
    };
    (!address.is_multicast()).then_some(address)
}

fn attribute(
    value: &str,
    number: usize,
    line: &mut Line,
    maps: &mut Vec<(u8, Payload)>,
    params: &mut Vec<(u8, String)>,
) -> Result<(), SdpError> {
    let Some((name, rest)) = value.split_once(':') else {
        return Ok(());
    };
    match name {
        "rtpmap" if maps.len() < MAX_FORMATS => {
            let payload = rtpmap(rest).ok_or(SdpError::BadRtpmap(number))?;
            maps.push((payload.number, payload));
        }
        "fmtp" if params.len() < MAX_FORMATS => {
            if let Some((format, text)) = rest.split_once(' ')
                && let Ok(format) = format.parse()
            {
                params.push((format, text.trim().to_owned()));
            }
        }
        "ssrc" if line.ssrc.is_none() => {
            line.ssrc = rest
                .split_ascii_whitespace()
                .next()
                .and_then(|ssrc| ssrc.parse().ok());
        }
        "extmap" => {
            let mut words = rest.split_ascii_whitespace();
            let id = words
                .next()
                .and_then(|id| id.split('/').next()?.parse().ok());
            if words.next() == Some("urn:ietf:params:rtp-hdrext:ssrc-audio-level") {
                // One-byte header extensions have the ids 1 to 14 (RFC 8285 §4.2).
                line.audio_level = id.filter(|id| (1..=14).contains(id));
            }
        }
        _ => {}
    }
    Ok(())
}

fn rtpmap(rest: &str) -> Option<Payload> {
    let (number, coding) = rest.split_once(' ')?;
    let number: u8 = number.parse().ok().filter(|n| *n < 128)?;
    let mut parts = coding.trim().split('/');
    let encoding = parts
        .next()
        .filter(|name| !name.is_empty() && name.len() <= 64)?;
    if !encoding.bytes().all(|b| b.is_ascii_graphic()) {
        return None;
    }
    let clock_rate = parts.next()?.parse().ok().filter(|rate| *rate > 0)?;
    let channels = match parts.next() {
        Some(channels) => Some(channels.parse().ok()?),
        None => None,
    };
    Some(Payload {
        number,
        encoding: encoding.to_owned(),
        clock_rate,
        channels,
        fmtp: None,
    })
}

/// Joins formats, maps and parameters of a media line. Source of the static types: RFC 3551 §6.
fn finish(line: Option<&mut Line>, maps: &mut Vec<(u8, Payload)>, params: &mut Vec<(u8, String)>) {
    let (maps, params) = (std::mem::take(maps), std::mem::take(params));
    let Some(line) = line else { return };
    for format in &line.formats {
        let Ok(number) = format.parse::<u8>() else {
            continue;
        };
        let mapped = maps.iter().find(|(n, _)| *n == number);
        let Some(mut payload) = mapped.map(|(_, p)| p.clone()).or_else(|| fixed(number)) else {
            continue;
        };
        payload.fmtp = params
            .iter()
            .find(|(n, _)| *n == number)
            .map(|(_, text)| text.clone());
        line.payloads.push(payload);
    }
}

fn fixed(number: u8) -> Option<Payload> {
    let (encoding, clock_rate) = match number {
        0 => ("PCMU", 8000),
        3 => ("GSM", 8000),
        8 => ("PCMA", 8000),
        9 => ("G722", 8000),
        13 => ("CN", 8000),
        18 => ("G729", 8000),
        _ => return None,
    };
    Some(Payload {
        number,
        encoding: encoding.to_owned(),
        clock_rate,
        channels: None,
        fmtp: None,
    })
}
