#![no_main]

use libfuzzer_sys::fuzz_target;
use throttlekit::parse_duration_ms;

fuzz_target!(|text: &str| {
    if let Ok(ms) = parse_duration_ms(text) {
        assert!(ms.is_finite() && ms > 0.0, "{text:?} is {ms}");
    }
});
