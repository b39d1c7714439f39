//! A pair in files, and what happens when they change.
//!
//! The files are read again every two seconds rather than watched by inotify: a mounted config map
//! changes a symbolic link two directories up, a bind-mounted single file changes its inode, network
//! and overlay file systems report nothing at all, and their times of modification are coarse. Two
//! small files cost less than getting all of that right, and what counts is what is in them.

use std::fs;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};
use std::time::Duration;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;

use super::{Inner, TlsError, provider};

/// Between two looks.
const LOOK: Duration = Duration::from_secs(2);

#[derive(Debug)]
pub(super) struct Files {
    certificate: PathBuf,
    key: PathBuf,
    /// What was in them when they were opened.
    first: u64,
}

/// The files as they are on disk.
struct Content {
    certificate: Vec<u8>,
    key: Vec<u8>,
}

impl Files {
    pub(super) fn open(
        certificate: PathBuf,
        key: PathBuf,
    ) -> Result<(Self, CertifiedKey), TlsError> {
        let mut files = Self {
            certificate,
            key,
            first: 0,
        };
        let content = files.read()?;
        let pair = files.pair(&content)?;
        files.first = content.mark();
        Ok((files, pair))
    }

    fn read(&self) -> Result<Content, TlsError> {
        let read = |path: &Path| {
            fs::read(path).map_err(|source| TlsError::Read {
                path: path.to_owned(),
                source,
            })
        };
        Ok(Content {
            certificate: read(&self.certificate)?,
            key: read(&self.key)?,
        })
    }

    fn pair(&self, content: &Content) -> Result<CertifiedKey, TlsError> {
        let chain = CertificateDer::pem_slice_iter(&content.certificate)
            .collect::<Result<Vec<_>, _>>()
            .ok()
            .filter(|chain| !chain.is_empty())
            .ok_or_else(|| TlsError::NoCertificate {
                path: self.certificate.clone(),
            })?;
        let key = PrivateKeyDer::from_pem_slice(&content.key).map_err(|_| TlsError::NoKey {
            path: self.key.clone(),
        })?;
        CertifiedKey::from_der(chain, key, &provider()).map_err(|source| TlsError::Pair {
            certificate: self.certificate.clone(),
            key: self.key.clone(),
            source,
        })
    }
}

impl Content {
    /// Tells one content from another; nobody gains by making two look alike.
    fn mark(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        (&self.certificate, &self.key).hash(&mut hasher);
        hasher.finish()
    }
}

/// What was seen at one look; `None`: the files could not be read.
type Seen = Option<u64>;

/// Looks after the files of `inner` until nobody uses it any more.
pub(super) async fn watch(inner: Weak<Inner>) {
    let mut ticks = tokio::time::interval(LOOK);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let first = |inner: Arc<Inner>| Some(inner.files.as_ref()?.first);
    let mut seen = (None, None);
    if let Some(first) = inner.upgrade().and_then(first) {
        seen = (Some(first), Some(first));
    }
    loop {
        ticks.tick().await;
        let Some(inner) = inner.upgrade() else { return };
        let (judged, last) = seen;
        let looked = tokio::task::spawn_blocking(move || match &inner.files {
            Some(files) => look(&inner, files, judged, last),
            None => (judged, last),
        });
        match looked.await {
            Ok(now) => seen = now,
            // The runtime is going down.
            Err(_) => return,
        }
    }
}

/// Takes a pair that is new. It must have been the same at two looks, as certificate and key are
/// rarely replaced in the same moment; what was judged once is not judged again.
fn look(inner: &Arc<Inner>, files: &Files, judged: Seen, last: Seen) -> (Seen, Seen) {
    let read = files.read();
    let seen = read.as_ref().ok().map(Content::mark);
    if seen == judged || seen != last {
        return (judged, seen);
    }
    match read.and_then(|content| files.pair(&content)) {
        Ok(pair) => {
            *inner.shown.0.write() = Arc::new(pair);
            tracing::info!(
                certificate = %files.certificate.display(),
                "the changed certificate is shown from now on"
            );
        }
        Err(error) => {
            let reason = chain(&error);
            tracing::error!(
                reason,
                "the changed certificate is no good; the one before is shown"
            );
        }
    }
    (seen, seen)
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(next) = cause {
        text.push_str(": ");
        text.push_str(&next.to_string());
        cause = next.source();
    }
    text
}
