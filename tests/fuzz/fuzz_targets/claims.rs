//! Claims are taken only of the issuer, audience, tenant and time that were asked for.
#![no_main]

use std::time::{Duration, SystemTime};

use libfuzzer_sys::fuzz_target;
use openmic_auth::ValidatorConfig;

fuzz_target!(|data: &[u8]| {
    let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_764_000_000);
    let config = ValidatorConfig::notifications(
        vec!["https://graph.microsoft.com".to_owned()],
        vec!["22222222-2222-4222-8222-222222222222".to_owned()],
    );
    if let Ok(claims) = openmic_auth::fuzzing::claims(data, &config, now) {
        assert!(config.issuers.contains(&claims.issuer));
        assert!(config.audiences.contains(&claims.audience));
        assert!(claims.tenant.is_some());
        assert!(claims.expires + config.skew > now);
        assert!(claims.not_before <= now + config.skew);
    }
});
