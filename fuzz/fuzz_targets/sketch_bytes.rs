#![no_main]

use libfuzzer_sys::fuzz_target;
use throttlekit::sketch::{CountMin, Snapshot};

// Whatever decodes encodes to the same bytes, works, and can be merged with its own copy.
fuzz_target!(|bytes: &[u8]| {
    if let Ok(mut sketch) = CountMin::from_bytes(bytes) {
        assert_eq!(sketch.to_bytes(), bytes);
        let before = sketch.estimate("key");
        let copy = sketch.clone();
        assert!(sketch.merge(&copy).is_ok());
        assert!(sketch.estimate("key") >= before);
        assert!(sketch.add("key", 1) >= before);
    }
    if let Ok(snapshot) = Snapshot::from_bare_bytes(bytes) {
        assert_eq!(snapshot.to_bare_bytes(), bytes);
        assert_eq!(snapshot.counters.len(), snapshot.width * snapshot.depth);
    }
});
