//! What the flight recorder holds of a call: `/v1/calls/{call}/log`.

use axum::Extension;
use axum::body::Body;
use axum::extract::RawQuery;
use axum::response::{IntoResponse as _, Response};
use http::header::{CACHE_CONTROL, CONTENT_TYPE, LINK};
use http::{HeaderValue, StatusCode};
use openmic_engine::CallLog;

use crate::answer::{Answer, Refusal};

/// One JSON text on each line.
pub(crate) const NDJSON: &str = "application/x-ndjson";

/// Of whom the log is asked for, and its lines.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    /// As the path has it, for the link to what follows.
    pub(crate) path: String,
    pub(crate) log: CallLog,
}

/// `GET /v1/calls/{call}/log`: the lines above `?since=`, oldest first.
pub(crate) async fn get(Extension(asked): Extension<Asked>, RawQuery(query): RawQuery) -> Answer {
    let since = since(query.as_deref())?;
    let Asked { path, log } = asked;
    let read = tokio::task::spawn_blocking(move || log.read(since));
    let lines = read.await.map_err(|error| {
        tracing::error!(%error, "the log could not be read");
        Refusal::internal()
    })?;
    let mut response: Response = (StatusCode::OK, Body::from(lines.ndjson)).into_response();
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(NDJSON));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if let Some(after) = lines.more_after {
        // RFC 8288.
        let next = format!("<{path}?since={after}>; rel=\"next\"");
        let next = HeaderValue::try_from(next).map_err(|_| Refusal::internal())?;
        headers.insert(LINK, next);
    }
    Ok(response)
}

/// The number after which to begin; 0 where none is given.
fn since(query: Option<&str>) -> Result<u64, Refusal> {
    let pairs = query.unwrap_or("").split('&');
    let mut values = pairs.filter_map(|pair| pair.strip_prefix("since="));
    let Some(text) = values.next() else {
        return Ok(0);
    };
    text.parse().map_err(|_| {
        Refusal::bad_request(
            "since is no whole number. Send the n of the last line you have, or leave it out for \
             all lines.",
        )
    })
}

/// The call was another process's, and cannot be made out.
pub(crate) fn damaged(why: &str) -> Refusal {
    Refusal::new(
        StatusCode::GONE,
        "recordsDamaged",
        format!(
            "The call outlived another process, and its records in the journal are damaged: {why}. \
             It was not taken up but is hung up, since nobody could mute it any more; its records \
             stay as they are. Join anew."
        ),
    )
}

/// The call is there and nothing is noted of any.
pub(crate) fn off() -> Refusal {
    Refusal::new(
        StatusCode::NOT_FOUND,
        "itemNotFound",
        "This engine has no flight recorder. Give it memory: recorder.bytes in its configuration.",
    )
}

#[cfg(test)]
mod tests {
    use super::since;

    #[test]
    fn the_number_to_begin_after_is_read_or_refused() {
        assert_eq!(since(None).unwrap(), 0);
        assert_eq!(since(Some("")).unwrap(), 0);
        assert_eq!(since(Some("other=1")).unwrap(), 0);
        assert_eq!(since(Some("other=1&since=17")).unwrap(), 17);
        for bad in ["since=", "since=-1", "since=1.5", "since=all"] {
            let refusal = since(Some(bad)).unwrap_err();
            assert!(refusal.message.contains("n of the last line"), "{bad}");
        }
    }
}
