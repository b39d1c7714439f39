use std::fmt::Write as _;
use std::net::{IpAddr, SocketAddr};

use super::{Direction, Line, Offer, Payload};

/// What the answer to an offer says beyond the offer itself.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Answer<'a> {
    /// The service's own RTP address for this participant.
    pub(crate) local: SocketAddr,
    /// From where each receiving line is sent to, when there are several.
    pub(crate) split: &'a [SocketAddr],
    /// Identifies the session in the `o=` line; any number.
    pub(crate) session: u64,
}

impl Answer<'_> {
    /// Writes the answer: every line of the offer in its order, the refused ones with port 0.
    /// Source: RFC 3264 §6.
    pub(crate) fn write(&self, offer: &Offer) -> String {
        let mut out = String::with_capacity(512);
        head(&mut out, self.session, self.local.ip());
        // The main line is where the offerer sends to, whoever sends to it.
        let main_receives = usize::from(offer.main().direction.receives());
        let mut split = self.split.iter().skip(main_receives);
        for (at, line) in offer.lines.iter().enumerate() {
            if at != offer.main && !offer.takes(line) {
                refuse(&mut out, line);
                continue;
            }
            let payload = line
                .payloads
                .iter()
                .find(|p| p.is(&offer.payload.encoding) && p.clock_rate == offer.payload.clock_rate)
                .unwrap_or(&offer.payload);
            let tone = offer.tone.as_ref().filter(|_| at == offer.main);
            let local = if at == offer.main {
                &self.local
            } else {
                split.next().unwrap_or(&self.local)
            };
            audio(
                &mut out,
                local.port(),
                payload,
                tone,
                line.direction.mirrored(),
            );
        }
        out
    }
}

/// One stream of [`Listing`]: where its packets arrive and what they carry.
#[derive(Debug, Clone)]
pub(crate) struct Listing<'a> {
    /// Where the receiver listens.
    pub(crate) at: Vec<SocketAddr>,
    /// What it receives.
    pub(crate) payload: &'a Payload,
}

impl Listing<'_> {
    /// Writes the description a plain receiver (ffmpeg) opens to hear what is sent to `at`.
    pub(crate) fn write(&self, session: u64) -> String {
        let mut out = String::with_capacity(512);
        let first = self
            .at
            .first()
            .map_or(IpAddr::from([127, 0, 0, 1]), SocketAddr::ip);
        head(&mut out, session, first);
        for at in &self.at {
            audio(&mut out, at.port(), self.payload, None, Direction::RecvOnly);
        }
        out
    }
}

fn head(out: &mut String, session: u64, ip: IpAddr) {
    let family = if ip.is_ipv4() { "IP4" } else { "IP6" };
    put(
        out,
        format_args!(
            "v=0\r\no=- {session} 1 IN {family} {ip}\r\ns=openmic\r\nc=IN {family} {ip}\r\nt=0 0\r\n"
        ),
    );
}

fn audio(
    out: &mut String,
    port: u16,
    payload: &Payload,
    tone: Option<&Payload>,
    direction: Direction,
) {
    put(
        out,
        format_args!("m=audio {port} RTP/AVP {}", payload.number),
    );
    if let Some(tone) = tone {
        put(out, format_args!(" {}", tone.number));
    }
    out.push_str("\r\n");
    for payload in std::iter::once(payload).chain(tone) {
        let Payload {
            number,
            encoding,
            clock_rate,
            ..
        } = payload;
        put(
            out,
            format_args!("a=rtpmap:{number} {encoding}/{clock_rate}"),
        );
        if let Some(channels) = payload.channels {
            put(out, format_args!("/{channels}"));
        }
        out.push_str("\r\n");
        if let Some(fmtp) = &payload.fmtp {
            put(out, format_args!("a=fmtp:{number} {fmtp}\r\n"));
        }
    }
    put(out, format_args!("a={}\r\n", direction.as_str()));
}

fn refuse(out: &mut String, line: &Line) {
    let first = line.formats.first().map_or("0", String::as_str);
    put(
        out,
        format_args!("m={} 0 {} {first}\r\n", line.media, line.protocol),
    );
}

fn put(out: &mut String, text: std::fmt::Arguments<'_>) {
    out.write_fmt(text)
        .expect("writing to a String cannot fail");
}
