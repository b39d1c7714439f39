use proptest::prelude::*;

use super::*;

const FFMPEG: &str = "v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=x\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n\
    m=audio 23800 RTP/AVP 111\r\na=rtpmap:111 opus/48000/2\r\na=fmtp:111 sprop-stereo=1\r\n";

fn answer(offer: &Offer) -> String {
    Answer {
        local: "127.0.0.1:7100".parse().unwrap(),
        split: &[
            "127.0.0.1:7102".parse().unwrap(),
            "127.0.0.1:7104".parse().unwrap(),
        ],
        session: 5,
    }
    .write(offer)
}

#[test]
fn one_sendrecv_line_is_answered_with_the_same_payload() {
    let offer = Offer::parse(FFMPEG).unwrap();
    assert_eq!(
        offer.main().destination(),
        Some("127.0.0.1:23800".parse().unwrap())
    );
    assert_eq!(
        answer(&offer),
        "v=0\r\no=- 5 1 IN IP4 127.0.0.1\r\ns=openmic\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n\
         m=audio 7100 RTP/AVP 111\r\na=rtpmap:111 opus/48000/2\r\n\
         a=fmtp:111 sprop-stereo=1\r\na=sendrecv\r\n"
    );
}

#[test]
fn static_payload_types_need_no_map() {
    let offer = Offer::parse(
        "v=0\nc=IN IP4 10.0.0.1\nm=audio 4000 RTP/AVP 8 0 101\na=rtpmap:101 telephone-event/8000\n",
    )
    .unwrap();
    assert!(offer.payload().is("pcma"));
    assert_eq!(offer.tone.as_ref().unwrap().number, 101);
    assert!(answer(&offer).contains("m=audio 7100 RTP/AVP 8 101\r\n"));
}

#[test]
fn directions_are_mirrored_and_a_sender_is_latched() {
    let offer = Offer::parse("v=0\na=sendonly\nm=audio 9 RTP/AVP 0\n").unwrap();
    assert_eq!(offer.main().destination(), None);
    assert!(answer(&offer).contains("a=recvonly\r\n"));
    let offer = Offer::parse("v=0\nm=audio 4000 RTP/AVP 0\nc=IN IP6 ::1\na=recvonly\n").unwrap();
    assert_eq!(
        offer.main().destination(),
        Some("[::1]:4000".parse().unwrap())
    );
    assert!(answer(&offer).contains("a=sendonly\r\n"));
}

#[test]
fn further_recvonly_lines_take_one_source_each() {
    let offer = Offer::parse(
        "v=0\nc=IN IP4 127.0.0.1\nm=audio 9 RTP/AVP 0\na=sendonly\nm=audio 4002 RTP/AVP 0\na=recvonly\n\
         m=audio 4004 RTP/AVP 0\na=recvonly\nm=video 4006 RTP/AVP 96\na=rtpmap:96 VP8/90000\n",
    )
    .unwrap();
    let extra: Vec<_> = offer.extra().map(|l| l.port).collect();
    assert_eq!(extra, [4002, 4004]);
    let answer = answer(&offer);
    for port in [7100, 7102, 7104] {
        assert!(
            answer.contains(&format!("m=audio {port} RTP/AVP 0\r\n")),
            "{answer}"
        );
    }
    assert!(answer.contains("m=video 0 RTP/AVP 96\r\n"), "{answer}");
}

