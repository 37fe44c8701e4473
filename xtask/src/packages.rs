//! Packages from language registries that tests use, installed below the target folder and nowhere else.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::Error;
use crate::process::run;

/// One package with its version.
struct Package {
    /// Also its folder below `services`.
    name: &'static str,
    /// What it is for.
    purpose: &'static str,
    registry: Registry,
    /// What the registry's client is asked for. Of what these need in turn, each installation takes what fits.
    wanted: &'static [&'static str],
    /// A file that is there once it is installed.
    proof: &'static str,
}

enum Registry {
    Npm,
    Pypi,
}

const PACKAGES: [Package; 2] = [
    Package {
        name: "dynalite",
        purpose: "tests: a server that speaks DynamoDB",
        registry: Registry::Npm,
        wanted: &["dynalite@4.0.0"],
        proof: "node_modules/dynalite/cli.js",
    },
    Package {
        name: "python",
        purpose: "tests: the Python client of the family",
        registry: Registry::Pypi,
        wanted: &["throttlekit-py[redis]==0.5.1", "redis==8.1.0"],
        proof: "throttlekit/redis_backend.py",
    },
];

/// Where the packages are, below the folder for builds.
pub(crate) fn folder(target: &Path) -> PathBuf {
    target.join("services")
}

/// Lists the packages and installs those that are missing or of another version.
pub(crate) fn ensure(target: &Path) -> Result<(), Error> {
    for package in &PACKAGES {
        let folder = folder(target).join(package.name);
        let there = package.is_there(&folder);
        eprintln!("{:<16} {:<8} {}", package.name, if there { "there" } else { "missing" }, package.purpose);
        if !there {
            package.install(&folder)?;
        }
    }
    Ok(())
}

impl Package {
    /// What the folder holds, written when the installation is complete.
    fn version(&self) -> String {
        self.wanted.join("\n")
    }

    fn is_there(&self, folder: &Path) -> bool {
        fs::read_to_string(folder.join(".version")).is_ok_and(|version| version == self.version())
            && folder.join(self.proof).exists()
    }

    fn install(&self, folder: &Path) -> Result<(), Error> {
        if folder.exists() {
            fs::remove_dir_all(folder)?;
        }
        fs::create_dir_all(folder)?;
        match self.registry {
            // What a package wants to run when it is installed is not run.
            Registry::Npm => run(Command::new("npm")
                .args(["install", "--ignore-scripts", "--no-audit", "--no-fund", "--no-save", "--silent", "--prefix"])
                .arg(folder)
                .args(self.wanted)),
            Registry::Pypi => run(Command::new("python3")
                .args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--root-user-action=ignore"])
                .args(["--only-binary=:all:", "--target"])
                .arg(folder)
                .args(self.wanted)),
        }?;
        if !folder.join(self.proof).exists() {
            return Err(format!("{} brought no {}", self.wanted.join(" "), self.proof).into());
        }
        Ok(fs::write(folder.join(".version"), self.version())?)
    }
}
