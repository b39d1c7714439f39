//! A next page is followed on the same server only, and only to the same list.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use openmic_graph::{Credential, GraphClient, GraphConfig, Metrics};
use openmic_model::{AppId, CallId, TenantId};
use openmic_wire::resource::Resource;
use url::Url;

static CLIENT: LazyLock<GraphClient> = LazyLock::new(|| {
    let base = Url::parse("http://127.0.0.1:7081/v1.0").expect("a URL");
    let credential = Credential {
        tenant: TenantId::parse("t").expect("an id"),
        app: AppId::parse("a").expect("an id"),
        secret: "s".to_owned().into(),
    };
    GraphClient::new(
        &GraphConfig::new(base.clone(), base, credential),
        &Metrics::new(),
    )
    .expect("plain http needs nothing")
});

fuzz_target!(|data: &[u8]| {
    let Some(raw) = openmic_fuzz::text(data) else {
        return;
    };
    let call = CallId::parse("c").expect("an id");
    let from = Url::parse("http://127.0.0.1:7081/v1.0/communications/calls/c/participants?a=b")
        .expect("a URL");
    if let Some(next) = openmic_graph::fuzzing::next_page(&CLIENT, &from, raw, &call) {
        assert_eq!(next.origin(), from.origin());
        assert!(next.username().is_empty() && next.password().is_none());
        assert!(next.path().starts_with("/v1.0/"), "{next}");
        assert_eq!(Resource::parse(next.as_str()), Resource::Participants(call));
    }
});
