//! What a URL may be, as far as it can be told without a look-up.

use std::net::IpAddr;

use url::{Host, Url};

use crate::address::is_public;

/// Why a URL is not used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refused {
    /// Neither https, nor http of the dev profile.
    #[error("the address is not https; only the dev profile takes http, and only to loopback")]
    Scheme,
    /// `user:password@`.
    #[error("the address carries a user name or password; leave them out")]
    UserInfo,
    /// No host.
    #[error("the address names no host")]
    NoHost,
    /// Another port than 443.
    #[error("the port is not 443; use that one, or let the operator allow this one")]
    Port,
    /// Nothing behind the name may be reached.
    #[error(
        "the address leads to a private, loopback, link-local or otherwise special network, or \
         by http or an odd port out of loopback"
    )]
    Address,
}

impl Refused {
    /// One word for a metric's label.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Scheme => "scheme",
            Self::UserInfo => "user_info",
            Self::NoHost => "no_host",
            Self::Port => "port",
            Self::Address => "address",
        }
    }
}

/// Which addresses a connection may be made to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reach {
    /// Global unicast addresses.
    Public,
    /// Those, and loopback.
    PublicAndLoopback,
    /// Loopback only: plain http and odd ports of the dev profile.
    Loopback,
}

impl Reach {
    pub(crate) fn takes(self, ip: IpAddr) -> bool {
        match self {
            Self::Public => is_public(ip),
            Self::PublicAndLoopback => is_public(ip) || ip.is_loopback(),
            Self::Loopback => ip.is_loopback(),
        }
    }
}

/// Whether `url` may be used, as far as that can be told without looking its host up. `ports` are
/// allowed besides 443; `dev` lets http and every port through, to loopback.
///
/// # Errors
/// [`Refused`] names the first rule it breaks.
pub fn check(url: &Url, dev: bool, ports: &[u16]) -> Result<(), Refused> {
    reach(url, dev, ports).map(drop)
}

/// How far `url` may reach, or why it is not used at all.
pub(crate) fn reach(url: &Url, dev: bool, ports: &[u16]) -> Result<Reach, Refused> {
    if !url.username().is_empty() || url.password().is_some() {
        return Err(Refused::UserInfo);
    }
    let usual = url
        .port_or_known_default()
        .is_some_and(|port| port == 443 || ports.contains(&port));
    let reach = match (url.scheme(), dev) {
        ("https", false) if usual => Reach::Public,
        ("https", false) => return Err(Refused::Port),
        ("https", true) if usual => Reach::PublicAndLoopback,
        ("https" | "http", true) => Reach::Loopback,
        _ => return Err(Refused::Scheme),
    };
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
