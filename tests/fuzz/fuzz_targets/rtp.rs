//! A packet's payload lies within it, and a rewritten header reads back the same.
#![no_main]

use libfuzzer_sys::fuzz_target;
use openmic_media::rtp::{HEADER_LEN, View};

fuzz_target!(|data: &[u8]| {
    let Ok(view) = View::parse(data) else {
        return;
    };
    let range = view.payload_range();
    assert!(range.start >= HEADER_LEN && range.end <= data.len());
    assert_eq!(view.payload(), &data[range]);
    assert!(view.csrcs().count() <= 15);
    for (id, extension) in view.extensions() {
        assert!(id != 0 && extension.len() <= 255);
    }
    for id in 0..=15 {
        assert!(
            view.audio_level(id)
                .is_none_or(|level| level.below_overload < 128)
        );
    }
    let rewritten = view.header().to_bytes();
    let again = View::parse(&rewritten).expect("we wrote it");
    assert_eq!(again.header(), view.header());
    assert!(again.payload().is_empty());
});
