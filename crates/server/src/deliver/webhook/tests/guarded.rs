//! Where webhooks may lead: every special range at its edges, and URLs meant to deceive.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use duly_engine::command::Verdict;
use hyper::Uri;

use super::super::guard::{Destination, Guard};
use super::receiver::{Receiver, answer, webhook};
use super::{Webhooks, client, one};
use crate::deliver::tests::is_retry;

const PUBLIC: Guard = Guard { allow_private: false, allow_loopback: false };
const HOME: Guard = Guard { allow_private: false, allow_loopback: true };
const PRIVATE: Guard = Guard { allow_private: true, allow_loopback: false };

/// Which guards let an address through: the strict one, the one at home, the private one.
fn let_through(address: IpAddr) -> [bool; 3] {
    [PUBLIC, HOME, PRIVATE].map(|guard| guard.check(&[address], 443).is_ok())
}

const NOWHERE: [bool; 3] = [false, false, false];
const AT_HOME: [bool; 3] = [false, true, true];
const IF_PRIVATE: [bool; 3] = [false, false, true];
const ANYWHERE: [bool; 3] = [true, true, true];

#[test]
fn special_addresses_are_refused_at_both_ends_of_their_ranges_and_not_beyond() {
    for (before, first, last, after, expected) in [
        ("", "0.0.0.0", "0.255.255.255", "1.0.0.0", NOWHERE),
        ("9.255.255.255", "10.0.0.0", "10.255.255.255", "11.0.0.0", IF_PRIVATE),
        ("100.63.255.255", "100.64.0.0", "100.127.255.255", "100.128.0.0", IF_PRIVATE),
        ("126.255.255.255", "127.0.0.0", "127.255.255.255", "128.0.0.0", AT_HOME),
        ("169.253.255.255", "169.254.0.0", "169.254.255.255", "169.255.0.0", NOWHERE),
        ("172.15.255.255", "172.16.0.0", "172.31.255.255", "172.32.0.0", IF_PRIVATE),
        ("191.255.255.255", "192.0.0.0", "192.0.0.255", "192.0.1.0", NOWHERE),
        ("192.0.1.255", "192.0.2.0", "192.0.2.255", "192.0.3.0", NOWHERE),
        ("192.31.195.255", "192.31.196.0", "192.31.196.255", "192.31.197.0", NOWHERE),
        ("192.52.192.255", "192.52.193.0", "192.52.193.255", "192.52.194.0", NOWHERE),
        ("192.88.98.255", "192.88.99.0", "192.88.99.255", "192.88.100.0", NOWHERE),
        ("192.167.255.255", "192.168.0.0", "192.168.255.255", "192.169.0.0", IF_PRIVATE),
        ("192.175.47.255", "192.175.48.0", "192.175.48.255", "192.175.49.0", NOWHERE),
        ("198.17.255.255", "198.18.0.0", "198.19.255.255", "198.20.0.0", NOWHERE),
        ("198.51.99.255", "198.51.100.0", "198.51.100.255", "198.51.101.0", NOWHERE),
        ("203.0.112.255", "203.0.113.0", "203.0.113.255", "203.0.114.0", NOWHERE),
        ("223.255.255.255", "224.0.0.0", "255.255.255.255", "", NOWHERE),
        // Metadata services: one address each.
        ("168.63.129.15", "168.63.129.16", "168.63.129.16", "168.63.129.17", NOWHERE),
        ("", "2001::", "2001:1ff:ffff:ffff:ffff:ffff:ffff:ffff", "2001:200::", NOWHERE),
        (
            "2001:db7:ffff::",
            "2001:db8::",
            "2001:db8:ffff:ffff:ffff:ffff:ffff:ffff",
            "2001:db9::",
            NOWHERE,
        ),
        ("2001:ffff::", "2002::", "2002:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "2003::", NOWHERE),
        ("3ffe::", "3fff::", "3fff:fff:ffff:ffff:ffff:ffff:ffff:ffff", "3fff:1000::", NOWHERE),
    ] {
        let address = |text: &str| text.parse::<IpAddr>().expect("an address");
        assert_eq!(let_through(address(first)), expected, "{first}");
        assert_eq!(let_through(address(last)), expected, "{last}");
        for beyond in [before, after] {
            if !beyond.is_empty() {
                assert_eq!(let_through(address(beyond)), ANYWHERE, "{beyond}");
            }
        }
    }
}

#[test]
fn of_ipv6_only_global_addresses_are_public() {
    for (text, expected) in [
        ("::", NOWHERE),
        ("::1", AT_HOME),
        ("::2", NOWHERE),
        // IPv4 in IPv6, in each of its forms.
        ("::127.0.0.1", NOWHERE),
        ("::ffff:127.0.0.1", NOWHERE),
        ("::ffff:8.8.8.8", NOWHERE),
        ("::ffff:0:127.0.0.1", NOWHERE),
        ("64:ff9b::10.0.0.1", NOWHERE),
        ("64:ff9b::8.8.8.8", NOWHERE),
        ("64:ff9b:1::1", NOWHERE),
        ("2002:7f00:1::", NOWHERE),
        ("2001:0:4136:e378:8000:63bf:3fff:fdd2", NOWHERE),
        ("100::1", NOWHERE),
        ("1fff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", NOWHERE),
        ("2000::", ANYWHERE),
        ("2606:4700::1111", ANYWHERE),
        ("3fff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", ANYWHERE),
        ("4000::", NOWHERE),
        ("5f00::1", NOWHERE),
        ("fbff:ffff::", NOWHERE),
        ("fc00::", IF_PRIVATE),
        ("fd12:3456::1", IF_PRIVATE),
        ("fdff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", IF_PRIVATE),
        ("fd00:ec2::254", NOWHERE),
        ("fd00:ec2::253", IF_PRIVATE),
        ("fe00::", NOWHERE),
        ("fe80::1", NOWHERE),
        ("fec0::1", NOWHERE),
        ("ff02::1", NOWHERE),
        ("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", NOWHERE),
    ] {
        let address: Ipv6Addr = text.parse().expect("an address");
        assert_eq!(let_through(address.into()), expected, "{text}");
    }
    assert_eq!(let_through(Ipv4Addr::new(100, 100, 100, 200).into()), NOWHERE);
    assert_eq!(let_through(Ipv4Addr::new(100, 100, 100, 201).into()), IF_PRIVATE);
}

#[test]
fn every_ipv4_network_is_judged_as_the_registry_lists_it() {
    // By the first two bytes, written down without the table.
    for high in 0..=255_u8 {
        for low in 0..=255_u8 {
            let private =
                matches!((high, low), (10, _) | (100, 64..=127) | (172, 16..=31) | (192, 168));
            let never = matches!((high, low), (0 | 224.., _) | (169, 254) | (198, 18 | 19));
            let expected = match () {
                () if private => IF_PRIVATE,
                () if high == 127 => AT_HOME,
                () if never => NOWHERE,
                () => ANYWHERE,
            };
            let address = Ipv4Addr::new(high, low, 254, 254);
            assert_eq!(let_through(address.into()), expected, "{address}");
        }
    }
}

#[test]
fn one_refused_answer_refuses_the_name() {
    let public: IpAddr = Ipv4Addr::new(8, 8, 8, 8).into();
    let private: IpAddr = Ipv4Addr::new(10, 0, 0, 1).into();
    assert!(PUBLIC.check(&[public, public], 443).is_ok());
    assert!(PUBLIC.check(&[public, private], 443).is_err());
    assert!(PUBLIC.check(&[private, public], 443).is_err());
    assert!(PRIVATE.check(&[private, public], 443).is_ok());
}

#[test]
fn low_ports_are_those_of_the_web() {
    let public = [Ipv4Addr::new(8, 8, 8, 8).into()];
    for port in 0..=u16::MAX {
        let web = matches!(port, 80 | 443 | 1024..);
        assert_eq!(PUBLIC.check(&public, port).is_ok(), web, "{port}");
        assert_eq!(PRIVATE.check(&public, port).is_ok(), port != 0, "{port}");
    }
}

#[test]
fn a_url_is_taken_apart_or_refused() {
    for (url, expected) in [
        ("http://shop.example/lapsed", Some((false, "shop.example", 80))),
        ("https://shop.example/lapsed?a=b", Some((true, "shop.example", 443))),
        ("HTTPS://shop.example", Some((true, "shop.example", 443))),
        ("http://shop.example:8080", Some((false, "shop.example", 8080))),
        ("http://shop.example.:8080", Some((false, "shop.example.", 8080))),
        ("http://127.0.0.1:8080/", Some((false, "127.0.0.1", 8080))),
        ("http://[::1]:8080/", Some((false, "::1", 8080))),
        ("http://[::1]/", Some((false, "::1", 80))),
        ("http://xn--bcher-kva.example/", Some((false, "xn--bcher-kva.example", 80))),
        ("http://user@shop.example/", None),
        ("http://user:pass@shop.example/", None),
        ("http://shop.example@10.0.0.1/", None),
        ("http://shop.example:80@10.0.0.1/", None),
        ("http://@10.0.0.1/", None),
        ("http://shop.example:65536/", None),
        ("http://shop.example:abc/", None),
        ("http://shop.example:-1/", None),
        ("http:///lapsed", None),
        ("http://:80/", None),
        ("http:shop.example", None),
        ("//shop.example/", None),
        ("/lapsed", None),
        ("shop.example", None),
        ("shop.example:80", None),
        ("", None),
        ("file:///etc/passwd", None),
        ("ftp://shop.example/", None),
        ("gopher://shop.example/", None),
        ("unix:/run/shop.sock", None),
        ("javascript:alert(1)", None),
        ("http://shop.example\\@10.0.0.1/", None),
        ("http://shop.example\t/", None),
        ("http://shop.example\r\nhost: other/", None),
        ("http://shop example/", None),
        ("http://bücher.example/", None),
        ("http://[::1/", None),
        ("http://[fe80::1%25eth0]/", None),
        ("http://[fe80::1%eth0]/", None),
        ("http://[shop.example]/", None),
        ("http://[127.0.0.1]/", None),
        ("http://[]/", None),
    ] {
        let found = url.parse::<Uri>().ok().and_then(|url| Destination::of(&url).ok());
        let found = found.as_ref().map(|found| (found.tls, found.host.as_str(), found.port));
        assert_eq!(found, expected, "{url:?}");
    }
}

#[tokio::test]
async fn no_spelling_of_this_machine_gets_through() {
    let receiver = Receiver::new(|_| answer(200, "", "")).await;
    let strict = Webhooks::new(PUBLIC);
    let port = receiver.port();
    for host in [
        "127.0.0.1",
        "127.1",
        "127.0.1",
        "2130706433",
        "0x7f000001",
        "0x7f.1",
        "0x7f.0x0.0x0.0x1",
        "0177.0.0.1",
        "017700000001",
        "127.0.0.1.",
        "127.255.255.254",
        "0",
        "0.0.0.0",
        "00000.0",
        "localhost",
        "localhost.",
        "LOCALHOST",
        "[::1]",
        "[0:0:0:0:0:0:0:1]",
        "[::]",
        "[::ffff:127.0.0.1]",
        "[::ffff:7f00:1]",
        "[::127.0.0.1]",
        "[64:ff9b::127.0.0.1]",
        "user@127.0.0.1",
        "shop.example@127.0.0.1",
        "127.0.0.1%00",
        "127.0.0.1%2f",
        "%31%32%37.0.0.1",
        "①②⑦.0.0.1",
        "[fe80::1%25lo]",
    ] {
        let verdict = one(&strict, &webhook(&format!("http://{host}:{port}/lapsed"), 1)).await;
        assert!(
            ["refused_address: ", "bad_url: ", "dns: ", "connect: no connection"]
                .iter()
                .any(|word| is_retry(&verdict, word)),
            "{host}: {verdict:?}"
        );
    }
    assert_eq!(receiver.connections(), 0);
    // The same machine is a target while that is allowed.
    assert_eq!(one(&client(), &receiver.webhook(1)).await, Verdict::Done);
    assert_eq!(receiver.connections(), 1);
}
