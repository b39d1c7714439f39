use std::time::Duration;

use http::HeaderMap;
use http::header::HeaderName;

const PREFER: HeaderName = HeaderName::from_static("prefer");

/// Longest wait that can be asked for; a verdict never takes longer.
const MAX_WAIT: u64 = 300;

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
    for value in headers.get_all(PREFER) {
        let Ok(text) = value.to_str() else { continue };
        for preference in text.split(',') {
            let preference = preference.split(';').next().unwrap_or("").trim();
            let (name, value) = preference.split_once('=').unwrap_or((preference, ""));
            match name.trim().to_ascii_lowercase().as_str() {
                "respond-async" => respond_async = true,
                // The first one counts (RFC 7240 §2); what is no number is ignored.
                "wait" if wait.is_none() => {
                    wait = value.trim().trim_matches('"').parse::<u64>().ok();
                }
                _ => {}
            }
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
}
