//! `openmic local`: the calling service alone.

use std::time::Duration;

use anyhow::Context as _;
use openmic_edge::{EdgeMetrics, Readiness, admin_routes};
use openmic_listen::{ListenMetrics, Listener};
use openmic_local::{DEV_SECRET, LocalConfig, LocalService};

use crate::banner::Addresses;
use crate::config::Loaded;
use crate::signals::Signals;
use crate::tls::{self, TlsPlan};
use crate::{resolve, telemetry, trace};

/// How long a scrape under way may take once the service has ended.
const LAST_SCRAPE: Duration = Duration::from_secs(1);

/// Runs the service until a signal ends it.
///
/// # Errors
/// When the configuration cannot be run or the service does not start.
pub(crate) async fn run(loaded: Loaded) -> anyhow::Result<()> {
    let settings = loaded.settings;
    let tls = TlsPlan::new(&settings.listen, &settings.local, &settings.upstream)?;
    let trusted = tls::authorities(&settings.upstream)?;
    let limits = resolve::limits(&settings.listen)?;
    let config = resolve::local_service(&settings.local, limits.clone())?;
    let dev = config.apps.iter().any(|app| app.secret == DEV_SECRET);
    let mut signals = Signals::catch().context("signals cannot be caught")?;
    let admin =
        Listener::bind(settings.listen.admin).context("metrics and probes [listen.admin]")?;
    let served = tls.start()?;
    let config = LocalConfig {
        tls: served.tls,
        callback_roots: trusted.into_iter().chain(served.authority).collect(),
        ..config
    };
    let registry = telemetry::registry().context("the process's metrics")?;
    let service = LocalService::start(config, &registry).await?;
    let metrics = EdgeMetrics::new();
    metrics.register(&registry)?;
    let readiness = Readiness::new();
    let router = admin_routes(registry.clone(), readiness.clone(), &metrics);
    let listen_metrics = ListenMetrics::new("admin");
    listen_metrics.register(&registry)?;
    let admin = admin.metrics(listen_metrics).serve(router, limits);
    let addresses = Addresses {
        public: None,
        admin: Some(format!("http://{}", admin.local_addr())),
        ca_file: served.ca_file,
        local: Some(service.base_url().to_owned()),
    };
    addresses.announce(trace::is_text(settings.log.format), dev);
    signals.first().await;
    signals.end_at_the_next();
    tracing::info!("stopping; a second signal ends at once");
    readiness.block("drain", "the process is going down; use another one");
    service.stop().await;
    let cut = admin.stop(LAST_SCRAPE).await;
    tracing::info!(connections_cut = cut, "stopped");
    Ok(())
}
