//! Which addresses are the public internet's.
//!
//! Source: IANA special-purpose address registries (RFC 6890); CGNAT is RFC 6598, NAT64 RFC 6052.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Azure's platform address: it looks public, and from inside a virtual machine it is the host's
/// own agent. Source: Azure, "What is IP address 168.63.129.16?".
const AZURE_HOST: Ipv4Addr = Ipv4Addr::new(168, 63, 129, 16);

/// Whether a packet to `ip` leaves for the public internet.
pub(crate) fn is_public(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => is_public_v4(ip),
        IpAddr::V6(ip) => is_public_v6(ip),
    }
}

fn is_public_v4(ip: Ipv4Addr) -> bool {
    let [a, b, c, _] = ip.octets();
    let special = ip.is_private()
        || ip.is_loopback()
        || ip.is_link_local()
        || ip.is_multicast()
        || ip.is_broadcast()
        || ip.is_documentation()
        || a == 0
        || (a == 100 && (64..128).contains(&b))
        || (a == 192 && b == 0 && c == 0)
        || (a == 192 && b == 88 && c == 99)
        || (a == 198 && (18..20).contains(&b))
        || a >= 240
        || ip == AZURE_HOST;
    !special
}

fn is_public_v6(ip: Ipv6Addr) -> bool {
    if let Some(v4) = ip.to_ipv4_mapped() {
        return is_public_v4(v4);
    }
    let [a, b, ..] = ip.segments();
    // Global unicast is 2000::/3; inside it 2001::/23 is for protocols, 2001:db8::/32 and
    // 3fff::/20 for documentation, 2002::/16 wraps an IPv4 address. NAT64 lies outside.
    (a & 0xe000) == 0x2000
        && !(a == 0x2001 && (b < 0x0200 || b == 0x0db8))
        && a != 0x2002
        && !(a == 0x3fff && b < 0x1000)
}
