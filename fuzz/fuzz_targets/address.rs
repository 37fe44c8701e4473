#![no_main]

use libfuzzer_sys::fuzz_target;
use throttlekit::identity::{AddressText, ClientIp, aggregate, parse_address};

fuzz_target!(|text: &str| {
    if let Some(address) = parse_address(text) {
        assert_eq!(address, address.to_canonical(), "{text:?}");
        let written = AddressText::of(address);
        assert_eq!(parse_address(written.as_str()), Some(address), "{text:?}");
        assert_eq!(aggregate(address, 128), address, "{text:?}");
    }
    // A network is refused, or trusts its own address.
    if let Ok(client) = ClientIp::builder().trust_proxies([text]).build() {
        let network = text.split('/').next().and_then(|address| address.parse().ok()).expect("it was accepted");
        assert_eq!(client.resolve(Some(network), [&b"192.0.2.1"[..]]), Some([192, 0, 2, 1].into()), "{text:?}");
    }
});
