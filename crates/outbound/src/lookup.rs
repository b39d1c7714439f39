//! From a name to the addresses that may be connected to.

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};

use crate::rules::{Reach, Refused};

type Found = Pin<Box<dyn Future<Output = io::Result<Vec<IpAddr>>> + Send>>;

/// How names are looked up. What it finds is filtered, so it need not be trusted.
#[derive(Clone)]
pub struct Lookup(Arc<dyn Fn(String) -> Found + Send + Sync>);

impl Lookup {
    /// As the system does it.
    pub fn system() -> Self {
        Self::new(async |name| {
            let found = tokio::net::lookup_host((name.as_str(), 0)).await?;
            Ok(found.map(|at| at.ip()).collect())
        })
    }

    /// By `find`, which is asked once for each connection.
    pub fn new<F, A>(find: F) -> Self
    where
        F: Fn(String) -> A + Send + Sync + 'static,
        A: Future<Output = io::Result<Vec<IpAddr>>> + Send + 'static,
    {
        Self(Arc::new(move |name| Box::pin(find(name))))
    }
}

impl Default for Lookup {
    fn default() -> Self {
        Self::system()
    }
}

impl fmt::Debug for Lookup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lookup").finish_non_exhaustive()
    }
}

/// Hands out only addresses within its reach.
#[derive(Debug, Clone)]
pub(crate) struct Guarded {
    pub(crate) lookup: Lookup,
    pub(crate) reach: Reach,
}

impl Resolve for Guarded {
    fn resolve(&self, name: Name) -> Resolving {
        let found = (self.lookup.0)(name.as_str().to_owned());
        let reach = self.reach;
        Box::pin(async move {
            let mut found = found.await?;
            found.retain(|ip| reach.takes(*ip));
            if found.is_empty() {
                return Err(Refused::Address.into());
            }
            // Port 0 stands for the URL's.
            let kept = found.into_iter().map(|ip| SocketAddr::new(ip, 0));
            Ok(Box::new(kept) as Addrs)
        })
    }
}
