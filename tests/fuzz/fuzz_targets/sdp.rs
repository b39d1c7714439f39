//! An answer has the offer's lines, is an offer itself, and no line the offer smuggled in.
#![no_main]

use std::net::SocketAddr;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Some(offer) = openmic_fuzz::text(data) else {
        return;
    };
    let local = SocketAddr::from(([127, 0, 0, 1], 7100));
    let Ok((answer, taken)) = openmic_local::fuzzing::answer(offer, local) else {
        return;
    };
    let media = |text: &str| text.lines().filter(|line| line.starts_with("m=")).count();
    assert_eq!(media(&answer), media(offer), "{answer}");
    assert!(taken <= media(offer));
    for line in answer.split_terminator("\r\n") {
        assert!(!line.contains(['\r', '\n']), "{answer:?}");
        assert_eq!(line.as_bytes().get(1), Some(&b'='), "{answer:?}");
    }
    let again = openmic_local::fuzzing::answer(&answer, local);
    assert!(again.is_ok(), "{again:?}: {answer}");
});
