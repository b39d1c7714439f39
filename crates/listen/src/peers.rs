//! How many connections one address has.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;

use parking_lot::Mutex;

/// Counts connections by address. A household or a machine usually has a whole /64 of IPv6, so
/// that counts as one.
#[derive(Debug)]
pub(crate) struct Peers {
    open: Mutex<HashMap<IpAddr, usize>>,
    most: usize,
    exempt: fn(IpAddr) -> bool,
}

/// One of an address's connections; dropping it makes room.
#[derive(Debug)]
pub(crate) struct Place(Option<(Arc<Peers>, IpAddr)>);

impl Peers {
    /// At most `most` for each address, 0 for no limit. Loopback is spared: a proxy on this machine
    /// brings everybody's connections.
    pub(crate) fn new(most: usize) -> Arc<Self> {
        Self::sparing(most, |ip| ip.is_loopback())
    }

    pub(crate) fn sparing(most: usize, exempt: fn(IpAddr) -> bool) -> Arc<Self> {
        Arc::new(Self {
            open: Mutex::default(),
            most,
            exempt,
        })
    }

    /// `None` when the address has all it may have.
    pub(crate) fn admit(self: &Arc<Self>, ip: IpAddr) -> Option<Place> {
        let ip = ip.to_canonical();
        if self.most == 0 || (self.exempt)(ip) {
            return Some(Place(None));
        }
        let key = match ip {
            IpAddr::V4(_) => ip,
            IpAddr::V6(ip) => {
                let [a, b, c, d, ..] = ip.segments();
                Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into()
            }
        };
        let mut open = self.open.lock();
        let count = open.entry(key).or_default();
        if *count >= self.most {
            return None;
        }
        *count += 1;
        Some(Place(Some((Arc::clone(self), key))))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let Some((peers, key)) = &self.0 else { return };
        let mut open = peers.open.lock();
        if let Some(count) = open.get_mut(key) {
            *count -= 1;
            if *count == 0 {
                open.remove(key);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn each_address_has_its_own_count() {
        let peers = Peers::new(2);
        let first = peers.admit(ip("192.0.2.1")).unwrap();
        let _second = peers.admit(ip("::ffff:192.0.2.1")).unwrap();
        assert!(peers.admit(ip("192.0.2.1")).is_none());
        let _other = peers.admit(ip("192.0.2.2")).unwrap();
        drop(first);
        let _again = peers.admit(ip("192.0.2.1")).unwrap();
        assert!(peers.admit(ip("192.0.2.1")).is_none());
    }

    #[test]
    fn a_network_of_64_bits_is_one_address() {
        let peers = Peers::new(1);
        let one = peers.admit(ip("2001:db8:1:2:3:4:5:6")).unwrap();
        assert!(peers.admit(ip("2001:db8:1:2:ffff::1")).is_none());
        let _next = peers.admit(ip("2001:db8:1:3::1")).unwrap();
        drop(one);
        assert!(peers.admit(ip("2001:db8:1:2:ffff::1")).is_some());
    }

    #[test]
    fn loopback_is_spared_and_nothing_is_kept_of_who_left() {
        let peers = Peers::new(1);
        let held: Vec<_> = (0..10)
            .map(|_| peers.admit(ip("127.0.0.1")).unwrap())
            .collect();
        let v6: Vec<_> = (0..10).map(|_| peers.admit(ip("::1")).unwrap()).collect();
        drop((held, v6, peers.admit(ip("192.0.2.1"))));
        assert!(peers.open.lock().is_empty());
    }
}
