use proptest::prelude::*;

use super::*;

fn check(packet: &[u8], expected: Result<(usize, usize), Malformed>) {
    let found = View::parse(packet).map(|view| {
        let range = view.payload_range();
        (range.start, range.end)
    });
    assert_eq!(found, expected, "{packet:02x?}");
}

/// A fixed header with this first byte, then `rest`.
fn packet(first: u8, rest: &[u8]) -> Vec<u8> {
    let mut bytes = vec![first, 0x6f, 0x12, 0x34, 0, 0, 0, 9, 0, 0, 0, 7];
    bytes.extend_from_slice(rest);
    bytes
}

#[test]
fn the_parts_of_a_packet_are_found() {
    check(&packet(0x80, b"abc"), Ok((12, 15)));
    check(&packet(0x80, b""), Ok((12, 12)));
    // two contributing sources
    check(&packet(0x82, &[0; 10]), Ok((20, 22)));
    // an extension of one word, then three bytes
    check(
        &packet(0x90, &[0xbe, 0xde, 0, 1, 0x10, 8, 0, 0, 1, 2, 3]),
        Ok((20, 23)),
    );
    // an extension of no words
    check(&packet(0x90, &[0xbe, 0xde, 0, 0, 1]), Ok((16, 17)));
    // padding, and padding only
    check(&packet(0xa0, &[1, 2, 0, 2]), Ok((12, 14)));
    check(&packet(0xa0, &[0, 0, 3]), Ok((12, 12)));
}

#[test]
fn lengths_that_do_not_fit_are_refused() {
    check(&[], Err(Malformed::Short));
    check(&[0x80; 11], Err(Malformed::Short));
    check(&packet(0x40, b"abc"), Err(Malformed::Version(1)));
    check(&packet(0x81, &[0; 3]), Err(Malformed::Csrc));
    check(&packet(0x8f, &[0; 59]), Err(Malformed::Csrc));
    check(&packet(0x90, &[0xbe, 0xde, 0]), Err(Malformed::Extension));
    check(
        &packet(0x90, &[0xbe, 0xde, 0, 2, 0, 0, 0, 0]),
        Err(Malformed::Extension),
    );
    check(
        &packet(0x90, &[0xbe, 0xde, 0xff, 0xff]),
        Err(Malformed::Extension),
    );
    check(&packet(0xa0, &[1, 0]), Err(Malformed::Padding));
    check(&packet(0xa0, &[1, 3]), Err(Malformed::Padding));
    // its last byte belongs to the header
    check(&packet(0xa0, &[]), Err(Malformed::Padding));
}

#[test]
fn the_audio_level_is_read_in_both_forms() {
    let one = packet(0x90, &[0xbe, 0xde, 0, 1, 0, 0x10, 0x80 | 0x1e, 0]);
    let two = packet(0x90, &[0x10, 0x00, 0, 2, 5, 0, 1, 1, 127, 0, 0, 0]);
    let level = |bytes: &[u8]| View::parse(bytes).unwrap().audio_level(1);
    let loud = AudioLevel {
        voice: true,
        below_overload: 30,
    };
    let silent = AudioLevel {
        voice: false,
        below_overload: 127,
    };
    assert_eq!(level(&one), Some(loud));
    assert_eq!(level(&two), Some(silent));
    assert_eq!(View::parse(&one).unwrap().audio_level(2), None);
}

#[test]
fn elements_that_do_not_fit_end_the_walk() {
    // the second says four bytes and has one; id 15 ends; an unknown profile has no elements
    let cut = packet(0x90, &[0xbe, 0xde, 0, 1, 0x10, 1, 0x23, 9]);
    let stop = packet(0x90, &[0xbe, 0xde, 0, 1, 0xf0, 1, 0x10, 9]);
    let other = packet(0x90, &[0xab, 0xac, 0, 1, 0x10, 1, 0x10, 9]);
    let count = |bytes: &[u8]| View::parse(bytes).unwrap().extensions().count();
    assert_eq!(count(&cut), 1);
    assert_eq!(count(&stop), 0);
    assert_eq!(count(&other), 0);
}

proptest! {
    #[test]
    fn any_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300), id in 0..16_u8) {
        if let Ok(view) = View::parse(&bytes) {
            prop_assert!(view.payload_range().start >= HEADER_LEN);
            prop_assert!(view.payload().len() <= bytes.len());
            prop_assert!(view.csrcs().count() <= 15);
            prop_assert!(view.extensions().map(|(_, data)| data.len()).sum::<usize>() <= bytes.len());
            view.audio_level(id);
            view.header();
        }
    }

    #[test]
    fn what_was_built_is_read_back(
        header in any::<(bool, u8, u16, u32, u32)>(),
        csrcs in proptest::collection::vec(any::<u32>(), 0..16),
        extension in proptest::option::of(proptest::collection::vec(any::<[u8; 4]>(), 0..5)),
        payload in proptest::collection::vec(any::<u8>(), 0..200),
        padding in 0..20_u8,
    ) {
        let header = Header {
            marker: header.0,
            payload_type: header.1 & 0x7f,
            sequence: header.2,
            timestamp: header.3,
            ssrc: header.4,
        };
        let mut bytes = header.to_bytes().to_vec();
        bytes[0] |= u8::try_from(csrcs.len()).unwrap();
        bytes.extend(csrcs.iter().flat_map(|csrc| csrc.to_be_bytes()));
        if let Some(words) = &extension {
            bytes[0] |= 0x10;
            bytes.extend([0xbe, 0xde, 0, u8::try_from(words.len()).unwrap()]);
            bytes.extend(words.as_flattened());
        }
        bytes.extend(&payload);
        if padding > 0 {
            bytes[0] |= 0x20;
            bytes.extend(std::iter::repeat_n(0, usize::from(padding) - 1));
            bytes.push(padding);
        }
        let view = View::parse(&bytes).unwrap();
        prop_assert_eq!(view.header(), header);
        prop_assert_eq!(view.csrcs().collect::<Vec<_>>(), csrcs);
        prop_assert_eq!(view.payload(), payload);
    }
}

/// Found by the fuzz target `rtp`.
#[test]
fn an_element_of_id_0_with_a_length_ends_the_extensions() {
    let header = Header {
        marker: false,
        payload_type: 0,
        sequence: 1,
        timestamp: 2,
        ssrc: 3,
    };
    let mut bytes = header.to_bytes().to_vec();
    bytes[0] |= 0x10;
    // id 1 with a byte, then id 0 with two, then id 2 with a byte
    bytes.extend([
        0xbe, 0xde, 0, 2, 0x10, 0xaa, 0x01, 0xbb, 0xbb, 0x20, 0xcc, 0,
    ]);
    let view = View::parse(&bytes).unwrap();
    let found: Vec<_> = view.extensions().collect();
    assert_eq!(found, [(1, &[0xaa][..])]);
    assert_eq!(view.audio_level(2), None);
}
