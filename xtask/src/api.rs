//! The public API of each published crate as text, kept in `docs/public-api` so that a change shows in review.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::Error;
use crate::ci::Outcome;
use crate::process::{output, run};
use crate::workspace::{Package, Workspace};

/// The version of rustdoc's JSON that the reader of the optional feature `public-api` understands. The compiler that
/// writes it is whichever is in use, so another one may write another version.
const FORMAT: u64 = 57;

/// Compares the API of the published crates with the texts, or writes these.
pub(crate) fn check(workspace: &Workspace, write: bool) -> Result<Outcome, Error> {
    let mut changed = Vec::new();
    for package in workspace.published() {
        let described = describe(workspace, package)?;
        let Some(now) = described else {
            return Ok(Outcome::Skipped("the compiler here describes crates in another version than the reader knows"));
        };
        let foreign = foreign(&now, workspace, package);
        if !foreign.is_empty() {
            let names = foreign.into_iter().collect::<Vec<_>>().join(", ");
            return Err(format!("the public API of {} shows types of {names}", package.name()).into());
        }
        let path = workspace.root().join("docs/public-api").join(format!("{}.txt", package.name()));
        if write {
            fs::write(&path, now)?;
        } else if fs::read_to_string(&path).unwrap_or_default() != now {
            let new = workspace.target().join("public-api").join(format!("{}.txt", package.name()));
            fs::write(&new, now)?;
            show_difference(&path, &new);
            changed.push(package.name());
        }
    }
    if changed.is_empty() {
        return Ok(Outcome::Passed);
    }
    let names = changed.join(", ");
    Err(format!("the public API of {names} changed: `cargo xtask api` writes the texts anew").into())
}

/// The API of one crate; `None` if the compiler writes what the reader does not know.
fn describe(workspace: &Workspace, package: Package<'_>) -> Result<Option<String>, Error> {
    let folder = workspace.target().join("public-api");
    // The option is unstable; the bootstrap switch opens it in a stable compiler, for this command only.
    run(workspace
        .cargo()
        .args(["rustdoc", "--quiet", "--lib", "--all-features", "--package", package.name(), "--target-dir"])
        .arg(&folder)
        .args(["--", "-Z", "unstable-options", "--output-format", "json"])
        .env("RUSTC_BOOTSTRAP", "1"))?;
    let described = folder.join("doc").join(format!("{}.json", package.name().replace('-', "_")));
    let document: Value = serde_json::from_str(&fs::read_to_string(&described)?)?;
    if document["format_version"].as_u64() != Some(FORMAT) {
        return Ok(None);
    }
    // The reader takes a while to compile, so only this task builds it, in a folder of its own: otherwise each task would
    // rebuild the other's program.
    output(
        workspace
            .cargo()
            .args(["run", "--quiet", "--package=xtask", "--features=public-api", "--target-dir"])
            .arg(folder.join("reader"))
            .args(["--", "print-api"])
            .arg(&described),
    )
    .map(Some)
}

/// The crates of others whose types an API shows, but for those that the crate allows in its `Cargo.toml`. A new major
/// version of one of them is a breaking change for our users.
fn foreign<'a>(api: &'a str, workspace: &Workspace, package: Package<'_>) -> BTreeSet<&'a str> {
    let others: BTreeSet<String> = workspace
        .packages()
        .filter(|other| other.source().is_some())
        .map(|other| other.name().replace('-', "_"))
        .collect();
    roots(api).filter(|name| others.contains(*name) && !package.allows_types_of(name)).collect()
}

/// The first words of paths that begin with a crate's name: `http` in `&http::Request<B>`.
fn roots(api: &str) -> impl Iterator<Item = &str> {
    let inside = |c: char| c.is_alphanumeric() || c == '_' || c == ':';
    // What begins with a colon goes on after `<T as Trait>`.
    let paths = api.split(move |c| !inside(c)).filter_map(|path| path.split_once("::"));
    paths.map(|(root, _)| root).filter(|root| !root.is_empty())
}

fn show_difference(old: &Path, new: &Path) {
    // Only for the eye: without `diff` the error alone has to do, and it exits with 1 when it found something.
    let _ = Command::new("diff").args(["--unified=0", "--new-file"]).arg(old).arg(new).status();
}

/// Prints the API that rustdoc described in `file`, without what every type gets by itself. Of derived implementations
/// there is only the first line: their methods say nothing new.
#[cfg(feature = "public-api")]
pub(crate) fn print(file: &str) -> Result<(), Error> {
    let builder = public_api::Builder::from_rustdoc_json(file).omit_blanket_impls(true).omit_auto_trait_impls(true);
    let lines = |builder: public_api::Builder| -> Result<Vec<String>, Error> {
        Ok(builder.build()?.items().map(ToString::to_string).collect())
    };
    let written: std::collections::HashSet<_> =
        lines(builder.clone().omit_auto_derived_impls(true))?.into_iter().collect();
    for line in lines(builder)? {
        if written.contains(&line) || line.starts_with("impl") {
            println!("{line}");
        }
    }
    Ok(())
}

/// Stands in for the reader that this build does not have.
#[cfg(not(feature = "public-api"))]
pub(crate) fn print(_file: &str) -> Result<(), Error> {
    Err("this build has no reader: add --features public-api".into())
}

#[cfg(test)]
mod tests {
    use super::roots;

    #[test]
    fn finds_the_crates_behind_paths() {
        let api = "pub fn a::B<S>::poll(&self, &mut core::task::Context<'_>) -> <S as http::Service>::Future\n\
                   impl<T: tower::Layer> a::C for T where T::Error: x";
        assert_eq!(roots(api).collect::<Vec<_>>(), ["a", "core", "http", "tower", "a", "T"]);
    }
}
