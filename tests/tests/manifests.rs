//! What the published crates depend on and bring along, by their manifests.

use std::path::{Path, PathBuf};

/// A file or folder of the workspace.
fn path(below: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(below)
}

/// The text of a manifest; that of the workspace is in no folder.
fn manifest(folder: &str) -> String {
    let path = path(folder).join("Cargo.toml");
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The crates of the workspace that are published.
fn published() -> Vec<String> {
    let workspace = manifest("");
    let (_, members) = workspace.split_once("members = [").expect("members");
    let (members, _) = members.split_once(']').expect("an end of the members");
    let members = members.split(',').map(|name| name.trim().trim_matches('"').to_owned());
    members.filter(|name| !name.is_empty() && !manifest(name).contains("\npublish = false\n")).collect()
}

/// The names in the `[dependencies]` of a crate of the workspace.
fn dependencies(package: &str) -> Vec<String> {
    let text = manifest(package);
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

#[test]
fn whoever_is_published_brings_its_papers_and_documents_all_features() {
    let published = published();
    assert!(published.iter().any(|name| name == "throttlekit") && published.iter().all(|name| name != "tests"));
    for package in published {
        // Else docs.rs shows the default features alone.
        assert!(manifest(&package).contains("\n[package.metadata.docs.rs]\nall-features = true\n"), "{package}");
        for file in ["CHANGELOG.md", "LICENSE-APACHE", "LICENSE-MIT", "README.md"] {
            // A link will do: cargo packs what it leads to.
            assert!(path(&package).join(file).is_file(), "{package} has no {file}");
        }
    }
}
