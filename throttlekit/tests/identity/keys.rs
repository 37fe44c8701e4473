//! Keys that hold no secret: hashes, bounds, several values in one.

use std::collections::HashSet;

use proptest::prelude::*;
use throttlekit::Ask;
use throttlekit::identity::{AddressText, BoundedKey, HashedKey, KeyHasher, KeyHasherBuilder, hash_key, join_key};

const SECRET: &str = "sixteen bytes ok";
const MARKED: &str = "sk-MARKED-4711";

#[test]
fn the_plain_hash_is_hmac_sha_256() {
    for (raw, secret, expected) in [
        (
            "The quick brown fox jumps over the lazy dog",
            "key",
            "f7bc83f430538424b13298e6aa6fb143ef4d59a14946175997479dbc2d1a3cd8",
        ),
        ("1.2.3.4", "s3cret", "74add449bacaccbde49f551ae1b799fa3e9ed6111fe27bb4349c5d32689f31eb"),
        ("ip:1.2.3.4", "server-secret", "62c9d297780e8bf788f8d85dcb6ce7f7cee25ff3ff2edb61f316aabe1981c979"),
    ] {
        assert_eq!(hash_key(raw, secret).as_str(), expected);
        let hasher = KeyHasher::builder("k1", secret).allow_short_secrets(true).build().unwrap();
        assert_eq!(hasher.hash(raw).as_str(), format!("k1:{expected}"));
    }
}

#[test]
fn a_truncated_hash_is_the_first_half() {
    let whole = KeyHasher::new("k1", SECRET).unwrap().hash(MARKED);
    let half = KeyHasher::builder("k1", SECRET).truncated(true).build().unwrap().hash(MARKED);
    assert_eq!((whole.as_str().len(), half.as_str().len()), (3 + 64, 3 + 32));
    assert!(whole.as_str().starts_with(half.as_str()));
}

#[test]
fn a_rotation_starts_fresh_keys() {
    let old = KeyHasher::new("2026-10", SECRET).unwrap();
    let new = KeyHasher::builder("2026-11", "another secret of sixteen").previous("2026-10", SECRET).build().unwrap();
    assert_ne!(old.hash(MARKED), new.hash(MARKED));
    assert_eq!(new.key_id(), "2026-11");
    let all: Vec<HashedKey> = new.all(MARKED).collect();
    assert_eq!(all, [new.hash(MARKED), old.hash(MARKED)]);
    // The same secret under another id is another key too.
    let renamed = KeyHasher::new("2026-12", SECRET).unwrap();
    assert_ne!(renamed.hash(MARKED), old.hash(MARKED));
}

#[test]
fn ids_and_secrets_are_checked() {
    let refused = |builder: KeyHasherBuilder| {
        let error = builder.build().unwrap_err();
        assert!(!error.to_string().contains(SECRET), "{error}");
        error.to_string()
    };
    let error = refused(KeyHasher::builder("k1", "fifteen bytes!!"));
    assert_eq!(
        error,
        "keyHasher.secret is 15 bytes long: must have at least 16 bytes, unless short secrets are allowed"
    );
    refused(KeyHasher::builder("k1", ""));
    refused(KeyHasher::builder("k2", SECRET).previous("k1", "short"));
    assert!(KeyHasher::builder("k1", "").allow_short_secrets(true).build().is_ok());
    for id in ["", "a:b", "a b", "seventeen-letters", "\u{e9}", "peer", "sha256"] {
        let error = refused(KeyHasher::builder(id, SECRET));
        assert!(error.starts_with(&format!("keyHasher.keyId is {id:?}: must")), "{error}");
    }
    let error = refused(KeyHasher::builder("k1", SECRET).previous("k1", SECRET));
    assert_eq!(error, "keyHasher.keyId is \"k1\": must not be given twice");
    let longest = KeyHasher::new("sixteen_letters.", SECRET).unwrap();
    assert_eq!((longest.key_id(), longest.hash("x").as_str().len()), ("sixteen_letters.", 81));
}

#[test]
fn debug_shows_no_key_and_no_secret() {
    let builder = KeyHasher::builder("k1", MARKED).allow_short_secrets(true).previous("k0", MARKED);
    let hasher = builder.clone().build().unwrap();
    let hashed = hasher.hash(MARKED);
    let shown = [
        format!("{builder:?} {builder:#?}"),
        format!("{hasher:?} {hasher:#?}"),
        format!("{hashed:?} {:?}", hash_key(MARKED, MARKED)),
        format!("{:?} {:?}", BoundedKey::new(MARKED.as_bytes(), 100), BoundedKey::new(MARKED.as_bytes(), 1)),
        format!("{:?}", AddressText::of([198, 51, 100, 77].into())),
        format!("{:?} {:#?}", Ask::new(MARKED), Ask::new("").dimensions(&[MARKED])),
    ];
    let digest = hashed.as_str().trim_start_matches("k1:").to_owned();
    for text in shown {
        for secret in ["MARKED", "198.51", &digest] {
            assert!(!text.contains(secret), "{text}");
        }
    }
}

#[test]
fn hashing_allocates_nothing() {
    let hasher = KeyHasher::new("k1", SECRET).unwrap();
    let allocations = allocation_counter::measure(|| {
        assert_eq!(hasher.hash(MARKED).as_str().len(), 67);
        assert!(BoundedKey::new(&[b'x'; 300], 256).plain().is_none());
    });
    assert_eq!(allocations.count_total, 0);
}

#[test]
fn a_value_is_a_key_as_it_stands_unless_it_is_too_long_or_no_text_or_poses_as_another_kind() {
    let longest = "x".repeat(256);
    for plain in ["", "tenant-1", "gr\u{fc}n", "sha256", "Peer:1", "203.0.113.5", &longest] {
        assert_eq!(BoundedKey::new(plain.as_bytes(), 256).plain(), Some(plain));
    }
    let longer = "x".repeat(257);
    let mut seen = HashSet::new();
    for value in [longer.as_bytes(), b"sha256:", b"peer:203.0.113.5", b"\xff", b"\xfe", b"\0", b"tenant\0"] {
        let key = BoundedKey::new(value, 256);
        assert_eq!(key.plain(), None);
        assert!(key.as_str().starts_with("sha256:") && key.as_str().len() == 71, "{value:?}");
        assert!(seen.insert(key.as_str().to_owned()));
    }
    let digest = "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    assert_eq!(BoundedKey::new(b"abc", 2).as_str(), digest);
}

/// What `join_key` joined. That it can be read back is why two lists never give one key.
fn split_key(mut key: &str) -> Vec<&str> {
    let mut parts = Vec::new();
    while let Some((length, rest)) = key.split_once(':') {
        let (part, rest) = rest.split_at(length.parse().unwrap());
        parts.push(part);
        key = rest.strip_prefix(',').unwrap();
    }
    parts
}

proptest! {
    #[test]
    fn a_joined_key_can_be_split_again(parts in proptest::collection::vec("[0-9:,a\u{e9}]{0,6}", 0..5)) {
        let key = join_key(parts.iter().map(String::as_str));
        prop_assert_eq!(split_key(&key), parts);
    }

    #[test]
    fn a_bounded_key_is_bounded(value in proptest::collection::vec(any::<u8>(), 0..600), max in 71..512_usize) {
        let key = BoundedKey::new(&value, max);
        prop_assert!(key.as_str().len() <= max);
        prop_assert!(!key.as_str().starts_with("peer:"));
    }
}
