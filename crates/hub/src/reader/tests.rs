use std::io::{self, Read, Write};

use proptest::prelude::*;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocket, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Error, Message};

use super::{Inbound, MAX_MESSAGE, Reader, Violation};

/// A frame as a client sends it.
fn frame(first: u8, payload: &[u8], mask: [u8; 4]) -> Vec<u8> {
    let mut out = vec![first];
    let length = payload.len();
    match u16::try_from(length) {
        Ok(short @ 0..126) => out.push(0x80 | short.to_be_bytes()[1]),
        Ok(medium) => {
            out.push(0xfe);
            out.extend(medium.to_be_bytes());
        }
        Err(_) => {
            out.push(0xff);
            out.extend((length as u64).to_be_bytes());
        }
    }
    out.extend(mask);
    out.extend(payload.iter().zip(mask.iter().cycle()).map(|(b, m)| b ^ m));
    out
}

fn read(chunks: &[&[u8]]) -> (Vec<Inbound>, Result<(), Violation>) {
    let mut reader = Reader::default();
    let mut got = Vec::new();
    for chunk in chunks {
        let result = reader.feed(&mut chunk.to_vec(), |inbound| {
            // tungstenite hands on no parts, and knows of no versions
            match inbound {
                Inbound::Fragment => {}
                Inbound::Position(_) => got.push(Inbound::Message),
                other => got.push(other),
            }
        });
        if result.is_err() || matches!(got.last(), Some(Inbound::Close(_))) {
            return (got, result);
        }
    }
    (got, Ok(()))
}

#[test]
fn nothing_is_kept_between_frames() {
    let mut reader = Reader::default();
    let mut ping = frame(0x89, b"abc", [1, 2, 3, 4]);
    let (start, end) = ping.split_at_mut(5);
    let mut got = Vec::new();
    reader.feed(start, |inbound| got.push(inbound)).unwrap();
    assert!(reader.kept.is_some());
    reader.feed(end, |inbound| got.push(inbound)).unwrap();
    assert!(reader.kept.is_none());
    assert_eq!(got, [Inbound::Ping(b"abc".to_vec())]);
}

#[test]
fn a_message_may_come_in_fragments_with_a_ping_between() {
    let mut bytes = frame(0x01, "é".as_bytes().split_at(1).0, [9; 4]);
    bytes.extend(frame(0x89, b"", [0; 4]));
    bytes.extend(frame(0x80, "é".as_bytes().split_at(1).1, [7; 4]));
    let (got, result) = read(&[&bytes]);
    assert_eq!(got, [Inbound::Ping(Vec::new()), Inbound::Message]);
    assert_eq!(result, Ok(()));
}

#[test]
fn a_text_that_is_a_version_is_one() {
    let version = Inbound::Position("7:12".parse().unwrap());
    let whole = frame(0x81, b"7:12", [3, 1, 4, 1]);
    let parts = [frame(0x01, b"7:", [9; 4]), frame(0x80, b"12", [5; 4])].concat();
    let binary = frame(0x82, b"7:12", [0; 4]);
    let other = frame(0x81, b"7:12 ", [0; 4]);
    let long = frame(0x81, &[b"7:".as_slice(), &[b'1'; 40]].concat(), [0; 4]);
    for (mut bytes, said) in [
        (whole, &version),
        (parts, &version),
        (binary, &Inbound::Message),
        (other, &Inbound::Message),
        (long, &Inbound::Message),
    ] {
        let mut last = None;
        Reader::default()
            .feed(&mut bytes, |inbound| last = Some(inbound))
            .unwrap();
        assert_eq!(last.as_ref(), Some(said));
    }
}

#[test]
fn each_part_of_a_message_is_told() {
    let part = frame(0x00, b"", [0; 4]);
    let mut bytes = [frame(0x02, b"", [0; 4]), part.repeat(3)].concat();
    let mut reader = Reader::default();
    let mut parts = 0;
    let fed = reader.feed(&mut bytes, |inbound| {
        assert_eq!(inbound, Inbound::Fragment);
        parts += 1;
    });
    assert_eq!((fed, parts), (Ok(()), 4));
}

