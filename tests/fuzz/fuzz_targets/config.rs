//! Nothing that is printed of a configuration, or of why there is none, holds a secret of it.
#![no_main]

use std::io::Write as _;

use libfuzzer_sys::fuzz_target;

// The input: a file, then after zero bytes the flags `key=value`; `$` stands for the canary.
fuzz_target!(|data: &[u8]| {
    let Some(text) = openmic_fuzz::text(data) else {
        return;
    };
    let mut parts = text.split('\0');
    let file = parts.next().unwrap_or_default();
    let pairs: Vec<(String, String)> = parts
        .take(8)
        .filter_map(|pair| pair.split_once('='))
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .collect();
    let (flags, env) = pairs.split_at(pairs.len() / 2);
    let env = env.iter().map(|(key, value)| {
        let name = format!("OPENMIC__{}", key.replace('.', "__").to_uppercase());
        (name, value.clone())
    });
    let mut env: Vec<_> = env.collect();
    env.push((
        "OPENMIC__UPSTREAM__SECRET".to_owned(),
        openmic_fuzz::CANARY.to_owned(),
    ));
    let mut on_disk = tempfile::NamedTempFile::new().expect("a file can be made");
    on_disk
        .write_all(file.as_bytes())
        .expect("it can be written");
    let (_, said) = openmic_fuzz::configuration(Some(on_disk.path()), env, flags);
    assert!(!said.contains(openmic_fuzz::CANARY), "{said}");
});
