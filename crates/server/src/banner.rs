//! What is said once everything is up: where things are, and loudly when the dev credentials are
//! in use.

use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::path::PathBuf;

use openmic_local::{DEV_APP, DEV_SECRET, DEV_TENANT};
use url::Url;

/// Where the parts can be reached, `http://host:port` or `https://host:port` each.
#[derive(Debug, Clone, Default)]
pub(crate) struct Addresses {
    /// The engine's public listener.
    pub(crate) public: Option<String>,
    /// Metrics and probes.
    pub(crate) admin: Option<String>,
    /// The local calling service.
    pub(crate) local: Option<String>,
    /// The certificate that clients of the first and the last have to trust.
    pub(crate) ca_file: Option<PathBuf>,
}

impl Addresses {
    /// Tells people by a banner (`text`) and programs by the event `listening`, whose fields are
    /// the addresses. It comes last, when requests are taken.
    pub(crate) fn announce(&self, text: bool, dev: bool) {
        if dev && !text {
            tracing::warn!("the dev credentials are in use; they are public: loopback only");
        }
        if text {
            let banner = self.banner(dev);
            // Nobody to tell is no reason to end.
            io::stderr()
                .write_all(banner.as_bytes())
                .unwrap_or_default();
        }
        tracing::info!(
            public = self.public.as_deref(),
            admin = self.admin.as_deref(),
            local = self.local.as_deref(),
            ca_file = self
                .ca_file
                .as_deref()
                .map(|path| path.display().to_string()),
            "listening"
        );
    }

    fn banner(&self, dev: bool) -> String {
        let mut out = format!("\nopenmic {}\n", env!("CARGO_PKG_VERSION"));
        let rows = [
            (
                "engine",
                &self.public,
                "/v1.0/communications/calls, /v1/calls/{id}/roster, /callbacks",
            ),
            ("operators", &self.admin, "/metrics, /livez, /readyz"),
            (
                "calling service",
                &self.local,
                "/v1.0/communications/calls, /{tenant}/oauth2/v2.0/token, /lab/v1",
            ),
        ];
        for (name, url, paths) in rows {
            if let Some(url) = url {
                writeln!(out, "  {name:<16} {url:<24} {paths}").expect("a String takes all");
            }
        }
        if let Some(ca_file) = &self.ca_file {
            let ca_file = ca_file.display();
            writeln!(
                out,
                "\n  https with a certificate made for this run; clients have to trust {ca_file}\n  \
                 curl: --cacert FILE · Node.js: NODE_EXTRA_CA_CERTS=FILE · Python: SSL_CERT_FILE=FILE"
            )
            .expect("a String takes all");
        }
        if let Some(local) = self.local.as_deref().filter(|_| dev) {
            let ca = self
                .ca_file
                .as_ref()
                .map_or_else(String::new, |path| format!("--cacert {} ", path.display()));
            write!(
                out,
                "\n  DEV CREDENTIALS in use. They are public, so everything is for this machine only:\n  \
                 tenant {DEV_TENANT}, app {DEV_APP}\n  a token:  \
                 curl -s {ca}{local}/{DEV_TENANT}/oauth2/v2.0/token -d grant_type=client_credentials \
                 -d client_id={DEV_APP} -d client_secret={DEV_SECRET} \
                 -d scope=https://graph.microsoft.com/.default\n"
            )
            .expect("a String takes all");
        }
        out.push('\n');
        out
    }
}

/// Tells where incoming calls are to be sent. On stdout and not in the log: the address holds a
/// routing token.
pub(crate) fn tell_incoming(callback: &Url) {
    let line = format!(
        "incoming calls: {callback}\n  (the bot's calling webhook; new at each start, see \
         calls.incoming_key)\n"
    );
    // Nobody to tell is no reason to end.
    io::stdout().write_all(line.as_bytes()).unwrap_or_default();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_banner_is_loud_about_dev_credentials_and_only_then() {
        let addresses = Addresses {
            public: Some("http://127.0.0.1:1".to_owned()),
            admin: Some("http://127.0.0.1:2".to_owned()),
            local: Some("http://127.0.0.1:3".to_owned()),
            ca_file: None,
        };
        let dev = addresses.banner(true);
        for url in [
            "http://127.0.0.1:1",
            "http://127.0.0.1:2",
            "http://127.0.0.1:3",
        ] {
            assert!(dev.contains(url), "{dev}");
        }
        assert!(dev.contains("DEV CREDENTIALS"), "{dev}");
        let own = addresses.banner(false);
        assert!(!own.contains("DEV") && !own.contains(DEV_SECRET), "{own}");
    }
}
