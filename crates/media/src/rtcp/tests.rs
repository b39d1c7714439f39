use proptest::prelude::*;

use super::*;

/// A packet of `kind` with `count` in its head and this body.
fn packet(kind: u8, count: u8, body: &[u8]) -> Vec<u8> {
    assert_eq!(body.len() % 4, 0);
    let words = u16::try_from(body.len() / 4).unwrap();
    let mut bytes = vec![0x80 | count, kind];
    bytes.extend(words.to_be_bytes());
    bytes.extend_from_slice(body);
    bytes
}

#[test]
fn a_compound_is_summed_up() {
    let mut report = vec![0, 0, 0, 7];
    report.extend(0x0102_0304_0506_0708_u64.to_be_bytes());
    report.extend(48_000_u32.to_be_bytes());
    report.extend(50_u32.to_be_bytes());
    report.extend(8000_u32.to_be_bytes());
    report.extend([0; 24]);
    let mut compound = packet(200, 1, &report);
    compound.extend(packet(202, 1, &[0; 12]));
    compound.extend(packet(201, 0, &[0; 4]));
    compound.extend(packet(203, 2, &[0; 8]));
    assert!(is_rtcp(&compound));
    let summary = Summary {
        sender: Some(SenderInfo {
            ssrc: 7,
            ntp: 0x0102_0304_0506_0708,
            rtp_timestamp: 48_000,
            packets: 50,
        }),
        sender_reports: 1,
        receiver_reports: 1,
        report_blocks: 1,
        byes: 2,
        others: 1,
    };
    assert_eq!(parse(&compound), Ok(summary));
}

#[test]
fn lengths_that_do_not_fit_are_refused() {
    assert_eq!(parse(&packet(200, 0, &[0; 20])), Err(Malformed::Length));
    assert_eq!(parse(&packet(201, 1, &[0; 24])), Err(Malformed::Length));
    assert_eq!(parse(&packet(203, 3, &[0; 8])), Err(Malformed::Length));
    assert_eq!(
        parse(&[0x80, 201, 0, 9, 0, 0, 0, 0]),
        Err(Malformed::Length)
    );
    assert_eq!(parse(&[0x80, 201, 0]), Err(Malformed::Length));
    assert_eq!(parse(&packet(80, 0, &[0; 4])), Err(Malformed::Header));
    assert_eq!(
        parse(&[0x40, 201, 0, 1, 0, 0, 0, 0]),
        Err(Malformed::Header)
    );
}

#[test]
fn types_192_to_223_are_rtcp_and_audio_is_not() {
    for kind in 0..=255_u8 {
        let bytes = packet(kind, 0, &[0; 4]);
        assert_eq!(is_rtcp(&bytes), (192..=223).contains(&kind), "{kind}");
    }
    // payload type 111 with and without a marker
    assert!(!is_rtcp(&[0x80, 111, 0, 0, 0, 0, 0, 0]));
    assert!(!is_rtcp(&[0x80, 0x80 | 0x6f, 0, 0, 0, 0, 0, 0]));
}

proptest! {
    #[test]
    fn any_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        if parse(&bytes).is_ok() && !bytes.is_empty() {
            prop_assert!(bytes.len() >= 4);
        }
        is_rtcp(&bytes);
    }

    #[test]
    fn any_body_behind_a_good_head_never_panics(
        kind in 192..=223_u8,
        count in 0..32_u8,
        words in proptest::collection::vec(any::<[u8; 4]>(), 0..60),
    ) {
        let bytes = packet(kind, count, words.as_flattened());
        if let Ok(summary) = parse(&bytes) {
            let fits = 24 * summary.report_blocks + 4 * summary.byes;
            prop_assert!(fits as usize <= bytes.len());
        }
    }
}
