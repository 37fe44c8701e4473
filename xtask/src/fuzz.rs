//! The fuzz targets, guided by coverage.

use std::fs;

use crate::Error;
use crate::process::run as run_program;
use crate::workspace::Workspace;

/// Coverage counters on every edge and comparison, as libFuzzer wants them. No sanitizer: the crates have no unsafe
/// code, and so this works with the stable compiler.
const COVERAGE: &str = "--cfg fuzzing -Cpasses=sancov-module -Ccodegen-units=1 -Cdebug-assertions \
    -Cllvm-args=-sanitizer-coverage-level=4 -Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
    -Cllvm-args=-sanitizer-coverage-pc-table -Cllvm-args=-sanitizer-coverage-trace-compares";

/// How long each target runs unless told, in seconds.
pub(crate) const SECONDS: u32 = 20;

/// Runs each target for `seconds`. What a target finds is kept in `fuzz/artifacts`, what it learns in
/// `fuzz/corpus`. It begins with `fuzz/seeds/<target>`, and knows the words of `fuzz/dictionaries/<family>.dict`, where the
/// family is the target's name up to the first underscore.
pub(crate) fn run(workspace: &Workspace, seconds: u32) -> Result<(), Error> {
    let folder = workspace.root().join("fuzz");
    let mut targets: Vec<String> = Vec::new();
    for entry in fs::read_dir(folder.join("fuzz_targets")).map_err(|error| format!("fuzz/fuzz_targets: {error}"))? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "rs") {
            targets.extend(path.file_stem().map(|stem| stem.to_string_lossy().into_owned()));
        }
    }
    if targets.is_empty() {
        return Err("fuzz/fuzz_targets holds no target".into());
    }
    targets.sort();
    let host = host(workspace)?;
    for target in targets {
        let corpus = folder.join("corpus").join(&target);
        let artifacts = folder.join("artifacts").join(&target);
        fs::create_dir_all(&corpus)?;
        fs::create_dir_all(&artifacts)?;
        let seeds = folder.join("seeds").join(&target);
        let family = target.split('_').next().unwrap_or_default();
        let dictionary = folder.join("dictionaries").join(format!("{family}.dict"));
        run_program(
            workspace
                .cargo()
                // A named platform keeps the flags away from build scripts, which have no fuzzer to link with.
                .args(["run", "--release", "--manifest-path", "fuzz/Cargo.toml", "--target", &host, "--target-dir"])
                .arg(workspace.target().join("fuzz"))
                .args(["--bin", &target, "--"])
                .arg(&corpus)
                .args(seeds.is_dir().then_some(seeds))
                .args(dictionary.is_file().then(|| format!("-dict={}", dictionary.display())))
                .arg(format!("-artifact_prefix={}/", artifacts.display()))
                .args([format!("-max_total_time={seconds}"), "-rss_limit_mb=2048".to_owned()])
                .env("RUSTFLAGS", COVERAGE),
        )?;
    }
    Ok(())
}

fn host(workspace: &Workspace) -> Result<String, Error> {
    let version = crate::process::output(workspace.cargo().arg("-vV"))?;
    let host = version.lines().find_map(|line| line.strip_prefix("host: "));
    Ok(host.ok_or("cargo names no host platform")?.to_owned())
}
