//! A subscriber's bytes mean the same however they are cut into reads.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Some((step, data)) = data.split_first() else {
        return;
    };
    let whole = openmic_hub::fuzzing::read([data]);
    let pieces = openmic_hub::fuzzing::read(data.chunks(usize::from(*step) + 1));
    assert_eq!(whole, pieces);
    if data.len() <= 512 {
        assert_eq!(whole, openmic_hub::fuzzing::read(data.chunks(1)));
    }
});
