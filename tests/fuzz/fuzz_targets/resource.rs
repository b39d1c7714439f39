//! What a resource names is named by its own path again.
#![no_main]

use libfuzzer_sys::fuzz_target;
use openmic_wire::resource::Resource;

fuzz_target!(|data: &[u8]| {
    let Some(raw) = openmic_fuzz::text(data) else {
        return;
    };
    let read = Resource::parse(raw);
    if let Some(path) = read.path() {
        assert_eq!(Resource::parse(&path), read, "{path}");
        let url = format!("https://graph.microsoft.com/v1.0{path}?x=y#z");
        assert_eq!(Resource::parse(&url), read, "{url}");
    }
});
