use std::net::Ipv4Addr;

use super::*;

const LOCALHOST: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// A plan for `pairs` pairs that are free now. Another program may be quicker, so ask again then.
fn plan(pairs: u16) -> (PortPlan, RangeInclusive<u16>) {
    for _ in 0..100 {
        let any = PortPlan::new(LOCALHOST, None);
        let first = any.open(None, &[]).unwrap().local_addr.port();
        let Some(last) = first.checked_add(2 * pairs - 1) else {
            continue;
        };
        let all = (first..=last).map(|port| UdpSocket::bind((LOCALHOST, port).into()));
        if all.collect::<io::Result<Vec<_>>>().is_ok() {
            let range = first..=last;
            return (PortPlan::new(LOCALHOST, Some(range.clone())), range);
        }
    }
    panic!("no {pairs} free pairs in a row");
}

#[test]
fn rtp_is_even_and_rtcp_one_above() {
    let any = PortPlan::new(LOCALHOST, None);
    for _ in 0..20 {
        let opened = any.open(None, &[]).unwrap();
        let rtp = opened.transport.rtp.local_addr().unwrap();
        let rtcp = opened.transport.rtcp.local_addr().unwrap();
        assert_eq!(rtp, opened.local_addr);
        assert_eq!((rtp.port() % 2, rtcp.port()), (0, rtp.port() + 1));
    }
}

#[test]
fn a_range_is_used_up_and_freed() {
    let (plan, range) = plan(3);
    let mut held: Vec<_> = (0..3).map(|_| plan.open(None, &[]).unwrap()).collect();
    let ports: Vec<_> = held.iter().map(|opened| opened.local_addr.port()).collect();
    assert!(
        ports
            .iter()
            .all(|port| port % 2 == 0 && range.contains(port))
    );
    let refused = plan.open(None, &[]).unwrap_err();
    assert!(matches!(refused, JoinError::NoPort { .. }), "{refused}");
    assert!(
        refused
            .to_string()
            .contains(&format!("{}-{}", range.start(), range.end()))
    );
    let freed = held.remove(1).local_addr;
    assert_eq!(plan.open(None, &[]).unwrap().local_addr, freed);
}

#[test]
fn an_address_without_a_way_is_named() {
    let plan = PortPlan::new(Ipv4Addr::LOCALHOST.into(), None);
    let remote = "192.0.2.1:4000".parse().unwrap();
    for (main, slots) in [(Some(remote), &[][..]), (None, &[remote][..])] {
        let error = plan.open(main, slots).unwrap_err();
        assert!(matches!(error, JoinError::Unroutable { .. }), "{error}");
    }
}

#[test]
fn a_range_without_a_pair_is_refused() {
    // the fields of an inclusive range say what was meant
    for range in [7101..=7101, 7101..=7102, 7100..=7100] {
        let plan = PortPlan::new(LOCALHOST, Some(range));
        let refused = plan.open(None, &[]).unwrap_err();
        assert!(matches!(refused, JoinError::NoPort { .. }));
    }
}

#[test]
fn a_loosened_socket_keeps_its_port_and_its_peer() {
    let plan = PortPlan::new(LOCALHOST, None);
    let peer = std::net::UdpSocket::bind((LOCALHOST, 0)).unwrap();
    let opened = plan.open(Some(peer.local_addr().unwrap()), &[]).unwrap();
    let mut transport = opened.transport;
    assert!(transport.is_connected());
    transport.loosen();
    assert!(!transport.is_connected());
    assert_eq!(transport.rtp.local_addr().unwrap(), opened.local_addr);
    assert_eq!(transport.peer(), peer.local_addr().ok());
    transport.send(None, b"still").unwrap().unwrap();
    let mut buffer = [0; 8];
    assert_eq!(peer.recv_from(&mut buffer).unwrap(), (5, opened.local_addr));
}

#[test]
fn nothing_is_sent_to_nobody() {
    let plan = PortPlan::new(LOCALHOST, None);
    let opened = plan.open(None, &[]).unwrap();
    assert!(opened.transport.send(None, b"x").is_none());
}

#[test]
fn a_receiver_that_was_away_misses_nothing_more() {
    let plan = PortPlan::new(LOCALHOST, None);
    let peer = std::net::UdpSocket::bind((LOCALHOST, 0)).unwrap();
    let addr = peer.local_addr().unwrap();
    let opened = plan.open(Some(addr), &[]).unwrap();
    drop(peer);
    // refused by the kernel, which tells on the next call
    opened.transport.send(None, b"lost").unwrap().unwrap();
    let peer = std::net::UdpSocket::bind(addr).unwrap();
    opened.transport.send(None, b"heard").unwrap().unwrap();
    let mut buffer = [0; 8];
    assert_eq!(peer.recv(&mut buffer).unwrap(), 5);
}
