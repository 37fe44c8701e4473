//! What each door brings along: its own framework, and none of another.

use std::collections::{BTreeMap, BTreeSet};

const LOCK: &str = include_str!("../../Cargo.lock");
const FRAMEWORKS: [&str; 6] = ["actix-http", "actix-web", "axum", "axum-core", "hyper", "tonic"];

/// What each package needs, also for its tests.
fn needs() -> BTreeMap<&'static str, BTreeSet<&'static str>> {
    let mut needs: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for package in LOCK.split("[[package]]").skip(1) {
        let name = package.lines().find_map(|line| line.strip_prefix("name = \"")?.strip_suffix('"')).expect("a name");
        // In their list a version may follow where there are several.
        let listed = package.lines().filter_map(|line| line.strip_prefix(" \"")?.strip_suffix("\","));
        let names = listed.map(|listed| listed.split_once(' ').map_or(listed, |(name, _)| name));
        needs.entry(name).or_default().extend(names);
    }
    needs
}

/// The frameworks that come with `package`.
fn brought_by(package: &'static str, needs: &BTreeMap<&'static str, BTreeSet<&'static str>>) -> Vec<&'static str> {
    let (mut seen, mut next) = (BTreeSet::new(), vec![package]);
    while let Some(package) = next.pop() {
        next.extend(needs[package].iter().filter(|needed| seen.insert(**needed)));
    }
    FRAMEWORKS.into_iter().filter(|framework| seen.contains(framework)).collect()
}

#[test]
fn a_door_brings_its_own_framework_and_no_other() {
    let needs = needs();
    for package in ["throttlekit", "throttlekit-http", "throttlekit-tower", "throttlekit-llm"] {
        assert_eq!(brought_by(package, &needs), [""; 0], "{package}");
    }
    assert_eq!(brought_by("throttlekit-axum", &needs), ["axum", "axum-core", "hyper"]);
    assert_eq!(brought_by("throttlekit-actix", &needs), ["actix-http", "actix-web"]);
}
