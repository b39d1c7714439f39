use std::ops::RangeInclusive;
use std::time::Duration;

use http::HeaderMap;
use http::header::HeaderName;

use crate::answer::Refusal;

const PREFER: HeaderName = HeaderName::from_static("prefer");

/// Longest wait that can be asked for; a verdict never takes longer.
const MAX_WAIT: u64 = 300;

/// Seconds that a bot may ask to speak.
const SPEAK: RangeInclusive<u64> = 1..=3600;

/// How long the caller wants to wait for a verdict.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Patience {
    pub(crate) limit: Duration,
    /// What of it is to be told in `Preference-Applied` once it took effect.
    pub(crate) applied: &'static str,
}

/// Reads `Prefer: respond-async` and `Prefer: wait=N`, N in seconds. `None`: until the verdict is
/// there. Source: RFC 7240 §4.1, §4.3.
pub(crate) fn patience(headers: &HeaderMap) -> Option<Patience> {
    let mut respond_async = false;
    let mut wait = None;
    for (name, value) in preferences(headers) {
        match name.as_str() {
            "respond-async" => respond_async = true,
            // The first one counts (RFC 7240 §2); what is no number is ignored.
            "wait" if wait.is_none() => wait = value.parse::<u64>().ok(),
            _ => {}
        }
    }
    let wait = wait.map(|seconds| Duration::from_secs(seconds.min(MAX_WAIT)));
    let limit = wait.or_else(|| respond_async.then_some(Duration::ZERO))?;
    let applied = if respond_async {
        "respond-async"
    } else {
        "wait"
    };
    Some(Patience { limit, applied })
}

/// Reads `Prefer: speak=N`: how many seconds the bot may speak before it is muted again. `None`:
/// until it is muted. Unlike the others it is refused where it cannot be met: a microphone that
/// stays open for longer than its bot thinks is no small thing to ignore.
///
/// # Errors
/// A refusal when it is no whole number of seconds from 1 to 3600.
pub(crate) fn speak(headers: &HeaderMap) -> Result<Option<Duration>, Refusal> {
    let mut all = preferences(headers);
    let Some((_, value)) = all.find(|(name, _)| name == "speak") else {
        return Ok(None);
    };
    let seconds = value.parse().ok().filter(|time| SPEAK.contains(time));
    let seconds = seconds.ok_or_else(|| {
        Refusal::bad_request(
            "Prefer: speak is no whole number of seconds from 1 to 3600. Nothing was done. Send \
             how long the bot may speak, such as speak=30, or leave it out to speak until it is \
             muted.",
        )
    })?;
    Ok(Some(Duration::from_secs(seconds)))
}

/// Every preference: its name in lower case, and its value without quotes. Source: RFC 7240 §2.
fn preferences(headers: &HeaderMap) -> impl Iterator<Item = (String, String)> {
    let values = headers.get_all(PREFER).iter();
    let texts = values.filter_map(|value| value.to_str().ok());
    texts.flat_map(|text| text.split(',')).map(|preference| {
        let preference = preference.split(';').next().unwrap_or("").trim();
        let (name, value) = preference.split_once('=').unwrap_or((preference, ""));
        let value = value.trim().trim_matches('"');
        (name.trim().to_ascii_lowercase(), value.to_owned())
    })
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn a_wait_is_read_in_every_documented_form() {
        let told = |n, applied| {
            let limit = Duration::from_secs(n);
            Some(Patience { limit, applied })
        };
        let seconds = |n| told(n, "respond-async");
        let wait = |n| told(n, "wait");
        for (values, expected) in [
            (&[][..], None),
            (&["include-unknown-enum-members"], None),
            (&["respond-async"], seconds(0)),
            (&["Respond-Async, wait=7"], seconds(7)),
            (&["wait=7", "respond-async"], seconds(7)),
            (&["wait = \"3\"; foo=bar"], wait(3)),
            (&["wait=3, wait=9"], wait(3)),
            (&["wait=99999"], wait(300)),
            (&["wait=-1"], None),
            (&["wait=soon, respond-async"], seconds(0)),
        ] {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(PREFER, HeaderValue::from_static(value));
            }
            assert_eq!(patience(&headers), expected, "{values:?}");
        }
    }

    #[test]
    fn a_time_to_speak_is_read_or_refused() {
        for (value, expected) in [
            ("wait=3", Ok(None)),
            ("speak=1", Ok(Some(1))),
            ("respond-async, Speak = \"3600\"", Ok(Some(3600))),
            ("speak=30, speak=0", Ok(Some(30))),
            ("speak=0", Err(())),
            ("speak=3601", Err(())),
            ("speak", Err(())),
            ("speak=1.5", Err(())),
            ("speak=-3", Err(())),
            ("speak=soon", Err(())),
        ] {
            let mut headers = HeaderMap::new();
            headers.append(PREFER, HeaderValue::from_static(value));
            let read = speak(&headers).map_err(|refusal| {
                assert!(refusal.message.contains("from 1 to 3600"));
            });
            let read = read.map(|time| time.map(|time| time.as_secs()));
            assert_eq!(read, expected, "{value}");
        }
    }
}
