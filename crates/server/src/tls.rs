//! TLS of both HTTP servers, and whom our own requests trust.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use openmic_listen::Tls;
use reqwest::Certificate;
use url::{Host, Url};

use crate::config::settings::{Listen, Local, Upstream};
use crate::config::values::TlsMode;
use crate::resolve::{Invalid, invalid};

/// Where the dev authority's certificate goes when nobody says.
const CA_FILE: &str = "openmic-dev-ca.pem";

/// What [`Listen::tls`] comes to; nothing is made or written yet.
#[derive(Debug)]
pub(crate) enum TlsPlan {
    /// Plain http.
    Off,
    /// A certificate of our own making.
    Dev {
        /// Besides `localhost` and the loopback addresses.
        names: Vec<String>,
        ca_file: PathBuf,
    },
    /// The operator's, read and found good.
    Files(Tls),
}

/// TLS as it is served.
#[derive(Debug, Default)]
pub(crate) struct Served {
    /// For both listeners.
    pub(crate) tls: Option<Tls>,
    /// The dev authority: we are among its clients.
    pub(crate) authority: Option<Certificate>,
    /// Where its certificate was written.
    pub(crate) ca_file: Option<PathBuf>,
}

impl TlsPlan {
    /// # Errors
    /// [`Invalid`] names the key and what to do.
    pub(crate) fn new(
        listen: &Listen,
        local: &Local,
        upstream: &Upstream,
    ) -> Result<Self, Invalid> {
        let files = [
            ("listen.tls_cert_file", &listen.tls_cert_file),
            ("listen.tls_key_file", &listen.tls_key_file),
        ];
        if listen.tls != TlsMode::Files
            && let Some((key, _)) = files.iter().find(|(_, file)| file.is_some())
        {
            let problem = "has no effect without listen.tls = \"files\"";
            return Err(invalid(key, problem));
        }
        if listen.tls != TlsMode::Dev && listen.tls_ca_file.is_some() {
            let problem = "has no effect without listen.tls = \"dev\"; an authority of your own for \
                           others' certificates goes into upstream.ca_file";
            return Err(invalid("listen.tls_ca_file", problem));
        }
        match listen.tls {
            TlsMode::Off => Ok(Self::Off),
            TlsMode::Dev => {
                let bound = [listen.public.ip(), local.bind.ip()].into_iter();
                let bound = bound
                    .filter(|ip| !ip.is_unspecified())
                    .map(|ip| ip.to_string());
                let urls = [&listen.public_url, &upstream.public_url, &local.public_url];
                let hosts = urls.into_iter().flatten().filter_map(host);
                Ok(Self::Dev {
                    names: bound.chain(hosts).collect(),
                    ca_file: listen.tls_ca_file.clone().unwrap_or_else(|| CA_FILE.into()),
                })
            }
            TlsMode::Files => {
                let [certificate, key] = files.map(|(key, file)| {
                    file.clone()
                        .ok_or_else(|| invalid(key, "is missing; listen.tls is \"files\""))
                });
                let tls = Tls::files(certificate?, key?);
                Ok(Self::Files(tls.map_err(Invalid::Tls)?))
            }
        }
    }

    /// `http` or `https`.
    pub(crate) fn scheme(&self) -> &'static str {
        match self {
            Self::Off => "http",
            Self::Dev { .. } | Self::Files(_) => "https",
        }
    }

    /// Makes and writes what is not there yet.
    ///
    /// # Errors
    /// When the dev certificate cannot be made or its authority's not be written.
    pub(crate) fn start(self) -> anyhow::Result<Served> {
        match self {
            Self::Off => Ok(Served::default()),
            Self::Files(tls) => Ok(Served {
                tls: Some(tls),
                ..Served::default()
            }),
            Self::Dev { names, ca_file } => {
                let tls = Tls::dev(names).context("listen.tls")?;
                let authority = tls.authority().unwrap_or_default();
                write(&ca_file, authority).with_context(|| {
                    let shown = ca_file.display();
                    format!("listen.tls_ca_file: cannot write {shown}; name another file there")
                })?;
                let certificate = Certificate::from_pem(authority.as_bytes())?;
                Ok(Served {
                    authority: Some(certificate),
                    ca_file: Some(fs::canonicalize(&ca_file).unwrap_or(ca_file)),
                    tls: Some(tls),
                })
            }
        }
    }
}

/// The authorities of `upstream.ca_file`.
///
/// # Errors
/// [`Invalid`] when it cannot be read or holds none.
pub(crate) fn authorities(upstream: &Upstream) -> Result<Vec<Certificate>, Invalid> {
    const KEY: &str = "upstream.ca_file";
    let Some(path) = &upstream.ca_file else {
        return Ok(Vec::new());
    };
    let shown = path.display();
    let pem =
        fs::read(path).map_err(|error| invalid(KEY, format!("cannot read {shown}: {error}")))?;
    let found = Certificate::from_pem_bundle(&pem).unwrap_or_default();
    if found.is_empty() {
        let problem = format!("{shown} holds no PEM certificate (BEGIN CERTIFICATE)");
        return Err(invalid(KEY, problem));
    }
    Ok(found)
}

fn host(url: &Url) -> Option<String> {
    match url.host()? {
        Host::Domain(name) => Some(name.to_owned()),
        Host::Ipv4(ip) => Some(ip.to_string()),
        Host::Ipv6(ip) => Some(ip.to_string()),
    }
}

/// Whole or not at all: a client may be reading what was there before.
fn write(path: &Path, text: &str) -> std::io::Result<()> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}", std::process::id()));
    let new = path.with_file_name(name);
    fs::write(&new, text)?;
    fs::rename(&new, path).inspect_err(|_| {
        // What it says of the failure is of no use beside the failure.
        fs::remove_file(&new).unwrap_or_default();
    })
}
