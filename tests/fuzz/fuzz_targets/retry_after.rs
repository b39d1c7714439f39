//! No answer makes us wait longer than a day.
#![no_main]

use std::time::{Duration, SystemTime};

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Some(text) = openmic_fuzz::text(data) else {
        return;
    };
    let (raw, date) = match text.split_once('\n') {
        Some((raw, date)) => (raw, Some(date)),
        None => (text, None),
    };
    let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_764_000_000);
    if let Some(wait) = openmic_graph::fuzzing::retry_after(raw, date, now) {
        assert!(wait <= Duration::from_hours(24));
    }
});
