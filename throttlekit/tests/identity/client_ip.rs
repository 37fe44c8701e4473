//! The client's address: what clients write must not choose it.

use std::net::{IpAddr, Ipv4Addr};

use proptest::prelude::*;
use throttlekit::identity::{AddressText, ClientIp, ClientIpBuilder, aggregate, parse_address};

/// Whom a case trusts.
#[derive(Clone, Copy, Debug)]
enum Trust {
    Nobody,
    Hops(u32),
    Networks(&'static [&'static str]),
}

fn trusting(trust: Trust) -> ClientIpBuilder {
    match trust {
        Trust::Nobody => ClientIp::builder().trust_nobody(),
        Trust::Hops(hops) => ClientIp::builder().trust_hops(hops),
        Trust::Networks(networks) => ClientIp::builder().trust_proxies(networks.iter().copied()),
    }
}

fn key(client: &ClientIp, peer: Option<&str>, lines: &[&str]) -> Option<String> {
    let peer = peer.map(|peer| parse_address(peer).unwrap());
    client.derive(peer, lines.iter().map(|line| line.as_bytes())).map(|text| text.as_str().to_owned())
}

const TEN: Trust = Trust::Networks(&["10.0.0.0/8"]);

/// Peer, lines of `X-Forwarded-For`, trust, and the key in strict and in lenient mode.
type Case = (&'static str, &'static [&'static str], Trust, &'static str, &'static str);

#[rustfmt::skip]
const CASES: &[Case] = &[
    ("203.0.113.7", &["1.2.3.4, 9.9.9.9"], Trust::Nobody, "203.0.113.7", "203.0.113.7"),
    ("10.0.0.1", &["1.1.1.1, 2.2.2.2"], Trust::Hops(0), "10.0.0.1", "10.0.0.1"),
    ("10.0.0.1", &["1.1.1.1, 2.2.2.2"], Trust::Hops(1), "2.2.2.2", "2.2.2.2"),
    ("10.0.0.1", &["1.1.1.1, 2.2.2.2"], Trust::Hops(2), "1.1.1.1", "1.1.1.1"),
    ("10.0.0.1", &["1.1.1.1, 2.2.2.2"], Trust::Hops(99), "1.1.1.1", "1.1.1.1"),
    ("10.0.0.1", &["1.2.3.4, 10.0.0.9"], TEN, "1.2.3.4", "1.2.3.4"),
    ("10.0.0.1", &["6.6.6.6, 8.8.8.8, 10.0.0.5"], TEN, "8.8.8.8", "8.8.8.8"),
    ("10.0.0.1", &["10.0.0.7, 10.0.0.8"], TEN, "10.0.0.7", "10.0.0.7"),
    ("fd00::1", &["2001:db8::1234, fd00::2"], Trust::Networks(&["fd00::/8"]), "2001:db8::", "2001:db8::"),
    ("10.0.0.5", &["1.2.3.4"], Trust::Networks(&["::ffff:10.0.0.0/104"]), "1.2.3.4", "1.2.3.4"),
    ("11.0.0.5", &["1.2.3.4"], Trust::Networks(&["::ffff:10.0.0.0/104"]), "11.0.0.5", "11.0.0.5"),
    ("10.0.0.5", &["1.2.3.4"], Trust::Networks(&["::ffff:10.0.0.0/120"]), "1.2.3.4", "1.2.3.4"),
    ("10.0.1.5", &["1.2.3.4"], Trust::Networks(&["::ffff:10.0.0.0/120"]), "10.0.1.5", "10.0.1.5"),
    ("10.0.0.1", &[" , not-an-ip, , 1.2.3.4, 999.999.1.1"], Trust::Hops(1), "10.0.0.1", "1.2.3.4"),
    ("10.0.0.1", &["garbage, 999.1.1.1"], Trust::Hops(5), "10.0.0.1", "10.0.0.1"),
    ("8.8.8.8", &["01.02.03.04"], Trust::Hops(1), "8.8.8.8", "8.8.8.8"),
    ("10.0.0.1", &["6.6.6.6, 1.2.3.4:5678"], Trust::Hops(1), "1.2.3.4", "6.6.6.6"),
    ("10.0.0.1", &["6.6.6.6, 1.2.3.4:5678"], TEN, "1.2.3.4", "6.6.6.6"),
    ("10.0.0.1", &["6.6.6.6, unknown"], Trust::Hops(1), "10.0.0.1", "6.6.6.6"),
    ("10.0.0.1", &["6.6.6.6, unknown"], TEN, "10.0.0.1", "6.6.6.6"),
    ("10.0.0.1", &["1.1.1.1, 2.2.2.2", "3.3.3.3"], Trust::Hops(1), "3.3.3.3", "3.3.3.3"),
    ("10.0.0.1", &["1.1.1.1, 2.2.2.2", "3.3.3.3"], Trust::Hops(2), "2.2.2.2", "2.2.2.2"),
    ("10.0.0.1", &["1.1.1.1, 2001:db8::5"], Trust::Networks(&["0.0.0.0/0"]), "2001:db8::", "2001:db8::"),
    ("10.0.0.1", &["1.1.1.1"], Trust::Networks(&[]), "10.0.0.1", "10.0.0.1"),
    ("10.0.0.1", &["1.1.1.1"], Trust::Networks(&["::/0"]), "10.0.0.1", "10.0.0.1"),
    ("172.31.255.255", &["9.9.9.9"], Trust::Networks(&["172.16.0.0/12"]), "9.9.9.9", "9.9.9.9"),
    ("172.32.0.0", &["9.9.9.9"], Trust::Networks(&["172.16.0.0/12"]), "172.32.0.0", "172.32.0.0"),
    // Only the entry to the right of garbage is a proxy's word.
    ("10.0.0.1", &["6.6.6.6, unknown, 10.0.0.2"], TEN, "10.0.0.2", "6.6.6.6"),
    ("10.0.0.1", &["6.6.6.6, \u{fc}, 10.0.0.2"], Trust::Hops(2), "10.0.0.2", "6.6.6.6"),
    ("10.0.0.1", &["6.6.6.6, [2001:db8::1]:443"], Trust::Hops(1), "2001:db8::", "2001:db8::"),
    ("10.0.0.1", &["6.6.6.6, [2001:db8::1]443"], Trust::Hops(1), "10.0.0.1", "2001:db8::"),
];

#[test]
fn the_chain_is_walked_from_the_right() {
    for (peer, lines, trust, strict, lenient) in CASES {
        for (expected, is_lenient) in [(strict, false), (lenient, true)] {
            let client = trusting(*trust).lenient(is_lenient).build().unwrap();
            let found = key(&client, Some(peer), lines);
            assert_eq!(found.as_deref(), Some(*expected), "{peer} {lines:?} {trust:?} lenient: {is_lenient}");
        }
    }
}

#[test]
fn a_malformed_network_is_refused() {
    for network in [
        "10.0.0.0/33",
        "::/129",
        "10.0.0.0/",
        "10.0.0.0/0x8",
        "10.0.0.0/1e1",
        "10.0.0.0/ 8",
        "10.0.0.0/+8",
        "10.0.0.0/-1",
        "10.0.0.0/0008",
        "10.0.0.0/8/8",
        "10.0.0/8",
        "10.0.0.01/8",
        "::ffff:10.0.0.0/95",
        "::ffff:10.0.0.0/129",
        "",
        "/8",
        "localhost",
        "[::1]/128",
        "fe80::1%eth0",
        " 10.0.0.0/8",
        "10.0.0.1:80",
        "1:2:3:4:5:6:7:8:",
        "1:2:3:4::5:6:7:8",
    ] {
        let error = ClientIp::builder().trust_proxies(["192.0.2.1", network]).build().unwrap_err();
        assert_eq!(error.option(), "clientIp.trustProxy", "{network}");
        assert_eq!(error.value(), Some(&*format!("{network:?}")));
        assert!(error.allowed().contains("10.0.0.0/8"), "{error}");
    }
}

#[test]
fn a_network_is_what_its_prefix_says() {
    for (network, inside, outside) in [
        ("10.1.2.3", "10.1.2.3", "10.1.2.4"),
        ("10.1.2.3/8", "10.255.0.1", "11.0.0.0"),
        ("::ffff:10.1.2.3", "10.1.2.3", "10.1.2.4"),
        ("::ffff:10.0.0.0/96", "200.1.1.1", "::1"),
        ("2001:db8::/32", "2001:db8:ffff::1", "2001:db9::"),
        ("2001:db8::1", "2001:db8::1", "2001:db8::2"),
        ("0.0.0.0/000", "255.1.1.1", "::"),
    ] {
        // Others around it, out of order and one in another, must not matter.
        let networks = ["192.0.2.128/25", network, "fd00::/8", "9.0.0.0/8", "fd00:1::/32", "192.0.2.0/25"];
        let client = ClientIp::builder().trust_proxies(networks).ipv6_prefix(128).build().unwrap();
        assert_eq!(key(&client, Some(inside), &["198.51.100.1"]).as_deref(), Some("198.51.100.1"), "{network}");
        assert_eq!(key(&client, Some(outside), &["198.51.100.1"]).as_deref(), Some(outside), "{network}");
        for trusted in ["192.0.2.0", "192.0.2.255", "fd00:1::5", "fdff::", "9.9.9.9"] {
            assert_eq!(key(&client, Some(trusted), &["198.51.100.1"]).as_deref(), Some("198.51.100.1"), "{trusted}");
        }
    }
}

#[test]
fn options_that_make_no_sense_are_refused() {
    let refused = |builder: ClientIpBuilder| builder.build().unwrap_err().to_string();
    let error = refused(ClientIp::builder().ipv6_prefix(129));
    assert_eq!(error, "clientIp.ipv6Prefix is 129: must be a whole number from 0 to 128");
    let error = refused(ClientIp::builder().trust_hops(1).header("x real ip"));
    assert_eq!(error, "clientIp.header is \"x real ip\": must be the name of a header field");
    refused(ClientIp::builder().trust_hops(1).header(""));
    let error = refused(ClientIp::builder().header("CF-Connecting-IP"));
    assert!(error.starts_with("clientIp.header is cf-connecting-ip: is not read unless trusted proxies"), "{error}");
    refused(ClientIp::builder().header("x-forwarded-for"));
    refused(ClientIp::builder().trust_hops(0).header("cf-connecting-ip"));
}

#[test]
fn only_a_header_that_is_read_is_asked_for() {
    let header = |builder: ClientIpBuilder| builder.build().unwrap().header().map(str::to_owned);
    assert_eq!(header(ClientIp::builder()), None);
    assert_eq!(header(ClientIp::builder().trust_hops(1)).as_deref(), Some("x-forwarded-for"));
    assert_eq!(header(ClientIp::builder().trust_hops(0).header("Forwarded")).as_deref(), Some("forwarded"));
    let fly = ClientIp::builder().trust_proxies(["10.0.0.0/8"]).header("Fly-Client-IP");
    assert_eq!(header(fly).as_deref(), Some("fly-client-ip"));
    assert_eq!(ClientIp::default(), ClientIp::builder().build().unwrap());
}

#[test]
fn addresses_are_aggregated() {
    for (address, prefix, expected) in [
        ("2001:db8:abcd:1234::1", 64, "2001:db8:abcd:1234::"),
        ("2001:db8:abcd:1234:ffff:ffff:ffff:ffff", 64, "2001:db8:abcd:1234::"),
        ("2001:db8:abcd:9999::1", 48, "2001:db8:abcd::"),
        ("2001:db8:abcd:12ff::1", 56, "2001:db8:abcd:1200::"),
        ("2001:db8:abcd:1234::1", 60, "2001:db8:abcd:1230::"),
        ("2001:db8:abcd:1234::1", 0, "::"),
        ("::1", 64, "::"),
        ("fe80::1%eth0", 64, "fe80::"),
        ("[2001:db8::1]:443", 64, "2001:db8::"),
        ("::FFFF:203.0.113.9", 64, "203.0.113.9"),
        ("::FFFF:203.0.113.9", 0, "203.0.113.9"),
        ("::1.2.3.4", 128, "::102:304"),
        ("2001:DB8:0:0:1:0:0:1", 128, "2001:db8::1:0:0:1"),
        ("2001:0:0:1:0:0:0:1", 128, "2001:0:0:1::1"),
        ("2001:db8:0:1:1:1:1:1", 128, "2001:db8:0:1:1:1:1:1"),
    ] {
        let client = ClientIp::builder().ipv6_prefix(prefix).build().unwrap();
        assert_eq!(key(&client, Some(address), &[]).as_deref(), Some(expected), "{address}/{prefix}");
        let address = parse_address(address).unwrap();
        assert_eq!(aggregate(address, prefix).to_string(), expected, "{address}/{prefix}");
    }
}

/// A customer who takes a new address of his /64 for each request has one key.
#[test]
fn addresses_of_one_customer_share_a_key() {
    let client = ClientIp::default();
    let keys = (0..1_000_u64).map(|host| {
        let address = (0x2001_0db8_0001_0002_u128 << 64) | u128::from(host.wrapping_mul(0x0123_4567_89ab_cdef));
        client.derive(Some(IpAddr::V6(address.into())), []).unwrap()
    });
    let distinct: std::collections::HashSet<AddressText> = keys.collect();
    assert_eq!(distinct.len(), 1);
}

#[test]
fn nat64_is_unwrapped_only_if_asked() {
    let peer = "64:ff9b::cb00:7109";
    assert_eq!(key(&ClientIp::default(), Some(peer), &[]).as_deref(), Some("64:ff9b::"));
    let client = ClientIp::builder().trust_proxies(["203.0.113.9"]).unwrap_nat64(true).build().unwrap();
    assert_eq!(key(&client, Some(peer), &["64:ff9b::c633:6401"]).as_deref(), Some("198.51.100.1"));
    assert_eq!(key(&client, Some("64:ff9b:1::cb00:7109"), &[]).as_deref(), Some("64:ff9b:1::"));
}

/// Where the platform hides the peer, the rightmost entry stands for it.
#[test]
fn without_a_peer_only_trusted_entries_count() {
    assert_eq!(key(&ClientIp::default(), None, &["8.8.8.8"]), None);
    for (hops, expected) in [(0, "10.0.0.1"), (1, "8.8.8.8"), (9, "8.8.8.8")] {
        let client = ClientIp::builder().trust_hops(hops).build().unwrap();
        assert_eq!(key(&client, None, &["8.8.8.8, 10.0.0.1"]).as_deref(), Some(expected), "{hops}");
        assert_eq!(key(&client, None, &[]), None);
        assert_eq!(key(&client, None, &[" , "]), None);
        assert_eq!(key(&client, None, &["unknown"]), None);
    }
    let client = trusting(TEN).build().unwrap();
    assert_eq!(key(&client, None, &["6.6.6.6, 8.8.8.8, 10.0.0.1"]).as_deref(), Some("8.8.8.8"));
}

#[test]
fn a_header_with_one_address_counts_from_trusted_proxies_only() {
    let listed = ClientIp::builder().trust_proxies(["10.0.0.0/8"]).header("cf-connecting-ip").build().unwrap();
    let counted = ClientIp::builder().trust_hops(1).header("cf-connecting-ip").build().unwrap();
    for client in [&listed, &counted] {
        assert_eq!(key(client, Some("10.0.0.1"), &["1.2.3.4"]).as_deref(), Some("1.2.3.4"));
        assert_eq!(key(client, Some("10.0.0.1"), &[" 2001:db8::1 "]).as_deref(), Some("2001:db8::"));
        assert_eq!(key(client, None, &["1.2.3.4"]).as_deref(), Some("1.2.3.4"));
        // What is no address, or could be a client's, is nobody's.
        for lines in [&["junk"][..], &[""], &["1.2.3.4, 5.6.7.8"], &["1.2.3.4", "5.6.7.8"], &[]] {
            assert_eq!(key(client, Some("10.0.0.1"), lines).as_deref(), Some("10.0.0.1"), "{lines:?}");
            assert_eq!(key(client, None, lines), None, "{lines:?}");
        }
    }
    assert_eq!(key(&listed, Some("203.0.113.9"), &["1.2.3.4"]).as_deref(), Some("203.0.113.9"));
}

#[test]
fn forwarded_is_read_as_rfc_7239_has_it() {
    let client = |hops| ClientIp::builder().trust_hops(hops).header("forwarded").ipv6_prefix(128).build().unwrap();
    let opaque = "10.0.0.1";
    for (line, expected) in [
        ("for=1.2.3.4", "1.2.3.4"),
        ("For=1.2.3.4;proto=https;by=203.0.113.43", "1.2.3.4"),
        ("by=203.0.113.43; FOR=\"1.2.3.4:5678\"", "1.2.3.4"),
        ("for=\"[2001:db8:cafe::17]\"", "2001:db8:cafe::17"),
        ("for=\"[2001:db8:cafe::17]:4711\";host=x", "2001:db8:cafe::17"),
        ("for=\"1.2.3.4:_p0rt\"", "1.2.3.4"),
        ("for=1.2.3.4:5678", "1.2.3.4"),
        ("for=6.6.6.6;host=\"a, for=7.7.7.7\", for=1.2.3.4;host=\"b, for=8.8.8.8\"", "1.2.3.4"),
        ("for=6.6.6.6, for=1.2.3.4;host=\"a\\\", for=8.8.8.8\"", "1.2.3.4"),
        ("for=6.6.6.6, for=1.2.3.4;host=\"a\\\\\"", "1.2.3.4"),
        ("for=6.6.6.6,, for=1.2.3.4;;host=x;, ,", "1.2.3.4"),
        ("for=\", for=1.2.3.4", "1.2.3.4"),
        ("for=6.6.6.6, for=unknown", opaque),
        ("for=6.6.6.6, for=_hidden", opaque),
        ("for=6.6.6.6, for=\"_hidden:80\"", opaque),
        ("for=6.6.6.6, by=1.2.3.4", opaque),
        ("for=6.6.6.6, for=1.2.3.4;for=5.6.7.8", opaque),
        ("for=6.6.6.6, 1.2.3.4", opaque),
        ("for=6.6.6.6, for", opaque),
        ("for=6.6.6.6, for=", opaque),
        ("for=6.6.6.6, for=\"1.2.3.4\"x", opaque),
        ("for=6.6.6.6, for=\"1.2.3.\\4\"", opaque),
        ("for=6.6.6.6, f or=1.2.3.4", opaque),
        // The quotes do not match: all of it is one entry.
        ("for=6.6.6.6, for=1.2.3.4;host=a\"", opaque),
    ] {
        assert_eq!(key(&client(1), Some("10.0.0.1"), &[line]).as_deref(), Some(expected), "{line}");
    }
    // A quote that a client left open costs the proxies no place.
    let open = "for=6.6.6.6, for=\", for=1.2.3.4, for=\"10.0.0.2:80\"";
    assert_eq!(key(&client(2), Some("10.0.0.1"), &[open]).as_deref(), Some("1.2.3.4"));
    assert_eq!(key(&client(3), Some("10.0.0.1"), &["for=6.6.6.6", open]).as_deref(), Some("1.2.3.4"));
}

#[test]
fn nothing_is_allocated() {
    let chain = trusting(Trust::Networks(&["10.0.0.0/8", "fd00::/8"])).build().unwrap();
    let forwarded = trusting(Trust::Hops(2)).header("forwarded").build().unwrap();
    let peer = Some(IpAddr::from([10, 0, 0, 1]));
    let allocations = allocation_counter::measure(|| {
        let lines = [&b"1.1.1.1, 2001:db8::5"[..], b"[fd00::1]:80, 10.0.0.2:5678"];
        assert!(chain.derive(peer, lines).is_some());
        let lines = [&b"for=1.1.1.1, for=\"[2001:db8::5]:80\";host=\"x,y\""[..], b"for=10.0.0.2"];
        assert!(forwarded.derive(peer, lines).is_some());
    });
    assert_eq!(allocations.count_total, 0);
}

/// One entry of `X-Forwarded-For`, whatever a proxy or a client may write there.
fn entry() -> impl Strategy<Value = String> {
    prop_oneof![
        any::<Ipv4Addr>().prop_map(|address| address.to_string()),
        any::<std::net::Ipv6Addr>().prop_map(|address| format!("[{address}]:80")),
        "[ -+--~\u{80}-\u{ff}]{0,12}",
        Just("unknown".to_owned()),
        Just(String::new()),
    ]
}

fn any_trust() -> impl Strategy<Value = Trust> {
    prop_oneof![
        (0..6_u32).prop_map(Trust::Hops),
        Just(Trust::Networks(&["0.0.0.0/1"])),
        Just(Trust::Networks(&["10.0.0.0/8", "::/0"])),
    ]
}

proptest! {
    #[test]
    fn any_input_gives_the_same_answer_twice(
        peer in any::<Option<IpAddr>>(),
        lines in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..60), 0..4),
        trust in any_trust(),
        header in prop_oneof![Just("x-forwarded-for"), Just("forwarded"), Just("cf-connecting-ip")],
        lenient: bool,
    ) {
        let trust = if header.starts_with("cf") && matches!(trust, Trust::Hops(0)) { Trust::Hops(1) } else { trust };
        let client = trusting(trust).header(header).lenient(lenient).build().unwrap();
        let values = || lines.iter().map(Vec::as_slice);
        let found = client.resolve(peer, values());
        prop_assert_eq!(found, client.resolve(peer, values()));
        // Somebody is found wherever there is a peer.
        prop_assert!(found.is_some() || peer.is_none());
    }

    #[test]
    fn without_trust_no_header_counts(peer in any::<IpAddr>(), line in ".{0,40}") {
        let client = ClientIp::default();
        prop_assert_eq!(client.resolve(Some(peer), [line.as_bytes()]), Some(peer.to_canonical()));
        prop_assert_eq!(client.resolve(None, [line.as_bytes()]), None);
    }

    #[test]
    fn hops_count_from_the_right(
        peer in any::<Ipv4Addr>(),
        chain in proptest::collection::vec(any::<Ipv4Addr>(), 0..8),
        hops in 0..12_u32,
    ) {
        let client = trusting(Trust::Hops(hops)).build().unwrap();
        let line = chain.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        let chain: Vec<Ipv4Addr> = chain.into_iter().chain([peer]).collect();
        let place = (chain.len() - 1).saturating_sub(hops as usize);
        prop_assert_eq!(client.resolve(Some(peer.into()), [line.as_bytes()]), Some(chain[place].into()));
    }

    /// What a client writes does not matter once the proxies have written as many entries as are believed.
    #[test]
    fn what_stands_to_the_left_of_the_trust_does_not_count(
        client_wrote in proptest::collection::vec(entry(), 0..6),
        proxies in proptest::collection::vec(entry().prop_filter("not empty", |entry| !entry.trim().is_empty()), 1..4),
    ) {
        let hops = u32::try_from(proxies.len()).unwrap();
        let client = trusting(Trust::Hops(hops)).build().unwrap();
        let peer = Some(IpAddr::from([10, 0, 0, 1]));
        let honest = proxies.join(",");
        let spoofed = client_wrote.iter().chain(&proxies).map(String::as_str).collect::<Vec<_>>().join(",");
        prop_assert_eq!(client.resolve(peer, [spoofed.as_bytes()]), client.resolve(peer, [honest.as_bytes()]));
    }

    /// The same for `Forwarded`, where quotes of a client must not swallow what follows.
    #[test]
    fn no_quote_to_the_left_counts_either(
        client_wrote in "[fFor=\"\\\\, ;1.:\\[\\]]{0,24}",
        host in "[a-z\"\\\\, ;=]{0,12}",
        address in any::<IpAddr>(),
    ) {
        let client = trusting(Trust::Hops(1)).header("forwarded").build().unwrap();
        let node = match address { IpAddr::V4(v4) => v4.to_string(), IpAddr::V6(v6) => format!("\"[{v6}]\"") };
        let host = host.replace('\\', "\\\\").replace('"', "\\\"");
        let line = format!("{client_wrote}, by=x;for={node};host=\"{host}\"");
        let found = client.resolve(Some([10, 0, 0, 1].into()), [line.as_bytes()]);
        prop_assert_eq!(found, Some(address.to_canonical()));
    }

    /// An address has one text, and one key has at most one network.
    #[test]
    fn a_text_reads_back(address in any::<IpAddr>(), prefix in 0..=128_u8) {
        let aggregated = aggregate(address, prefix);
        let text = AddressText::of(aggregated);
        prop_assert_eq!(text.as_str(), aggregated.to_string());
        prop_assert_eq!(parse_address(text.as_str()), Some(aggregated));
        prop_assert_eq!(aggregate(aggregated, prefix), aggregated);
    }
}
