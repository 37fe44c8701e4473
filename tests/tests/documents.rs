//! The Markdown files of the project: their links lead somewhere, and links lead to the guides.
#![allow(clippy::unwrap_used)] // also in the helpers a failing unwrap is a failing test

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Component, Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The Markdown files at the root, in `docs`, in each package and in its `docs`, by path below the root.
fn documents() -> BTreeMap<PathBuf, String> {
    let folders = fs::read_dir(root()).unwrap().map(|entry| entry.unwrap().path());
    let folders = folders.flat_map(|folder| [folder.join("docs"), folder]).chain([root()]);
    let files = folders.filter(|path| path.is_dir()).flat_map(|folder| fs::read_dir(folder).unwrap());
    let files = files.map(|entry| entry.unwrap().path());
    // A package's changelog is a link to the one at the root.
    let files = files.filter(|path| path.extension().is_some_and(|extension| extension == "md") && !path.is_symlink());
    files.map(|path| (path.strip_prefix(root()).unwrap().to_owned(), fs::read_to_string(&path).unwrap())).collect()
}

/// The lines outside of code blocks.
fn prose(text: &str) -> impl Iterator<Item = &str> {
    let mut code = false;
    text.lines().filter(move |line| {
        let fence = line.trim_start().starts_with("```");
        code ^= fence;
        !code && !fence
    })
}

/// The targets of `[text](target)` in a line.
fn links(line: &str) -> impl Iterator<Item = &str> {
    line.split("](").skip(1).filter_map(|rest| rest.split_once(')')).map(|(target, _)| target)
}

/// The anchor that a renderer gives a heading.
fn anchor(heading: &str) -> String {
    let kept = heading.chars().filter(|c| c.is_alphanumeric() || [' ', '-', '_'].contains(c));
    kept.map(|c| if c == ' ' { '-' } else { c.to_ascii_lowercase() }).collect()
}

#[test]
fn links_between_documents_lead_somewhere() {
    let mut checked = 0;
    let mut broken = Vec::new();
    for (path, text) in documents() {
        for target in prose(&text).flat_map(links).filter(|target| !target.contains("://")) {
            checked += 1;
            let (file, wanted) = target.split_once('#').unwrap_or((target, ""));
            let file = if file.is_empty() { path.clone() } else { path.with_file_name(file) };
            let file = root().join(file);
            let there = if wanted.is_empty() {
                file.exists()
            } else {
                let is_wanted =
                    |line: &str| line.starts_with('#') && anchor(line.trim_start_matches('#').trim()) == wanted;
                fs::read_to_string(file).is_ok_and(|text| prose(&text).any(is_wanted))
            };
            if !there {
                broken.push(format!("{}: {target}", path.display()));
            }
        }
    }
    assert!(broken.is_empty(), "broken links:\n{}", broken.join("\n"));
    assert!(checked > 0, "no document holds a link");
}

/// A guide to which nothing leads is one that nobody reads.
#[test]
fn every_guide_can_be_found_from_the_front_page() {
    let documents = documents();
    let mut found = BTreeSet::from([PathBuf::from("README.md")]);
    let mut open: Vec<_> = found.iter().cloned().collect();
    while let Some(path) = open.pop() {
        let targets = prose(&documents[&path]).flat_map(links).filter_map(|target| target.split('#').next());
        for target in targets {
            // Links to folders lead to what is read first there.
            let target = lexical(&path.with_file_name(target));
            for page in [target.join("README.md"), target] {
                if documents.contains_key(&page) && found.insert(page.clone()) {
                    open.push(page);
                }
            }
        }
    }
    let guides = documents.keys().filter(|path| path.parent().is_some_and(|folder| folder.ends_with("docs")));
    let lost: Vec<_> = guides.filter(|guide| !found.contains(*guide)).collect();
    assert!(lost.is_empty(), "no way leads to {lost:?}");
}

/// The lines of the sections of a manifest that have this header.
fn section<'a>(manifest: &'a str, header: &'a str) -> impl Iterator<Item = &'a str> {
    manifest.split("\n[").filter_map(move |section| section.strip_prefix(header)).flat_map(str::lines)
}

#[test]
fn every_feature_and_every_benchmark_is_in_the_table_of_its_package() {
    let mut checked = 0;
    for (path, text) in documents().iter().filter(|(path, _)| path.ends_with("README.md")) {
        let Ok(manifest) = fs::read_to_string(root().join(path).with_file_name("Cargo.toml")) else { continue };
        let features = section(&manifest, "features]").filter_map(|line| line.split_once(" = [")).map(|(name, _)| name);
        let benches = section(&manifest, "[bench]]").filter_map(|line| line.strip_prefix("name = "));
        let names = features.filter(|name| *name != "default").chain(benches.map(|name| name.trim_matches('"')));
        for name in names {
            checked += 1;
            assert!(text.contains(&format!("| `{name}`")), "{} has no row for {name}", path.display());
        }
    }
    assert!(checked > 20, "only {checked}");
}

/// A path without `..` in it.
fn lexical(path: &Path) -> PathBuf {
    let mut plain = PathBuf::new();
    for part in path.components() {
        if part == Component::ParentDir {
            plain.pop();
        } else {
            plain.push(part);
        }
    }
    plain
}
