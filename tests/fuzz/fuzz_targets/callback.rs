//! No URL the guard lets through names an address that is not public, or a scheme it should not.
#![no_main]

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use libfuzzer_sys::fuzz_target;
use url::{Host, Url};

fuzz_target!(|data: &[u8]| {
    let Some(url) = openmic_fuzz::text(data).and_then(|text| Url::parse(text).ok()) else {
        return;
    };
    let literal = match url.host() {
        Some(Host::Ipv4(ip)) => Some(IpAddr::V4(ip)),
        Some(Host::Ipv6(ip)) => Some(IpAddr::V6(ip)),
        _ => None,
    };
    if openmic_outbound::check(&url, false, &[8443]).is_ok() {
        assert_eq!(url.scheme(), "https");
        assert!(
            matches!(url.port_or_known_default(), Some(443 | 8443)),
            "{url}"
        );
        assert!(url.username().is_empty() && url.password().is_none());
        assert!(literal.is_none_or(outside), "{url}");
    }
    if openmic_outbound::check(&url, true, &[]).is_ok() {
        assert!(matches!(url.scheme(), "http" | "https"));
        assert!(
            literal.is_none_or(|ip| ip.is_loopback() || outside(ip)),
            "{url}"
        );
    }
});

/// Written from the registries of RFC 6890, not from the guard: a list of prefixes.
fn outside(ip: IpAddr) -> bool {
    const V4: [(Ipv4Addr, u32); 16] = [
        (Ipv4Addr::new(0, 0, 0, 0), 8),
        (Ipv4Addr::new(10, 0, 0, 0), 8),
        (Ipv4Addr::new(100, 64, 0, 0), 10),
        (Ipv4Addr::new(127, 0, 0, 0), 8),
        (Ipv4Addr::new(168, 63, 129, 16), 32), // Azure's host agent
        (Ipv4Addr::new(169, 254, 0, 0), 16),
        (Ipv4Addr::new(172, 16, 0, 0), 12),
        (Ipv4Addr::new(192, 0, 0, 0), 24),
        (Ipv4Addr::new(192, 0, 2, 0), 24),
        (Ipv4Addr::new(192, 88, 99, 0), 24),
        (Ipv4Addr::new(192, 168, 0, 0), 16),
        (Ipv4Addr::new(198, 18, 0, 0), 15),
        (Ipv4Addr::new(198, 51, 100, 0), 24),
        (Ipv4Addr::new(203, 0, 113, 0), 24),
        (Ipv4Addr::new(224, 0, 0, 0), 4),
        (Ipv4Addr::new(240, 0, 0, 0), 4),
    ];
    match ip {
        IpAddr::V4(ip) => !V4
            .iter()
            .any(|(net, bits)| (ip.to_bits() ^ net.to_bits()) >> (32 - bits) == 0),
        IpAddr::V6(ip) => {
            let mapped = (ip.to_bits() >> 32) == 0xffff;
            if mapped {
                let low = u32::try_from(ip.to_bits() & 0xffff_ffff).expect("32 bits");
                return outside(IpAddr::V4(Ipv4Addr::from_bits(low)));
            }
            let within = |net: &str, bits: u32| {
                let net: Ipv6Addr = net.parse().expect("a literal");
                (ip.to_bits() ^ net.to_bits()) >> (128 - bits) == 0
            };
            // all that is assigned for the public lies in 2000::/3
            within("2000::", 3)
                && !within("2001:db8::", 32)
                && !within("2001::", 32)
                && !within("2001:10::", 28)
                && !within("2001:20::", 28)
                && !within("2002::", 16)
                && !within("3fff::", 20)
        }
    }
}
