//! The published crates with the oldest versions of their dependencies that the manifests allow.

use std::fs;
use std::process::Command;

use crate::Error;
use crate::ci::Outcome;
use crate::process::{cargo, output, run};
use crate::workspace::Workspace;

/// Checks that the versions in the manifests are true: each direct dependency at its lowest version still compiles.
///
/// Works on a copy, since it writes another lock file.
pub(crate) fn check(workspace: &Workspace) -> Result<Outcome, Error> {
    let copy = workspace.target().join("minimal").join("source");
    if copy.exists() {
        fs::remove_dir_all(&copy)?;
    }
    // What git knows or would know of; a build folder inside the tree is left out.
    let listing = ["ls-files", "--cached", "--others", "--exclude-standard"];
    let files = output(Command::new("git").args(listing).current_dir(workspace.root()))?;
    for file in files.lines().filter(|file| workspace.root().join(file).is_file()) {
        let to = copy.join(file);
        if let Some(folder) = to.parent() {
            fs::create_dir_all(folder)?;
        }
        fs::copy(workspace.root().join(file), to)?;
    }
    // The resolver's option is unstable; the bootstrap switch opens it in a stable cargo, for this command only.
    let options = ["update", "--quiet", "-Z", "direct-minimal-versions"];
    run(cargo().current_dir(&copy).args(options).env("RUSTC_BOOTSTRAP", "1"))?;
    run(cargo()
        .current_dir(&copy)
        .args(["check", "--locked", "--all-features"])
        .args(workspace.published_flags())
        .arg("--target-dir")
        .arg(workspace.target().join("minimal")))?;
    Ok(Outcome::Passed)
}
