//! Values that can be read and with which nothing works: refused here, so that `config check` does
//! not call them good.

use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::time::Duration;

use secrecy::{ExposeSecret as _, SecretString};
use url::Url;

use super::{Invalid, Place, invalid};
use crate::config::settings::{Auth, Journal, Listen, Recorder};

/// Below it a flight recorder holds nothing of use.
const LEAST_RECORDER: usize = 1024 * 1024;
/// How long the journal may keep what has ended.
const RETENTION: RangeInclusive<Duration> = Duration::from_hours(1)..=Duration::from_hours(720);
/// What every client sends with a token fits.
const LEAST_HEADER: usize = 4096;

/// Whether the listeners can serve anybody.
pub(super) fn listeners(listen: &Listen) -> Result<(), Invalid> {
    if listen.max_connections == 0 {
        let problem = "is 0, so that nobody is served; it must be at least 1";
        return Err(invalid("listen.max_connections", problem));
    }
    if listen.max_header_bytes < LEAST_HEADER {
        return Err(invalid(
            "listen.max_header_bytes",
            format!(
                "{} bytes are too few for a request with a token; it must be at least \
                 {LEAST_HEADER}",
                listen.max_header_bytes
            ),
        ));
    }
    match listen.origins.iter().find(|origin| !is_origin(origin)) {
        Some(origin) => Err(invalid(
            "listen.origins",
            format!(
                "\"{origin}\" is no origin, and no page would be let in by it; write it as \
                 browsers send it, such as \"https://ops.example\" or \"https://ops.example:8443\""
            ),
        )),
        None => Ok(()),
    }
}

/// Scheme, host, and a port that is not the scheme's own (RFC 6454, 6.1). Of schemes that are not
/// the web's only the form is looked at.
fn is_origin(text: &str) -> bool {
    let Ok(url) = Url::parse(text) else {
        return false;
    };
    if matches!(url.scheme(), "http" | "https") {
        return url.origin().ascii_serialization() == text;
    }
    let host = text.split_once("://").map_or("", |(_, host)| host);
    !host.is_empty() && !host.contains(['/', '?', '#', '@', '*'])
}

/// Whether each listener has an address of its own.
pub(super) fn addresses(listen: &Listen, place: &Place) -> Result<(), Invalid> {
    let mut all = vec![
        ("listen.public", listen.public),
        ("listen.admin", listen.admin),
    ];
    if let Place::Local(local) = place {
        all.push(("local.bind", local.bind));
    }
    for (at, (key, addr)) in all.iter().enumerate() {
        if let Some((other, _)) = all[..at].iter().find(|(_, other)| collide(*addr, *other)) {
            let problem = format!("{addr} is taken by {other} already; give it another port");
            return Err(invalid(key, problem));
        }
    }
    Ok(())
}

fn collide(one: SocketAddr, other: SocketAddr) -> bool {
    let everywhere = one.ip().is_unspecified() || other.ip().is_unspecified();
    let same = one.ip() == other.ip() || (everywhere && one.is_ipv4() == other.is_ipv4());
    one.port() != 0 && one.port() == other.port() && same
}

/// Whether the key of the app's own webhook can stand in a path, and not be guessed.
pub(super) fn incoming_key(key: Option<&SecretString>) -> Result<(), Invalid> {
    let usable = |key: &SecretString| {
        let text = key.expose_secret().as_bytes();
        let letter = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_');
        (16..=128).contains(&text.len()) && text.iter().all(letter)
    };
    if key.is_none_or(usable) {
        return Ok(());
    }
    Err(invalid(
        "calls.incoming_key",
        "is not of 16 to 128 letters, digits, - and _; take 32 random hex digits",
    ))
}

/// Whether the flight recorder has room for anything, or is off.
pub(super) fn recorder(recorder: &Recorder) -> Result<(), Invalid> {
    if recorder.bytes == 0 || recorder.bytes >= LEAST_RECORDER {
        return Ok(());
    }
    Err(invalid(
        "recorder.bytes",
        format!(
            "{} bytes are too few to tell anything; give it at least {LEAST_RECORDER}, or 0 for no \
             recorder",
            recorder.bytes
        ),
    ))
}

/// Whether the journal has a place, and keeps what it is for.
pub(super) fn journal(journal: &Journal) -> Result<(), Invalid> {
    if journal.folder.as_os_str().is_empty() {
        let problem = "is empty; name a folder on a local disk that this user may write";
        return Err(invalid("journal.folder", problem));
    }
    if !RETENTION.contains(&journal.retention.0) {
        return Err(invalid("journal.retention", "must be from 1h to 30d"));
    }
    Ok(())
}

/// Whether some token can be taken.
pub(super) fn callers(auth: &Auth) -> Result<(), Invalid> {
    let lists = [
        ("auth.issuers", &auth.issuers),
        ("auth.audiences", &auth.audiences),
    ];
    for (key, list) in lists {
        let nobody = |list: &Vec<String>| list.is_empty() || list.iter().any(String::is_empty);
        if list.as_ref().is_some_and(nobody) {
            return Err(invalid(
                key,
                "is empty, or has an empty entry; name at least one, or leave the key out",
            ));
        }
    }
    Ok(())
}
