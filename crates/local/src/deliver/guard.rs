//! Where notifications may go: the guard against being sent into the network behind us.
//!
//! A host is resolved once, every address that is refused is left out, and the connection is made
//! to one of the addresses that were checked (threat T-8: a name that answers differently the
//! second time changes nothing).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use url::{Host, Url};

/// Why a callback address is not used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refused {
    #[error("callbackUri is not https; only the dev profile takes http, and only to loopback")]
    Scheme,
    #[error("callbackUri carries a user name or password")]
    UserInfo,
    #[error("callbackUri names no host")]
    NoHost,
    #[error("callbackUri leads to a private, loopback, link-local or otherwise special address")]
    Address,
}

/// Which addresses a connection may be made to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reach {
    /// Global unicast addresses.
    Public,
    /// Those, and loopback.
    PublicAndLoopback,
    /// Loopback only: plain http of the dev profile.
    Loopback,
}

impl Reach {
    fn takes(self, ip: IpAddr) -> bool {
        match self {
            Self::Public => is_public(ip),
            Self::PublicAndLoopback => is_public(ip) || ip.is_loopback(),
            Self::Loopback => ip.is_loopback(),
        }
    }
}

/// How far `url` may reach, or why it is not used at all. Names are checked when they are looked up.
pub(crate) fn check(url: &Url, dev: bool) -> Result<Reach, Refused> {
    let reach = match (url.scheme(), dev) {
        ("https", false) => Reach::Public,
        ("https", true) => Reach::PublicAndLoopback,
        ("http", true) => Reach::Loopback,
        _ => return Err(Refused::Scheme),
    };
    if !url.username().is_empty() || url.password().is_some() {
        return Err(Refused::UserInfo);
    }
    let literal = match url.host().ok_or(Refused::NoHost)? {
        Host::Ipv4(ip) => Some(IpAddr::V4(ip)),
        Host::Ipv6(ip) => Some(IpAddr::V6(ip)),
        Host::Domain(_) => None,
    };
    match literal {
        Some(ip) if !reach.takes(ip) => Err(Refused::Address),
        _ => Ok(reach),
    }
}

/// A resolver that hands out only addresses within its reach.
#[derive(Debug, Clone, Copy)]
pub(crate) struct GuardedResolver(pub(crate) Reach);

impl Resolve for GuardedResolver {
    fn resolve(&self, name: Name) -> Resolving {
        let reach = self.0;
        Box::pin(async move {
            let found = tokio::net::lookup_host((name.as_str(), 0)).await?;
            let kept: Vec<SocketAddr> = found.filter(|at| reach.takes(at.ip())).collect();
            if kept.is_empty() {
                return Err(Refused::Address.into());
            }
            Ok(Box::new(kept.into_iter()) as Addrs)
        })
    }
}

/// Whether a packet to `ip` leaves for the public internet.
///
/// Source: IANA special-purpose address registries (RFC 6890); CGNAT is RFC 6598, NAT64 RFC 6052.
fn is_public(ip: IpAddr) -> bool {
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
        || a >= 240;
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

#[cfg(test)]
mod tests {
    use super::*;

    fn at(url: &str, dev: bool) -> Result<Reach, Refused> {
        check(&Url::parse(url).unwrap(), dev)
    }

    #[test]
    fn outside_dev_only_public_https_is_reached() {
        assert_eq!(at("https://bot.example/x", false), Ok(Reach::Public));
        assert_eq!(at("https://8.8.8.8/", false), Ok(Reach::Public));
        assert_eq!(at("http://bot.example/x", false), Err(Refused::Scheme));
        assert_eq!(at("ftp://bot.example/x", false), Err(Refused::Scheme));
        assert_eq!(
            at("https://u:p@bot.example/", false),
            Err(Refused::UserInfo)
        );
        for tricky in [
            "127.0.0.1",
            "0x7f000001",
            "2130706433",
            "0177.0.0.1",
            "127.1",
            "0.0.0.0",
            "10.0.0.1",
            "172.16.0.1",
            "192.168.1.1",
            "169.254.169.254",
            "100.64.0.1",
            "192.0.0.8",
            "192.0.2.1",
            "198.18.0.1",
            "198.51.100.1",
            "203.0.113.1",
            "224.0.0.1",
            "240.0.0.1",
            "255.255.255.255",
            "[::1]",
            "[::]",
            "[::ffff:127.0.0.1]",
            "[::ffff:a9fe:a9fe]",
            "[::127.0.0.1]",
            "[fe80::1]",
            "[fc00::1]",
            "[fd00:ec2::254]",
            "[ff02::1]",
            "[64:ff9b::7f00:1]",
            "[64:ff9b:1::7f00:1]",
            "[2001:db8::1]",
            "[2001::1]",
            "[2002:7f00:1::]",
            "[100::1]",
            "[3fff::1]",
            "[5f00::1]",
        ] {
            let url = format!("https://{tricky}/");
            assert_eq!(at(&url, false), Err(Refused::Address), "{tricky}");
        }
        assert_eq!(at("https://[2606:4700::1111]/", false), Ok(Reach::Public));
    }

    #[test]
    fn dev_adds_loopback_and_nothing_else() {
        assert_eq!(at("http://127.0.0.1:9000/", true), Ok(Reach::Loopback));
        assert_eq!(at("http://localhost:9000/", true), Ok(Reach::Loopback));
        assert_eq!(at("http://8.8.8.8/", true), Err(Refused::Address));
        assert_eq!(at("http://192.168.0.9/", true), Err(Refused::Address));
        assert_eq!(at("https://127.0.0.1/", true), Ok(Reach::PublicAndLoopback));
        assert_eq!(at("https://10.1.1.1/", true), Err(Refused::Address));
    }

    #[tokio::test]
    async fn a_name_is_refused_by_what_it_resolves_to() {
        let name = || "localhost".parse::<Name>().unwrap();
        let refused = GuardedResolver(Reach::Public).resolve(name()).await;
        assert!(refused.err().unwrap().downcast_ref::<Refused>().is_some());
        assert!(
            GuardedResolver(Reach::Loopback)
                .resolve(name())
                .await
                .is_ok()
        );
    }
}
