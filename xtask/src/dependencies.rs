//! What the build takes from others: licences, where it comes from, and what compiler it needs.

use std::collections::BTreeSet;
use std::fs;

use toml::Table;

use crate::ci::Outcome;
use crate::workspace::{Package, Workspace};
use crate::{Error, licence};

/// Checks every dependency against `deny.toml`, and those of each published crate against its MSRV.
///
/// The file has the format of cargo-deny, so that tool reads it too; what is checked here is the part that needs no
/// advisory database.
pub(crate) fn check(workspace: &Workspace) -> Result<Outcome, Error> {
    let rules = Rules::read(workspace)?;
    let mut problems: Vec<String> = workspace.packages().filter_map(|package| rules.problem(package)).collect();
    for ours in workspace.members() {
        problems.extend(ours.wildcards().map(|name| format!("{}: {name} may have any version", ours.name())));
    }
    for ours in workspace.published() {
        let promised = version(ours.promised_compiler()?);
        for package in workspace.shipped_with(ours) {
            if let Some(needed) = package.rust_version().filter(|needed| version(needed) > promised) {
                let (name, version) = (package.name(), package.version());
                problems.push(format!("{}: {name} {version} needs Rust {needed}", ours.name()));
            }
        }
    }
    if problems.is_empty() { Ok(Outcome::Passed) } else { Err(problems.join("\n").into()) }
}

struct Rules {
    licences: Vec<String>,
    banned: Vec<String>,
    registries: Vec<String>,
}

impl Rules {
    fn read(workspace: &Workspace) -> Result<Self, Error> {
        let path = workspace.root().join("deny.toml");
        let text = fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))?;
        let table: Table = text.parse()?;
        let licences = words(&table, "licenses", "allow");
        let registries = words(&table, "sources", "allow-registry");
        if licences.is_empty() || registries.is_empty() {
            return Err("deny.toml allows no licence or no registry".into());
        }
        Ok(Self { licences, banned: words(&table, "bans", "deny"), registries })
    }

    fn problem(&self, package: Package<'_>) -> Option<String> {
        let named = |problem: String| Some(format!("{} {}: {problem}", package.name(), package.version()));
        let source = package.source()?;
        if !self.registries.iter().any(|registry| source == format!("registry+{registry}")) {
            return named(format!("comes from {source}"));
        }
        if self.banned.iter().any(|name| name == package.name()) {
            return named("is banned".to_owned());
        }
        let allowed: BTreeSet<&str> = self.licences.iter().map(String::as_str).collect();
        match package.licence() {
            None => named("states no licence".to_owned()),
            Some(licence) if !licence::allows(licence, &allowed) => named(format!("has the licence {licence:?}")),
            Some(_) => None,
        }
    }
}

/// The strings of a list; an entry of the longer form counts by its `crate` member.
fn words(table: &Table, section: &str, key: &str) -> Vec<String> {
    let list = table.get(section).and_then(|section| section.get(key)).and_then(toml::Value::as_array);
    let word = |item: &toml::Value| item.as_str().or_else(|| item.get("crate")?.as_str()).map(str::to_owned);
    list.into_iter().flatten().filter_map(word).collect()
}

/// `1.85` and `1.85.1` as numbers that compare.
fn version(text: &str) -> Option<(u32, u32, u32)> {
    let mut parts = text.split('.').map(|part| part.parse::<u32>().ok());
    Some((parts.next()??, parts.next().flatten().unwrap_or(0), parts.next().flatten().unwrap_or(0)))
}

#[cfg(test)]
mod tests {
    use super::version;

    #[test]
    fn versions_compare_as_numbers() {
        assert!(version("1.100") > version("1.85.1"));
        assert_eq!(version("1.85"), version("1.85.0"));
        assert_eq!(version("nightly"), None);
    }
}
