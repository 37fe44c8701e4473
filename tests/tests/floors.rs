//! Whether imports of the core point downward only, as `docs/architecture.md` promises.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// What may be named from below, by whom, and what of it.
const UPWARD: [(&str, &str, &[&str]); 2] = [
    // A state names its layout.
    ("program", "store", &["memory::Layout"]),
    ("strategy", "store", &["memory::Boxed", "memory::AsInstant", "memory::Instant", "memory::AsPair", "memory::Pair"]),
];

/// Those that stand beside the house: observers that show everything, and tests for whoever writes a store.
const BESIDE: [&str; 2] = ["prometheus", "testkit"];

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The floor of each module, by the table of the document.
fn floors() -> BTreeMap<String, u32> {
    let text = std::fs::read_to_string(workspace().join("docs/architecture.md")).expect("docs/architecture.md");
    let (_, table) = text.split_once("| floor | what | where |\n|---|---|---|\n").expect("the table of floors");
    let mut floors = BTreeMap::new();
    for row in table.lines().take_while(|line| line.starts_with('|')) {
        let cells: Vec<_> = row.trim_matches('|').split('|').map(str::trim).collect();
        let [floor, _, modules] = cells[..] else { panic!("three cells: {row}") };
        let floor = floor.split(' ').next().and_then(|number| number.parse().ok()).expect("a floor's number");
        // Crates are no modules of the core.
        let names = modules.split('`').skip(1).step_by(2).filter(|name| !name.contains('-'));
        for name in names {
            assert_eq!(floors.insert(name.to_owned(), floor), None, "{name} is on two floors");
        }
    }
    floors
}

/// The text of each module of the core, under its name, without tests and comments.
fn modules() -> BTreeMap<String, String> {
    fn read(path: &Path, into: &mut String) {
        if path.is_dir() {
            for entry in std::fs::read_dir(path).expect("a folder") {
                read(&entry.expect("an entry").path(), into);
            }
        } else if path.extension().is_some_and(|extension| extension == "rs")
            && !path.file_stem().is_some_and(|stem| stem.to_string_lossy().ends_with("tests"))
        {
            let text = std::fs::read_to_string(path).expect("a source file");
            // Tests of a file are its last module.
            let text = text.rsplit_once("\nmod tests {").map_or(text.as_str(), |(text, _)| text);
            for line in text.lines().filter(|line| !line.trim_start().starts_with("//")) {
                into.push_str(line);
                into.push('\n');
            }
        }
    }

    let mut modules = BTreeMap::new();
    let sources = workspace().join("throttlekit/src");
    for entry in std::fs::read_dir(&sources).expect("throttlekit/src") {
        let path = entry.expect("an entry").path();
        let name = path.file_stem().expect("a name").to_string_lossy().into_owned();
        if name != "lib" {
            read(&path, modules.entry(name).or_default());
        }
    }
    modules
}

/// The module of each name that the crate has at its root.
fn roots() -> BTreeMap<String, String> {
    let text = std::fs::read_to_string(workspace().join("throttlekit/src/lib.rs")).expect("lib.rs");
    let paths = named(&text, "pub use ").into_iter();
    let ends =
        paths.filter_map(|path| Some((path.rsplit_once("::")?.1.to_owned(), path.split_once("::")?.0.to_owned())));
    ends.collect()
}

/// What a text names after each `prefix`: one path for every name in braces.
fn named(text: &str, prefix: &str) -> Vec<String> {
    fn spread(before: &str, rest: &str, into: &mut Vec<String>) {
        let end = rest.find(|c: char| !(c.is_alphanumeric() || "_:".contains(c))).unwrap_or(rest.len());
        let (path, after) = rest.split_at(end);
        if !after.starts_with('{') {
            into.push(format!("{before}{path}"));
            return;
        }
        let mut depth = 0_u32;
        let mut start = 1;
        for (at, c) in after.char_indices() {
            match c {
                '{' => depth += 1,
                '}' => depth -= 1,
                _ => {}
            }
            if (depth == 1 && c == ',') || depth == 0 {
                let name = after[start..at].trim();
                if !name.is_empty() {
                    spread(&format!("{before}{path}"), name, into);
                }
                start = at + 1;
            }
            if depth == 0 {
                return;
            }
        }
    }

    let mut names = Vec::new();
    for (at, prefix) in text.match_indices(prefix) {
        spread("", &text[at + prefix.len()..], &mut names);
    }
    names
}

/// Every import of `modules` that points upward, as `module -> path`.
fn upward(modules: &BTreeMap<String, String>) -> Vec<String> {
    let (floors, roots) = (floors(), roots());
    let mut found = Vec::new();
    for (module, text) in modules {
        let Some(floor) = floors.get(module) else { continue };
        for path in named(text, "crate::") {
            let (first, rest) = path.split_once("::").unwrap_or((&path, ""));
            let target = roots.get(first).map_or(first, String::as_str);
            let rises = floors.get(target).is_none_or(|other| other > floor);
            let excused = UPWARD.iter().any(|(from, to, what)| from == module && *to == target && what.contains(&rest));
            if rises && !excused {
                found.push(format!("{module} -> {path}"));
            }
        }
    }
    found
}

#[test]
fn every_module_has_a_floor_and_every_floor_its_modules() {
    let (floors, modules) = (floors(), modules());
    assert!(modules.len() > 20 && floors.values().max() == Some(&6), "the core is read: {floors:?}");
    for module in modules.keys() {
        assert!(
            floors.contains_key(module) != BESIDE.contains(&module.as_str()),
            "{module} is to stand on one floor of docs/architecture.md"
        );
    }
    for module in floors.keys() {
        assert!(modules.contains_key(module), "docs/architecture.md: there is no {module}");
    }
}

#[test]
fn imports_point_downward() {
    let found = upward(&modules());
    assert!(found.is_empty(), "imports that point upward:\n{}", found.join("\n"));
}

#[test]
fn what_points_upward_is_seen() {
    let of = |module: &str, text: &str| upward(&BTreeMap::from([(module.to_owned(), text.to_owned())]));
    assert_eq!(of("store", "use crate::budget::Ledger;"), ["store -> budget::Ledger"]);
    assert_eq!(of("observe", "use crate::{\n    error::Error,\n    unified::{Consume, Unified},\n};").len(), 2);
    assert_eq!(of("strategy", "fn f() -> crate::store::memory::Table<u8>"), ["strategy -> store::memory::Table"]);
    assert_eq!(of("error", "crate::prometheus::Metrics"), ["error -> prometheus::Metrics"]);
    assert_eq!(of("run", "use crate::Guard;"), ["run -> Guard"]);
    assert!(of("strategy", "use crate::store::memory::{AsPair, Pair};\nuse crate::math::MAX;").is_empty());
    assert!(of("budget", "use crate::lease::Lease;\nuse crate::Error;").is_empty());
}
