//! Addresses that people have tried on others, and what becomes of each.

use std::net::IpAddr;
use std::time::Duration;

use url::Url;

use super::{ip, post, refused};
use crate::rules::{Reach, reach};
use crate::{Lookup, Outbound, OutboundConfig, PostError, Refused};

/// What an address comes to outside the dev profile.
#[derive(Debug, Clone, Copy)]
enum Fate {
    /// No URL at all: the create is refused.
    NoUrl,
    /// Refused before anything is looked up.
    No(Refused),
    /// Refused by what its name leads to.
    Looked,
    /// Let out, to this host and nothing else that the text may suggest.
    Host(&'static str),
}

use Fate::{Host, Looked, No, NoUrl};
use Refused::{Address, Port, Scheme, UserInfo};

const TRICKS: &[(&str, Fate)] = &[
    // what a bot would say
    ("https://bot.example/callbacks?key=1", Host("bot.example")),
    ("https://8.8.8.8/", Host("8.8.8.8")),
    ("https://[2606:4700::1111]/", Host("[2606:4700::1111]")),
    ("https://bot.example:443/", Host("bot.example")),
    // loopback, spelt
    ("https://127.0.0.1/", No(Address)),
    ("https://127.1/", No(Address)),
    ("https://127.0.1/", No(Address)),
    ("https://2130706433/", No(Address)),
    ("https://0x7f000001/", No(Address)),
    ("https://0x7f.0.0.0x1/", No(Address)),
    ("https://0177.0.0.1/", No(Address)),
    ("https://017700000001/", No(Address)),
    ("https://0177.0x0.1/", No(Address)),
    ("https://127.127.127.127/", No(Address)),
    ("https://127.0.0.1./", No(Address)),
    ("https://%31%32%37.0.0.1/", No(Address)),
    ("https://%312%37.0.0.1/", No(Address)),
    ("https://\u{ff11}\u{ff12}\u{ff17}.0.0.1/", No(Address)),
    (
        "https://\u{2460}\u{2461}\u{2466}.\u{24ea}.\u{24ea}.\u{2460}/",
        No(Address),
    ),
    ("https://127\u{3002}0\u{3002}0\u{3002}1/", No(Address)),
    ("https://127\u{ff0e}0\u{ff61}0.1/", No(Address)),
    ("https://12\t7.0.0.1/", No(Address)),
    ("  https://127.0.0.1/  ", No(Address)),
    ("https:127.0.0.1/", No(Address)),
    ("https:/\\127.0.0.1/", No(Address)),
    ("https:////127.0.0.1/", No(Address)),
    ("HTTPS://127.0.0.1/", No(Address)),
    ("https://[::1]/", No(Address)),
    ("https://[0:0:0:0:0:0:0:1]/", No(Address)),
    ("https://[0000::0001]/", No(Address)),
    // unspecified: Linux connects to itself
    ("https://0.0.0.0/", No(Address)),
    ("https://0/", No(Address)),
    ("https://0x0/", No(Address)),
    ("https://[::]/", No(Address)),
    // cloud metadata and platform agents
    ("https://169.254.169.254/latest/meta-data/", No(Address)),
    ("https://2852039166/", No(Address)),
    ("https://0xa9fea9fe/", No(Address)),
    ("https://0251.0376.0251.0376/", No(Address)),
    ("https://169.254.43518/", No(Address)),
    ("https://169.16689662/", No(Address)),
    ("https://100.100.100.200/", No(Address)),
    ("https://192.0.0.192/", No(Address)),
    ("https://168.63.129.16/", No(Address)),
    ("https://[fd00:ec2::254]/", No(Address)),
    ("https://[fd20:ce::254]/", No(Address)),
    // private and shared networks
    ("https://10.0.0.1/", No(Address)),
    ("https://10.1/", No(Address)),
    ("https://172.16.0.1/", No(Address)),
    ("https://172.31.255.255/", No(Address)),
    ("https://192.168.1.1/", No(Address)),
    ("https://100.64.0.1/", No(Address)),
    ("https://100.127.255.255/", No(Address)),
    ("https://198.18.0.1/", No(Address)),
    ("https://[fc00::1]/", No(Address)),
    ("https://[fe80::1]/", No(Address)),
    ("https://[fec0::1]/", No(Address)),
    // reserved, documentation, many listeners
    ("https://192.0.2.1/", No(Address)),
    ("https://198.51.100.1/", No(Address)),
    ("https://203.0.113.1/", No(Address)),
    ("https://192.88.99.1/", No(Address)),
    ("https://224.0.0.1/", No(Address)),
    ("https://239.255.255.250/", No(Address)),
    ("https://240.0.0.1/", No(Address)),
    ("https://255.255.255.255/", No(Address)),
    ("https://[ff02::1]/", No(Address)),
    ("https://[2001:db8::1]/", No(Address)),
    ("https://[3fff::1]/", No(Address)),
    ("https://[100::1]/", No(Address)),
    ("https://[5f00::1]/", No(Address)),
    // IPv4 inside IPv6
    ("https://[::ffff:127.0.0.1]/", No(Address)),
    ("https://[::ffff:7f00:1]/", No(Address)),
    ("https://[::ffff:a9fe:a9fe]/", No(Address)),
    ("https://[::ffff:0:127.0.0.1]/", No(Address)),
    ("https://[::127.0.0.1]/", No(Address)),
    ("https://[64:ff9b::7f00:1]/", No(Address)),
    ("https://[64:ff9b::169.254.169.254]/", No(Address)),
    ("https://[64:ff9b:1::a00:1]/", No(Address)),
    ("https://[2002:7f00:1::]/", No(Address)),
    ("https://[2002:a9fe:a9fe::]/", No(Address)),
    ("https://[2001::7f00:1]/", No(Address)),
    // zone ids and broken brackets
    ("https://[fe80::1%25lo]/", NoUrl),
    ("https://[::1%lo]/", NoUrl),
    ("https://[::1", NoUrl),
    ("https://[::1]:99999/", NoUrl),
    ("https://127.0.0.256/", NoUrl),
    ("https://0x7f.0.0.0.1/", NoUrl),
    ("https://bot.example%00.evil.example/", NoUrl),
    ("https://bot example/", NoUrl),
    ("https://", NoUrl),
    ("//127.0.0.1/", NoUrl),
    ("", NoUrl),
    // names that lead inside
    ("https://localhost/", Looked),
    ("https://LOCALHOST/", Looked),
    ("https://localhost./", Looked),
    ("https://\u{ff4c}ocalhost/", Looked),
    ("https://a.localhost/", Looked),
    (
        "https://metadata.google.internal/computeMetadata/v1/",
        Looked,
    ),
    ("https://metadata/", Looked),
    ("https://instance-data/", Looked),
    ("https://kubernetes.default.svc/", Looked),
    ("https://127.0.0.1.nip.io/", Looked),
    ("https://169.254.169.254.nip.io/", Looked),
    ("https://xn--localhost-.example/", NoUrl),
    ("https://xn--n3h.example/", Looked),
    ("https://\u{2603}.example/", Looked),
    ("https://six.example/", Looked),
    ("https://mapped.example/", Looked),
    ("https://nat64.example/", Looked),
    ("https://nothing.example/", Looked),
    // user names, and texts that read as another host
    ("https://bot.example@127.0.0.1/", No(UserInfo)),
    ("https://127.0.0.1@bot.example/", No(UserInfo)),
    ("https://u:p@bot.example/", No(UserInfo)),
    ("https://:p@bot.example/", No(UserInfo)),
    ("https://bot.example%2f@127.0.0.1/", No(UserInfo)),
    ("https://a@b@127.0.0.1/", No(UserInfo)),
    ("https://127.0.0.1\\@bot.example/", No(Address)),
    ("https://bot.example\\@127.0.0.1/", Host("bot.example")),
    ("https://bot.example#@127.0.0.1/", Host("bot.example")),
    ("https://bot.example?@127.0.0.1/", Host("bot.example")),
    ("https://127.0.0.1#@bot.example/", No(Address)),
    ("https://bot.example/..//127.0.0.1/", Host("bot.example")),
    // ports
    ("https://bot.example:8443/", No(Port)),
    ("https://bot.example:22/", No(Port)),
    ("https://bot.example:0/", No(Port)),
    ("https://bot.example:80/", No(Port)),
    ("https://127.0.0.1:6379/", No(Port)),
    ("https://bot.example:0443/", Host("bot.example")),
    ("https://bot.example:/", Host("bot.example")),
    // schemes
    ("http://bot.example/", No(Scheme)),
    ("http://127.0.0.1/", No(Scheme)),
    ("ftp://bot.example/", No(Scheme)),
    ("file:///etc/passwd", No(Scheme)),
    ("gopher://127.0.0.1:6379/_INFO", No(Scheme)),
    ("data:text/plain,hello", No(Scheme)),
    ("javascript:alert(1)", No(Scheme)),
    ("unix:/var/run/docker.sock", No(Scheme)),
    ("wss://bot.example/", No(Scheme)),
    ("jar:https://bot.example/!/", No(Scheme)),
];

/// The names of the table, as a hostile or an inner DNS would answer.
fn answers(name: &str) -> Vec<IpAddr> {
    match name.trim_end_matches('.') {
        "localhost" | "a.localhost" => vec![ip("127.0.0.1"), ip("::1")],
        "metadata.google.internal" | "metadata" | "instance-data" | "169.254.169.254.nip.io" => {
            vec![ip("169.254.169.254")]
        }
        "kubernetes.default.svc" => vec![ip("10.96.0.1")],
        "127.0.0.1.nip.io" | "xn--n3h.example" => vec![ip("127.0.0.1")],
        "six.example" => vec![ip("::1"), ip("fe80::1"), ip("fd00::1")],
        "mapped.example" => vec![ip("::ffff:169.254.169.254")],
        "nat64.example" => vec![ip("64:ff9b::a9fe:a9fe")],
        "nothing.example" => Vec::new(),
        other => panic!("{other} is to be refused without a look-up"),
    }
}

fn strict() -> Outbound {
    Outbound::new(OutboundConfig {
        timeout: Duration::from_secs(5),
        lookup: Lookup::new(|name| std::future::ready(Ok(answers(&name)))),
        ..OutboundConfig::default()
    })
    .unwrap()
}

#[tokio::test]
async fn every_trick_ends_as_the_table_says() {
    assert!(TRICKS.len() >= 120, "{}", TRICKS.len());
    let outbound = strict();
    for &(raw, fate) in TRICKS {
        let parsed = Url::parse(raw);
        match (fate, parsed) {
            (NoUrl, parsed) => assert!(parsed.is_err(), "{raw:?} became {parsed:?}"),
            (_, Err(error)) => panic!("{raw:?}: {error}"),
            (No(reason), Ok(url)) => {
                assert_eq!(outbound.check(&url), Err(reason), "{raw:?} is {url}");
                assert_eq!(refused(post(&outbound, url.as_str()).await), reason);
            }
            (Looked, Ok(url)) => {
                assert_eq!(outbound.check(&url), Ok(()), "{raw:?} is {url}");
                let result = post(&outbound, url.as_str()).await;
                assert!(
                    matches!(result, Err(PostError::Refused(Address))),
                    "{raw:?} is {url}: {result:?}"
                );
            }
            (Host(host), Ok(url)) => {
                assert_eq!(outbound.check(&url), Ok(()), "{raw:?} is {url}");
                assert_eq!(url.host_str(), Some(host), "{raw:?}");
            }
        }
    }
}

#[test]
fn dev_adds_loopback_and_nothing_else() {
    let at = |raw: &str| reach(&Url::parse(raw).unwrap(), true, &[]);
    assert_eq!(at("http://127.0.0.1:9000/"), Ok(Reach::Loopback));
    assert_eq!(at("http://localhost:9000/"), Ok(Reach::Loopback));
    assert_eq!(at("http://[::1]:9000/"), Ok(Reach::Loopback));
    assert_eq!(at("https://localhost:8443/"), Ok(Reach::Loopback));
    assert_eq!(at("https://127.0.0.1/"), Ok(Reach::PublicAndLoopback));
    for raw in [
        "http://8.8.8.8/",
        "http://192.168.0.9/",
        "http://0.0.0.0:9000/",
        "http://169.254.169.254/",
        "http://[::ffff:127.0.0.1]:9000/",
        "https://10.1.1.1/",
        "https://8.8.8.8:8443/",
    ] {
        assert_eq!(at(raw), Err(Address), "{raw}");
    }
    assert_eq!(at("http://a@127.0.0.1/"), Err(UserInfo));
    assert_eq!(at("ftp://127.0.0.1/"), Err(Scheme));
}

#[test]
fn ports_are_opened_one_by_one() {
    let at = |raw: &str| reach(&Url::parse(raw).unwrap(), false, &[9441]);
    assert_eq!(at("https://bot.example:9441/"), Ok(Reach::Public));
    assert_eq!(at("https://bot.example/"), Ok(Reach::Public));
    assert_eq!(at("https://bot.example:9442/"), Err(Port));
    assert_eq!(at("https://127.0.0.1:9441/"), Err(Address));
}
