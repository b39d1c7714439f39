//! What the fuzz targets share. One file of `fuzz_targets` per parser; each says in its first line
//! what holds for any input, beyond that nothing panics, hangs or eats memory.

use std::path::Path;

/// The configuration of the binary, compiled from its own source, since a binary has no library.
#[path = "../../../crates/server/src"]
#[allow(
    dead_code,
    unused_imports,
    reason = "only what reads a configuration is used"
)]
mod server {
    pub(super) mod config;
}

/// A secret no configuration may show.
pub const CANARY: &str = "canary-7f3a-secret";

/// Loads a configuration and says everything that could be printed of it, or of why there is none.
pub fn configuration(
    file: Option<&Path>,
    env: Vec<(String, String)>,
    flags: &[(String, String)],
) -> (bool, String) {
    let env = env
        .into_iter()
        .map(|(name, value)| (name.into(), value.into()));
    match server::config::load(file, env, flags) {
        Ok(loaded) => (
            true,
            format!("{}\n{loaded:?}", server::config::effective(&loaded)),
        ),
        Err(error) => (false, format!("{error} {error:?}")),
    }
}

/// The text of an input; what is not UTF-8 has no use for a parser of text.
pub fn text(data: &[u8]) -> Option<&str> {
    std::str::from_utf8(data).ok()
}