#[test]
fn what_cannot_be_served_is_refused_by_name() {
    let cases = [
        ("", SdpError::NotSdp),
        ("{\"v\":0}", SdpError::NotSdp),
        ("v=0\nm=video 4000 RTP/AVP 96\n", SdpError::NoAudio),
        ("v=0\nm=audio 0 RTP/AVP 0\n", SdpError::NoAudio),
        (
            "v=0\nc=IN IP4 1.2.3.4\nm=audio 4000 UDP/TLS/RTP/SAVPF 111\n",
            SdpError::Protocol("UDP/TLS/RTP/SAVPF".to_owned()),
        ),
        (
            "v=0\nc=IN IP4 1.2.3.4\nm=audio 4000 RTP/AVP 111\n",
            SdpError::NoPayload,
        ),
        ("v=0\nm=audio 4000 RTP/AVP 0\n", SdpError::NoAddress),
        (
            "v=0\nc=IN IP4 media.example\nm=audio 4000 RTP/AVP 0\n",
            SdpError::BadConnection(2),
        ),
        (
            "v=0\nc=IN IP4 224.0.0.1\nm=audio 4000 RTP/AVP 0\n",
            SdpError::BadConnection(2),
        ),
        ("v=0\nm=audio 99999 RTP/AVP 0\n", SdpError::BadMedia(2)),
        ("v=0\nm=audio 4000 RTP/AVP\n", SdpError::BadMedia(2)),
        ("v=0\nnonsense\n", SdpError::BadLine(2)),
        // found by the fuzz target `sdp`: the answer repeated it
        (
            "v=0\nc=IN IP4 1.2.3.4\nm=audio 4000 RTP/AVP 111\na=rtpmap:111 opus/48000/2\na=fmtp:111 x\rm=audio 1 RTP/AVP 0\n",
            SdpError::BadLine(5),
        ),
        (
            "v=0\nm=audio 9 RTP/AVP 96\na=rtpmap:96 opus\n",
            SdpError::BadRtpmap(3),
        ),
    ];
    for (text, expected) in cases {
        assert_eq!(Offer::parse(text), Err(expected), "{text:?}");
    }
    let many = format!("v=0\n{}", "m=audio 9 RTP/AVP 0\n".repeat(33));
    assert_eq!(Offer::parse(&many), Err(SdpError::TooManyMedia));
    let long = format!("v=0\n{}", "a=x\n".repeat(5000));
    assert_eq!(Offer::parse(&long), Err(SdpError::TooLong));
}

#[test]
fn a_listing_has_one_line_per_port() {
    let offer = Offer::parse(FFMPEG).unwrap();
    let text = Listing {
        at: vec![
            "127.0.0.1:4002".parse().unwrap(),
            "127.0.0.1:4004".parse().unwrap(),
        ],
        payload: offer.payload(),
    }
    .write(1);
    assert!(text.contains("m=audio 4002 RTP/AVP 111\r\n"));
    assert!(text.contains("m=audio 4004 RTP/AVP 111\r\n"));
    assert!(Offer::parse(&text).is_ok(), "what we write we can read");
}

proptest! {
    #[test]
    fn no_text_makes_it_panic(text in "\\PC{0,400}") {
        if let Ok(offer) = Offer::parse(&text) {
            answer(&offer);
        }
    }

    #[test]
    fn no_arrangement_of_plausible_lines_makes_it_panic(
        lines in prop::collection::vec(
            prop_oneof![
                "m=(audio|video) [0-9]{1,6}(/[0-9])? (RTP/AVP|RTP/SAVP)( [0-9]{1,3}){0,4}",
                "c=IN IP[46] [0-9:.]{1,12}",
                "a=rtpmap:[0-9]{1,3} (opus|PCMU|telephone-event|é)/[0-9]{0,6}(/[0-9])?",
                "a=fmtp:[0-9]{1,3} \\PC{0,10}",
                "a=(sendrecv|sendonly|recvonly|inactive)",
                "a=ssrc:[0-9]{1,11} cname:x",
                "a=extmap:[0-9]{1,3}(/x)? urn:ietf:params:rtp-hdrext:ssrc-audio-level",
                "[a-zé]=?.{0,8}",
            ],
            0..12,
        )
    ) {
        let text = format!("v=0\r\n{}\r\n", lines.join("\r\n"));
        if let Ok(offer) = Offer::parse(&text) {
            // What is answered is itself an SDP, with as many media lines as the offer has.
            let answer = answer(&offer);
            prop_assert_eq!(
                answer.matches("\r\nm=").count(),
                text.matches("\nm=").count(),
                "{}", answer
            );
        }
    }
}

#[test]
fn an_odd_port_is_taken_as_it_is() {
    let offer = Offer::parse("v=0\nc=IN IP4 1.2.3.4\nm=audio 4001 RTP/AVP 0\n");
    assert!(offer.is_ok(), "{offer:?}");
}
