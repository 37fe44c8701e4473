//! Sketches as bytes: both forms, and what is refused.

use allocation_counter::measure;
use proptest::prelude::*;
use throttlekit::sketch::{Accuracy, CountMin, SketchHash, Snapshot};

fn filled(hash: SketchHash, conservative: bool) -> CountMin {
    let accuracy = Accuracy::new(0.5, 0.5).unwrap();
    let mut sketch = CountMin::builder().accuracy(accuracy).hash(hash).conservative(conservative).build();
    sketch.add("a", 3);
    sketch.add("b", 5);
    sketch
}

fn hex(bytes: &[u8]) -> String {
    let words = bytes.chunks_exact(4).map(|word| u32::from_be_bytes(word.try_into().unwrap()));
    words.map(|word| format!("{word:08x} ")).collect::<Vec<_>>().concat()
}

#[test]
fn the_bare_form_has_its_vector() {
    let bytes = filled(SketchHash::Fnv(0x9e37_79b1), false).snapshot().to_bare_bytes();
    assert_eq!(
        hex(&bytes),
        "06000000 01000000 00000000 00002040 00000000 00000000 00000000 05000000 03000000 00000000 "
    );
    let snapshot = Snapshot::from_bare_bytes(&bytes).unwrap();
    assert_eq!(snapshot, filled(SketchHash::Fnv(0x9e37_79b1), false).snapshot());
}

#[test]
fn the_envelope_has_its_layout() {
    let bytes = filled(SketchHash::Fnv(0x9e37_79b1), true).to_bytes();
    assert_eq!(&bytes[..8], b"TKCM\x01\x01\x01\x00");
    assert_eq!(
        hex(&bytes[8..]),
        "b179379e 00000000 00000000 00000000 06000000 01000000 08000000 00000000 \
         00000000 00000000 00000000 05000000 03000000 00000000 "
    );
    let keyed = filled(SketchHash::Keyed([1, 2]), false).to_bytes();
    assert_eq!(hex(&keyed[4..24]), "01000000 01000000 00000000 02000000 00000000 ");
}

#[test]
fn the_envelope_keeps_everything() {
    for hash in [SketchHash::Keyed([1, u64::MAX]), SketchHash::Fnv(u32::MAX), SketchHash::random()] {
        for conservative in [false, true] {
            let sketch = filled(hash, conservative);
            let mut again = CountMin::from_bytes(&sketch.to_bytes()).unwrap();
            assert_eq!(again, sketch);
            assert_eq!(again.add("a", 1), sketch.estimate("a") + 1);
        }
    }
}

#[test]
fn bare_bytes_that_are_refused() {
    let good = filled(SketchHash::Fnv(1), false).snapshot().to_bare_bytes();
    let message = |bytes: &[u8]| Snapshot::from_bare_bytes(bytes).unwrap_err().to_string();
    assert!(message(&good[..4]).starts_with("too short"));
    assert!(message(&[]).starts_with("too short"));
    assert!(message(&good[..good.len() - 4]).starts_with("length mismatch"));
    assert!(message(&[&good[..], &[0]].concat()).starts_with("length mismatch"));
    for total in [f64::NAN, -1.0, f64::INFINITY] {
        let mut bytes = good.clone();
        bytes[8..16].copy_from_slice(&total.to_le_bytes());
        assert!(message(&bytes).starts_with("the total is"), "{total}");
    }
    // 2^32 - 1 columns in as many rows: their product has 64 bits.
    let mut bytes = good.clone();
    bytes[..8].fill(0xff);
    assert!(message(&bytes).contains("counters"));
    bytes[..8].fill(0);
    assert!(message(&bytes).contains("counters"));
}