#[test]
fn the_limit_is_for_whole_messages() {
    let half = vec![b'a'; MAX_MESSAGE / 2];
    let fits = [frame(0x01, &half, [1; 4]), frame(0x80, &half, [2; 4])].concat();
    assert_eq!(read(&[&fits]), (vec![Inbound::Message], Ok(())));
    let over = [
        frame(0x01, &half, [1; 4]),
        frame(0x00, &half, [2; 4]),
        frame(0x80, b"a", [3; 4]),
    ];
    assert_eq!(read(&[&over.concat()]).1, Err(Violation::TooBig));
    // said as soon as the header is there
    let header = &frame(0x82, &vec![0; MAX_MESSAGE + 1], [0; 4])[..14];
    assert_eq!(read(&[header]).1, Err(Violation::TooBig));
}

#[test]
fn a_close_ends_the_reading() {
    let bytes = [
        frame(0x88, &[0x03, 0xe8, b'x'], [5; 4]),
        frame(0x81, b"late", [0; 4]),
    ];
    assert_eq!(read(&[&bytes.concat()]).0, [Inbound::Close(Some(1000))]);
    assert_eq!(
        read(&[&frame(0x88, &[0], [0; 4])]).1,
        Err(Violation::Protocol)
    );
    assert_eq!(
        read(&[&frame(0x88, &[0x03, 0xed], [0; 4])]).1,
        Err(Violation::Protocol),
        "1005 is never sent"
    );
}

/// What tungstenite reads from the same bytes.
struct Canned<'a>(&'a [u8]);

impl Read for Canned<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if self.0.is_empty() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        self.0.read(out)
    }
}

impl Write for Canned<'_> {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        Ok(data.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn by_tungstenite(bytes: &[u8]) -> (Vec<Inbound>, bool) {
    let config = WebSocketConfig::default()
        .max_message_size(Some(MAX_MESSAGE))
        .max_frame_size(Some(MAX_MESSAGE));
    let mut socket = WebSocket::from_raw_socket(Canned(bytes), Role::Server, Some(config));
    let mut got = Vec::new();
    loop {
        match socket.read() {
            Ok(Message::Ping(payload)) => got.push(Inbound::Ping(payload.to_vec())),
            Ok(Message::Pong(_)) => got.push(Inbound::Pong),
            Ok(Message::Close(close)) => {
                got.push(Inbound::Close(close.map(|close| close.code.into())));
                return (got, true);
            }
            Ok(_) => got.push(Inbound::Message),
            Err(Error::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => {
                return (got, true);
            }
            Err(_) => return (got, false),
        }
    }
}

fn some_frame() -> impl Strategy<Value = Vec<u8>> {
    let first = prop_oneof![
        6 => prop::sample::select(vec![0x81, 0x82, 0x01, 0x02, 0x00, 0x80, 0x89, 0x8a]),
        1 => Just(0x88),
        1 => any::<u8>(),
    ];
    let payload = prop_oneof![
        4 => "[a-zé]{0,20}".prop_map(String::into_bytes),
        1 => prop::collection::vec(any::<u8>(), 0..200),
        1 => (100..70_000_usize).prop_map(|length| vec![b'a'; length]),
    ];
    (first, payload, any::<[u8; 4]>())
        .prop_map(|(first, payload, mask)| frame(first, &payload, mask))
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn frames_are_read_as_tungstenite_reads_them(
        frames in prop::collection::vec(some_frame(), 1..8),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..6),
    ) {
        let bytes = frames.concat();
        let mut cuts: Vec<_> = cuts.iter().map(|cut| cut.index(bytes.len())).collect();
        cuts.extend([0, bytes.len()]);
        cuts.sort_unstable();
        let chunks: Vec<_> = cuts.windows(2).map(|cut| &bytes[cut[0]..cut[1]]).collect();
        let (got, result) = read(&chunks);
        let (theirs, fine) = by_tungstenite(&bytes);
        // a code that may not be sent is answered by them, refused by us; 1002 in both cases
        let refused_close = theirs.last() == Some(&Inbound::Close(Some(1002)));
        if !(refused_close && result == Err(Violation::Protocol)) {
            prop_assert_eq!(got, theirs);
            prop_assert_eq!(result.is_ok(), fine);
        }
    }

    #[test]
    fn any_bytes_are_read_without_panic(
        bytes in prop::collection::vec(any::<u8>(), 0..300),
        cut in any::<prop::sample::Index>(),
    ) {
        let cut = cut.index(bytes.len() + 1);
        let (whole, _) = read(&[&bytes]);
        let (parts, _) = read(&[&bytes[..cut], &bytes[cut..]]);
        prop_assert_eq!(whole, parts);
    }
}
