//! What a listener proves itself with: a certificate chain and its key, exchanged while it serves.

mod dev;
mod files;

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::RwLock;
use rustls::ServerConfig;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::version::{TLS12, TLS13};

use files::Files;

/// A server's TLS, 1.2 and 1.3, HTTP/1.1 by ALPN. Clones share it, exchanged certificates included,
/// so that both HTTP servers of a process can have the same.
#[derive(Clone)]
pub struct Tls {
    inner: Arc<Inner>,
}

struct Inner {
    config: Arc<ServerConfig>,
    shown: Arc<Shown>,
    authority: Option<String>,
    files: Option<Files>,
    /// Somebody looks after the files already.
    watched: AtomicBool,
}

/// Why there is no TLS.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TlsError {
    /// A file is not to be had.
    #[error("cannot read {}", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The file of the certificate holds none that can be read.
    #[error("{} holds no PEM certificate (BEGIN CERTIFICATE); put the chain there, the server's own certificate first", path.display())]
    NoCertificate {
        /// Which.
        path: PathBuf,
    },
    /// The file of the key holds none that can be read.
    #[error("{} holds no PEM private key (PKCS #8, PKCS #1 or SEC 1, not encrypted)", path.display())]
    NoKey {
        /// Which.
        path: PathBuf,
    },
    /// Both can be read and do not go together, or the key is of a kind that is not known.
    #[error("the key in {} cannot be used with the certificate in {}", key.display(), certificate.display())]
    Pair {
        /// File of the chain.
        certificate: PathBuf,
        /// File of the key.
        key: PathBuf,
        /// What is wrong.
        #[source]
        source: rustls::Error,
    },
    /// No certificate could be made.
    #[error("the dev certificate could not be made for these names")]
    Make(#[source] rcgen::Error),
    /// The certificate was made and is refused.
    #[error("the dev certificate cannot be used")]
    Use(#[source] rustls::Error),
}

impl Tls {
    /// A chain and its key from PEM files. Once a listener serves with it the files are looked at
    /// every two seconds: a pair that changed is taken for new connections; one that is no good is
    /// logged with its reason, and the one before stays.
    ///
    /// # Errors
    /// [`TlsError`] names the file and what is wrong with it.
    pub fn files(
        certificate: impl Into<PathBuf>,
        key: impl Into<PathBuf>,
    ) -> Result<Self, TlsError> {
        let (files, pair) = Files::open(certificate.into(), key.into())?;
        Ok(Self::new(pair, None, Some(files)))
    }

    /// A certificate made on the spot for `localhost`, the loopback addresses and `names`, host
    /// names and IP addresses, signed by an authority made with it. The authority's key is gone
    /// when this returns: it never signs anything else.
    ///
    /// # Errors
    /// [`TlsError::Make`] when a name is none.
    pub fn dev(names: impl IntoIterator<Item = String>) -> Result<Self, TlsError> {
        let made = dev::make(names)?;
        Ok(Self::new(made.pair, Some(made.authority), None))
    }

    /// The authority's certificate of [`Tls::dev`], PEM, for clients to trust.
    pub fn authority(&self) -> Option<&str> {
        self.inner.authority.as_deref()
    }

    fn new(pair: CertifiedKey, authority: Option<String>, files: Option<Files>) -> Self {
        let shown = Arc::new(Shown(RwLock::new(Arc::new(pair))));
        let mut config = ServerConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&TLS13, &TLS12])
            .expect("the provider has suites of both versions")
            .with_no_client_auth()
            .with_cert_resolver(Arc::clone(&shown) as Arc<dyn ResolvesServerCert>);
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Self {
            inner: Arc::new(Inner {
                config: Arc::new(config),
                shown,
                authority,
                files,
                watched: AtomicBool::new(false),
            }),
        }
    }

    pub(crate) fn config(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.inner.config)
    }

    /// Looks after the files, where there are some, as long as anybody uses them.
    pub(crate) fn watch(&self) {
        if self.inner.files.is_some() && !self.inner.watched.swap(true, Ordering::Relaxed) {
            tokio::spawn(files::watch(Arc::downgrade(&self.inner)));
        }
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls")
            .field("files", &self.inner.files)
            .finish_non_exhaustive()
    }
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}

/// The pair that new connections get.
#[derive(Debug)]
struct Shown(RwLock<Arc<CertifiedKey>>);

impl ResolvesServerCert for Shown {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0.read()))
    }
}
