use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, USER_AGENT};
use http::{HeaderMap, HeaderName, HeaderValue};
use openmic_wire::raw::RawEntry;

/// Headers that say nothing of the connection they came by and are passed on. Source: what Graph
/// was seen to send, I#91, I#191, I#664 of microsoft-graph-comms-samples.
const NAMED: [HeaderName; 4] = [
    AUTHORIZATION,
    USER_AGENT,
    HeaderName::from_static("scenario-id"),
    HeaderName::from_static("client-request-id"),
];
const FAMILIES: [&str; 2] = ["x-microsoft-skype-", "ms-teams-"];
/// Most headers passed on; Graph sends about ten.
const MAX_HEADERS: usize = 32;

/// What came in one POST of notifications, for one call.
#[derive(Debug)]
pub struct Parcel {
    pub(super) headers: HeaderMap,
    pub(super) items: Vec<Item>,
}

/// One entry and about how long it is.
#[derive(Debug)]
pub(super) struct Item {
    pub(super) entry: RawEntry,
    pub(super) size: usize,
}

impl Parcel {
    /// `entries` of a POST that had these headers and a body of `length` bytes.
    pub fn new(headers: &HeaderMap, entries: Vec<RawEntry>, length: usize) -> Self {
        let mut kept = HeaderMap::with_capacity(12);
        for (name, value) in headers {
            let family = || {
                FAMILIES
                    .iter()
                    .any(|begin| name.as_str().starts_with(begin))
            };
            if kept.len() < MAX_HEADERS && (NAMED.contains(name) || family()) {
                kept.append(name.clone(), value.clone());
            }
        }
        if let Some(token) = kept.get_mut(AUTHORIZATION) {
            token.set_sensitive(true);
        }
        kept.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        kept.insert(ACCEPT, HeaderValue::from_static("application/json"));
        let size = length / entries.len().max(1);
        let items = entries.into_iter().map(|entry| Item { entry, size });
        Self {
            headers: kept,
            items: items.collect(),
        }
    }

    pub(super) fn rosters(&self) -> usize {
        let rosters = |item: &&Item| item.entry.is_roster();
        self.items.iter().filter(rosters).count()
    }

    pub(super) fn size(&self) -> usize {
        self.items.iter().map(|item| item.size).sum()
    }
}
