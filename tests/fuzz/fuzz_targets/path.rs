//! Both servers read a path alike, and what is canonical stays as it is.
#![no_main]

use libfuzzer_sys::fuzz_target;
use percent_encoding::percent_decode_str;

fuzz_target!(|data: &[u8]| {
    let Some(path) = openmic_fuzz::text(data) else {
        return;
    };
    let ours = openmic_edge::fuzzing::path(path);
    let theirs = openmic_local::fuzzing::path(path);
    let Some((canonical, version)) = ours else {
        assert_eq!(theirs, None);
        return;
    };
    assert!(path.starts_with(&format!("/{version}/")));
    assert!(canonical.starts_with("/v1.0/communications/"));
    let theirs = theirs.expect("both take it");
    // a key's parentheses may stay escaped on one; both are unescaped when the route is taken
    assert_eq!(plain(&canonical), plain(&theirs));
    // a segment that hides another spelling in itself is no route either
    let hides = |part: &str| part.starts_with("microsoft.graph.") || part.contains('(');
    if !canonical.split('/').any(hides) && !canonical.ends_with('/') {
        let again = openmic_edge::fuzzing::path(&canonical).expect("it is one");
        assert_eq!(again, (canonical, "v1.0"));
    }
});

fn plain(path: &str) -> Vec<u8> {
    percent_decode_str(path).collect()
}
