//! The registry that all metrics of the process are in.

use prometheus::{IntGaugeVec, Opts, Registry};

/// A registry with the process's own metrics and `openmic_build_info`.
///
/// It has no prefix: that would rename the process metrics too, and stock dashboards and alerts
/// know them by their names.
///
/// # Errors
/// When the system does not tell about processes.
pub(crate) fn registry() -> prometheus::Result<Registry> {
    let registry = Registry::new();
    let process = prometheus::process_collector::ProcessCollector::for_self();
    registry.register(Box::new(process))?;
    let build = IntGaugeVec::new(
        Opts::new("openmic_build_info", "1, with the version that runs."),
        &["version"],
    )?;
    build.with_label_values(&[env!("CARGO_PKG_VERSION")]).set(1);
    registry.register(Box::new(build))?;
    Ok(registry)
}
