#![no_main]

use std::net::IpAddr;

use libfuzzer_sys::fuzz_target;
use throttlekit::identity::ClientIp;

/// The entries that proxies append, which no client can change.
const APPENDED: [&[u8]; 2] =
    [b"198.51.100.7:4711, 10.0.0.2", b"for=198.51.100.7, for=\"10.0.0.2:80\";host=\"a, for=b\""];

// The first byte chooses options; the rest are header lines of a client.
fuzz_target!(|input: &[u8]| {
    let Some((options, text)) = input.split_first() else { return };
    let (form, hops, peer) = (usize::from(options & 1), u32::from(options >> 1 & 7), options & 16 != 0);
    let header = ["x-forwarded-for", "forwarded"][form];
    let lenient = options & 32 != 0;
    let client = ClientIp::builder().trust_hops(hops).header(header).lenient(lenient).build().expect("legal options");
    let peer = peer.then(|| IpAddr::from([10, 0, 0, 1]));
    let lines = || text.split(|byte| *byte == b'\n');
    let found = client.resolve(peer, lines());
    assert_eq!(found, client.resolve(peer, lines()));
    assert!(found.is_some() || peer.is_none());

    let proxies = ClientIp::builder().trust_proxies(["10.0.0.0/8"]).header(header).build().expect("legal options");
    let appended = [text, b", ", APPENDED[form]].concat();
    let found = proxies.resolve(Some([10, 0, 0, 1].into()), [&appended[..]]);
    assert_eq!(found, Some([198, 51, 100, 7].into()));
});
