//! What is read of an error answer is bounded and can be written as one.
#![no_main]

use std::time::SystemTime;

use libfuzzer_sys::fuzz_target;
use openmic_wire::error;

fuzz_target!(|data: &[u8]| {
    let Some(read) = error::decode(data) else {
        return;
    };
    assert!(read.code.len() <= 1024 && read.message.len() <= 1024);
    read.subcode();
    let id = read.request_id.as_deref().unwrap_or("none");
    assert!(id.len() <= 1024);
    let written = error::encode(&read.code, &read.message, SystemTime::UNIX_EPOCH, id, None);
    let again = error::decode(&written).expect("we wrote it");
    // "UnknownError" with JSON in it is taken apart once more
    if !read.code.eq_ignore_ascii_case("UnknownError") {
        assert_eq!((again.code, again.message), (read.code, read.message));
    }
});
