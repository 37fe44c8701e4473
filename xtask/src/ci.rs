//! The gates: what must hold beside the tests.

use std::collections::BTreeSet;
use std::process::Command;

use crate::process::{cargo_of, run as run_program, run_tests, toolchain};
use crate::workspace::{Package, Workspace};
use crate::{Error, Options, api, dependencies, fuzz, minimal, test};

/// What a gate came to.
pub(crate) enum Outcome {
    /// It holds.
    Passed,
    /// It could not be tried here, and why.
    Skipped(&'static str),
}

type Gate = (&'static str, fn(&Workspace) -> Result<Outcome, Error>);

/// Cheap ones first; each leaves behind what the next can use.
const GATES: &[Gate] = &[
    ("format", format),
    ("dependencies", dependencies::check),
    ("clippy", clippy),
    ("defaults", defaults),
    ("features", features),
    ("docs", docs),
    ("api", api),
    ("msrv", msrv),
    ("minimal", minimal::check),
    ("fuzz", fuzz),
    ("miri", miri),
];

/// How long each fuzz target runs as a gate, in seconds.
const FUZZ_SECONDS: u32 = 15;

/// Why Miri did not run.
pub(crate) const NO_MIRI: &str = "no nightly toolchain with Miri is here, and none can be installed";

/// Runs the named gates, or all.
pub(crate) fn run(workspace: &Workspace, options: &Options) -> Result<(), Error> {
    if options.list {
        for (name, _) in GATES {
            println!("{name}");
        }
        return Ok(());
    }
    if let Some(unknown) = options.names.iter().find(|name| !GATES.iter().any(|(known, _)| known == name)) {
        return Err(format!("no gate is called {unknown:?}; `cargo xtask ci --list` names them").into());
    }
    let mut report = Vec::new();
    let (mut passed, mut failed, mut skipped) = (0, 0, 0);
    for (name, gate) in GATES {
        if !options.names.is_empty() && !options.names.iter().any(|asked| asked == name) {
            continue;
        }
        eprintln!("\n== {name}");
        // One run shows everything that is wrong.
        let (count, came_to) = match gate(workspace) {
            Ok(Outcome::Passed) => (&mut passed, "passed".to_owned()),
            Ok(Outcome::Skipped(why)) => (&mut skipped, format!("skipped, {why}")),
            Err(error) => (&mut failed, format!("FAILED, {error}")),
        };
        *count += 1;
        report.push(format!("{name}: {came_to}"));
    }
    println!("\n{}\ngates: {passed} passed, {failed} failed, {skipped} skipped", report.join("\n"));
    if failed == 0 { Ok(()) } else { Err("not every gate holds".into()) }
}

fn format(workspace: &Workspace) -> Result<Outcome, Error> {
    run_program(workspace.cargo().args(["fmt", "--all", "--check"]))?;
    Ok(Outcome::Passed)
}

fn clippy(workspace: &Workspace) -> Result<Outcome, Error> {
    for features in [&["--all-features"][..], &[]] {
        let mut command = workspace.cargo();
        command.args(["clippy", "--workspace", "--all-targets"]).args(features).args(["--", "-D", "warnings"]);
        run_program(&mut command)?;
    }
    Ok(Outcome::Passed)
}

/// Tests of what a build without some feature says, which neither all features nor the defaults of a published crate hold: the
/// package, its features, and what chooses the tests.
const WITHOUT: [(&str, &str, &[&str]); 4] = [
    ("throttlekit-redis", "config", &["without_the_feature_tls"]),
    ("throttlekit-postgres", "config", &["--test=without_tls"]),
    ("examples", "redis", &["--test=stores", "a_store_that_was_not_built_in"]),
    ("examples", "redis", &["--test=llm_gateway", "mistakes_are_clear_errors"]),
];

/// The tests of each published crate as a user gets it who asks for no feature, and those of builds without a feature.
fn defaults(workspace: &Workspace) -> Result<Outcome, Error> {
    for mut command in default_tests(workspace).into_iter().chain(tests_without(workspace)) {
        run_tests(&mut command)?;
    }
    Ok(Outcome::Passed)
}

/// A run for each crate: in one build, crates switch on features of those that they share.
fn default_tests(workspace: &Workspace) -> Vec<Command> {
    let test = |package: Package<'_>| {
        let mut command = workspace.cargo();
        command.args(["test", "--package", package.name()]);
        command
    };
    workspace.published().map(test).collect()
}

/// A run for each choice of tests, since one that runs none is an error.
fn tests_without(workspace: &Workspace) -> Vec<Command> {
    let test = |(package, features, chosen): (&str, &str, &[&str])| {
        let mut command = workspace.cargo();
        command.args(["test", "--package", package, "--no-default-features", "--features", features]).args(chosen);
        command
    };
    WITHOUT.into_iter().map(test).collect()
}

/// Each published crate with no feature, and with each one alone: a feature that needs another must say so.
fn features(workspace: &Workspace) -> Result<Outcome, Error> {
    for package in workspace.published() {
        let alone = package.features().filter(|feature| *feature != "default").map(Some);
        for feature in std::iter::once(None).chain(alone) {
            let mut command = workspace.cargo();
            command.args(["check", "--no-default-features", "--package", package.name()]);
            if let Some(feature) = feature {
                command.args(["--features", feature]);
            }
            run_program(
                command.env("RUSTFLAGS", "-D warnings").args(["--target-dir"]).arg(workspace.target().join("features")),
            )?;
        }
    }
    Ok(Outcome::Passed)
}

/// Broken links and missing words in the documentation are errors.
fn docs(workspace: &Workspace) -> Result<Outcome, Error> {
    let arguments = ["doc", "--workspace", "--all-features", "--no-deps"];
    run_program(workspace.cargo().args(arguments).env("RUSTDOCFLAGS", "-D warnings"))?;
    Ok(Outcome::Passed)
}

/// The public API is what `docs/public-api` says.
fn api(workspace: &Workspace) -> Result<Outcome, Error> {
    api::check(workspace, false)
}

/// Builds the published crates with the oldest compiler that they promise, which is installed if it can be. Beside this, the
/// gate `dependencies` compares what every dependency declares, and clippy denies newer parts of the standard library.
fn msrv(workspace: &Workspace) -> Result<Outcome, Error> {
    let versions: Result<BTreeSet<&str>, Error> = workspace.published().map(Package::promised_compiler).collect();
    let mut missing = false;
    for version in versions? {
        let Some(toolchain) = toolchain(version, &[]) else {
            missing = true;
            continue;
        };
        let packages = workspace.published().filter(|package| package.rust_version() == Some(version));
        run_program(
            cargo_of(&toolchain)
                .current_dir(workspace.root())
                .args(["check", "--locked", "--all-features"])
                .args(packages.flat_map(|package| ["--package", package.name()]))
                .arg("--target-dir")
                .arg(workspace.target().join("msrv")),
        )?;
    }
    if missing {
        return Ok(Outcome::Skipped(
            "a compiler of it cannot be installed; dependencies and clippy checked what they can",
        ));
    }
    Ok(Outcome::Passed)
}

fn fuzz(workspace: &Workspace) -> Result<Outcome, Error> {
    fuzz::run(workspace, FUZZ_SECONDS)?;
    Ok(Outcome::Passed)
}

fn miri(workspace: &Workspace) -> Result<Outcome, Error> {
    Ok(match test::miri(workspace)? {
        Some(_) => Outcome::Passed,
        None => Outcome::Skipped(NO_MIRI),
    })
}

#[cfg(test)]
mod tests {
    use super::{Workspace, default_tests, tests_without};

    fn words(command: &std::process::Command) -> Vec<&str> {
        command.get_args().filter_map(|word| word.to_str()).collect()
    }

    #[test]
    fn each_published_crate_is_tested_by_itself_with_its_defaults() {
        let workspace = Workspace::load().unwrap();
        let commands = default_tests(&workspace);
        let expected: Vec<_> = workspace.published().map(|package| vec!["test", "--package", package.name()]).collect();
        assert!(expected.len() >= 10, "{expected:?}");
        assert_eq!(commands.iter().map(words).collect::<Vec<_>>(), expected);
    }

    #[test]
    fn builds_without_a_feature_are_of_packages_and_features_that_there_are() {
        let workspace = Workspace::load().unwrap();
        for command in tests_without(&workspace) {
            let words = words(&command);
            let [_, _, package, _, _, feature, ..] = words[..] else { panic!("{words:?}") };
            let package = workspace.members().find(|member| member.name() == package).expect(package);
            assert!(package.features().any(|known| known == feature), "{words:?}");
        }
    }
}