#[test]
fn envelopes_that_are_refused() {
    let good = filled(SketchHash::Fnv(1), false).to_bytes();
    let with = |at: usize, byte: u8| {
        let mut bytes = good.clone();
        bytes[at] = byte;
        CountMin::from_bytes(&bytes).unwrap_err().to_string()
    };
    assert!(with(0, b'X').contains("TKCM"));
    assert!(with(4, 2).contains("version is 2"));
    assert!(with(5, 7).contains("function is 7"));
    assert!(with(6, 2).contains("bytes 6 and 7"));
    assert!(with(7, 1).contains("bytes 6 and 7"));
    assert!(with(12, 1).contains("32 bits"));
    assert!(with(16, 1).contains("32 bits"));
    assert!(with(24, 7).contains("length mismatch"));
    assert!(CountMin::from_bytes(&good[..39]).unwrap_err().to_string().starts_with("too short"));
    assert!(CountMin::from_bytes(&good[..good.len() - 1]).unwrap_err().to_string().starts_with("length mismatch"));
}

proptest! {
    /// What decodes takes no more memory than the bytes have, and what does not takes that of a message.
    #[test]
    fn decoding_allocates_no_more_than_the_input(
        width in prop_oneof![1_u32..4, 1_u32..300],
        depth in prop_oneof![1_u32..12, 1_u32..=710],
        function in 0_u8..2,
        lie in prop::option::weighted(0.2, (0_usize..2, any::<u32>())),
        missing in prop_oneof![4 => Just(0_usize), 1 => 1_usize..5],
        envelope in any::<bool>(),
    ) {
        let mut size = [width, depth];
        if let Some((at, value)) = lie {
            size[at] = value;
        }
        let size = size.map(u32::to_le_bytes).concat();
        // Seeds that fit either function.
        let head = [&b"TKCM\x01"[..], &[function, 0, 0], &[7, 0, 0, 0], &[0; 12]].concat();
        let counters = vec![1; (4 * width * depth) as usize - missing];
        let bytes = [if envelope { &head[..] } else { &[] }, &size, &[0; 8], &counters].concat();
        let mut decoded = false;
        let used = measure(|| {
            decoded = if envelope {
                CountMin::from_bytes(&bytes).is_ok()
            } else {
                Snapshot::from_bare_bytes(&bytes).is_ok()
            };
        });
        prop_assert_eq!(decoded, missing == 0 && size == [width, depth].map(u32::to_le_bytes).concat());
        let room = if decoded { bytes.len() as u64 } else { 512 };
        prop_assert!(used.bytes_max <= room, "{} bytes for {}", used.bytes_max, bytes.len());
    }

    /// Whatever the bytes are, they are decoded or refused.
    #[test]
    fn arbitrary_bytes_are_refused_without_much_memory(
        head in prop::option::of(Just(b"TKCM\x01\x00\x00\x00".to_vec())),
        bytes in prop::collection::vec(any::<u8>(), 0..200),
    ) {
        let bytes = [head.unwrap_or_default(), bytes].concat();
        let used = measure(|| {
            drop(CountMin::from_bytes(&bytes));
            drop(Snapshot::from_bare_bytes(&bytes));
        });
        prop_assert!(used.bytes_max <= bytes.len() as u64 + 512, "{} bytes for {}", used.bytes_max, bytes.len());
    }

    /// What decodes encodes to the same bytes.
    #[test]
    fn decoding_and_encoding_agree(width in 1_u32..12, depth in 1_u32..12, counters in prop::collection::vec(any::<u32>(), 144)) {
        let counters = &counters[..(width * depth) as usize];
        let words: Vec<u8> = counters.iter().flat_map(|counter| counter.to_le_bytes()).collect();
        let size = [width.to_le_bytes(), depth.to_le_bytes()].concat();
        let bare = [&size[..], &7.0_f64.to_le_bytes(), &words].concat();
        prop_assert_eq!(Snapshot::from_bare_bytes(&bare).unwrap().to_bare_bytes(), bare);
        let envelope = [b"TKCM\x01\x00\x01\x00ssssssssssssssss", &size[..], &7_u64.to_le_bytes(), &words].concat();
        prop_assert_eq!(CountMin::from_bytes(&envelope).unwrap().to_bytes(), envelope);
    }
}
