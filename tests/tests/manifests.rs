//! What the published crates depend on, by their manifests.

use std::path::Path;

/// The names in the `[dependencies]` of a crate of the workspace.
fn dependencies(package: &str) -> Vec<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(package).join("Cargo.toml");
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let section = text.split("\n[").find_map(|section| section.strip_prefix("dependencies]\n")).expect("dependencies");
    let names = section.lines().filter_map(|line| line.split_once(" = ").map(|(name, _)| name.to_owned()));
    names.filter(|name| !name.starts_with('#')).collect()
}

#[test]
fn nobody_gets_a_framework_who_did_not_ask_for_it() {
    // All that each door stands on, as far as it is ours.
    let below = [
        ("throttlekit-tower", vec!["throttlekit", "throttlekit-http"]),
        ("throttlekit-http", vec!["throttlekit"]),
        ("throttlekit", vec![]),
    ];
    for (package, ours) in below {
        let names = dependencies(package);
        assert!(!names.is_empty(), "{package}");
        for framework in ["actix-web", "axum", "axum-core", "hyper", "tonic", "tower-http", "warp"] {
            assert!(!names.iter().any(|name| name == framework), "{package} brings {framework}");
        }
        let found: Vec<_> = names.iter().filter(|name| name.starts_with("throttlekit")).collect();
        assert_eq!(found, ours, "{package}");
    }
    // Nor does one framework bring another.
    let names = dependencies("throttlekit-actix");
    assert!(!names.iter().any(|name| name.starts_with("tower") || name == "throttlekit-tower" || name == "axum"));
}
