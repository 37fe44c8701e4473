//! What cargo knows of this workspace.

use std::path::PathBuf;
use std::process::Command;

use serde_json::Value;

use crate::Error;
use crate::process::{cargo, output};

/// The workspace and its packages.
pub(crate) struct Workspace {
    metadata: Value,
}

/// One package of the build, ours or another's.
#[derive(Clone, Copy)]
pub(crate) struct Package<'a>(&'a Value);

impl Workspace {
    /// Asks cargo, with every feature on.
    pub(crate) fn load() -> Result<Self, Error> {
        let text = output(cargo().args(["metadata", "--format-version", "1", "--all-features"]))?;
        Ok(Self { metadata: serde_json::from_str(&text)? })
    }

    /// The folder of the workspace's `Cargo.toml`.
    pub(crate) fn root(&self) -> PathBuf {
        self.path("workspace_root")
    }

    /// Where builds go.
    pub(crate) fn target(&self) -> PathBuf {
        self.path("target_directory")
    }

    /// A cargo command that works on this workspace, wherever this program was started.
    pub(crate) fn cargo(&self) -> Command {
        let mut command = cargo();
        command.current_dir(self.root());
        command
    }

    /// Every package of the build.
    pub(crate) fn packages(&self) -> impl Iterator<Item = Package<'_>> {
        items(&self.metadata["packages"]).map(Package)
    }

    /// Our own packages.
    pub(crate) fn members(&self) -> impl Iterator<Item = Package<'_>> {
        self.packages().filter(|package| package.0["source"].is_null())
    }

    /// Our packages that are published.
    pub(crate) fn published(&self) -> impl Iterator<Item = Package<'_>> {
        // `publish = false` is an empty list of registries here, and no restriction is null.
        self.members().filter(|package| package.0["publish"].is_null())
    }

    /// `-p NAME` for each published package.
    pub(crate) fn published_flags(&self) -> Vec<String> {
        self.published().flat_map(|package| ["-p".to_owned(), package.name().to_owned()]).collect()
    }

    /// The packages that users of one of ours build: itself and what it depends on, without its development dependencies, and
    /// so on down.
    pub(crate) fn shipped_with(&self, package: Package<'_>) -> Vec<Package<'_>> {
        let mut todo: Vec<&str> = self.packages().map(Package::id).filter(|id| *id == package.id()).collect();
        let mut seen: Vec<&str> = Vec::new();
        while let Some(id) = todo.pop() {
            if seen.contains(&id) {
                continue;
            }
            seen.push(id);
            let node = items(&self.metadata["resolve"]["nodes"]).find(|node| node["id"] == id);
            for dependency in node.map(|node| items(&node["deps"])).into_iter().flatten() {
                // The kind is null for a normal dependency.
                if items(&dependency["dep_kinds"]).any(|kind| kind["kind"] != "dev") {
                    todo.extend(dependency["pkg"].as_str());
                }
            }
        }
        self.packages().filter(|package| seen.contains(&package.id())).collect()
    }

    fn path(&self, member: &str) -> PathBuf {
        text(&self.metadata[member]).into()
    }
}

impl<'a> Package<'a> {
    /// Its name.
    pub(crate) fn name(self) -> &'a str {
        text(&self.0["name"])
    }

    /// Its version.
    pub(crate) fn version(self) -> &'a str {
        text(&self.0["version"])
    }

    /// Where it comes from; `None` for our own.
    pub(crate) fn source(self) -> Option<&'a str> {
        self.0["source"].as_str()
    }

    /// Its licence expression, if it states one.
    pub(crate) fn licence(self) -> Option<&'a str> {
        self.0["license"].as_str()
    }

    /// The oldest compiler that it claims to build with.
    pub(crate) fn rust_version(self) -> Option<&'a str> {
        self.0["rust_version"].as_str()
    }

    /// The oldest compiler that one of our published crates promises: an error where it promises none, which nothing could check.
    pub(crate) fn promised_compiler(self) -> Result<&'a str, Error> {
        self.rust_version().ok_or_else(|| format!("{} states no rust-version", self.name()).into())
    }

    /// What it takes from a registry in whatever version there is.
    pub(crate) fn wildcards(self) -> impl Iterator<Item = &'a str> {
        items(&self.0["dependencies"])
            .filter(|dependency| !dependency["source"].is_null() && dependency["req"] == "*")
            .map(|dependency| text(&dependency["name"]))
    }

    /// The names of its features.
    pub(crate) fn features(self) -> impl Iterator<Item = &'a str> {
        self.0["features"].as_object().into_iter().flatten().map(|(name, _)| name.as_str())
    }

    /// Whether its public API may show types of the crate `name`. The list is that of cargo-check-external-types, by
    /// crates: `http::*`.
    pub(crate) fn allows_types_of(self, name: &str) -> bool {
        let allowed = &self.0["metadata"]["cargo_check_external_types"]["allowed_external_types"];
        items(allowed).any(|pattern| text(pattern).strip_suffix("::*") == Some(name))
    }

    /// Its benchmark programs.
    pub(crate) fn benches(self) -> impl Iterator<Item = &'a str> {
        items(&self.0["targets"])
            .filter(|target| items(&target["kind"]).any(|kind| kind == "bench"))
            .map(|target| text(&target["name"]))
    }

    fn id(self) -> &'a str {
        text(&self.0["id"])
    }
}

fn items(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}
