//! Packages from language registries that tests use, installed below the target folder and nowhere else.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::Error;
use crate::process::{cargo, run};

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
    /// A program that is compiled here, with these features only.
    Crates {
        features: &'static str,
    },
    /// A shared library that is compiled here.
    Library,
    Pypi,
}

const PACKAGES: [Package; 3] = [
    // It knows transactions and tells what made a condition fail, which the one on npm does not.
    Package {
        name: "dynoxide",
        purpose: "tests: a server that speaks DynamoDB",
        registry: Registry::Crates { features: "native-sqlite,http-server,cli" },
        wanted: &["dynoxide-rs@3.2.0"],
        proof: "bin/dynoxide",
    },
    Package {
        name: "python",
        purpose: "tests: the Python client of the family",
        registry: Registry::Pypi,
        wanted: &["throttlekit-py[redis]==0.5.1", "redis==8.1.0"],
        proof: "throttlekit/redis_backend.py",
    },
    Package {
        name: "openai",
        purpose: "tests: OpenAI's SDK, which is what the gateway is for",
        registry: Registry::Pypi,
        wanted: &["openai==3.54.0"],
        proof: "openai/_base_client.py",
    },
];

/// What one bench measures beside this project.
const REDIS_CELL: Package = Package {
    name: "redis-cell",
    purpose: "bench: a rival on Redis",
    registry: Registry::Library,
    wanted: &["redis-cell = \"=0.2.2\""],
    proof: "libredis_cell.so",
};

/// Where the packages are, below the folder for builds.
pub(crate) fn folder(target: &Path) -> PathBuf {
    target.join("services")
}

/// Lists the packages and installs those that are missing or of another version.
pub(crate) fn ensure(target: &Path) -> Result<(), Error> {
    PACKAGES.iter().try_for_each(|package| package.ensure(target))
}

/// As [`ensure`], for what the benches measure beside this project.
pub(crate) fn ensure_rivals(target: &Path) -> Result<(), Error> {
    REDIS_CELL.ensure(target)
}

impl Package {
    fn ensure(&self, target: &Path) -> Result<(), Error> {
        let folder = folder(target).join(self.name);
        let there = self.is_there(&folder);
        eprintln!("{:<16} {:<8} {}", self.name, if there { "there" } else { "missing" }, self.purpose);
        if there { Ok(()) } else { self.install(&folder) }
    }

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
            // Compiled to start soon, not to run fast: tests ask little of it. What building leaves behind is big.
            Registry::Crates { features } => run(cargo()
                .args(["install", "--quiet", "--locked", "--no-default-features", "--features", features, "--root"])
                .arg(folder)
                .arg("--target-dir")
                .arg(folder.join("build"))
                .args(self.wanted)
                .env("CARGO_PROFILE_RELEASE_LTO", "off")
                .env("CARGO_PROFILE_RELEASE_OPT_LEVEL", "1")
                .env("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "16")
                .env("CARGO_PROFILE_RELEASE_DEBUG", "0")
                .env_remove("RUSTFLAGS"))
            .and_then(|()| Ok(fs::remove_dir_all(folder.join("build"))?)),
            Registry::Library => self.compile(folder),
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

    /// Builds a crate that is a shared library, by way of a crate that only depends on it.
    fn compile(&self, folder: &Path) -> Result<(), Error> {
        let (build, source) = (folder.join("build"), folder.join("source"));
        fs::create_dir_all(source.join("src"))?;
        fs::write(source.join("src/lib.rs"), "")?;
        let manifest = format!(
            "[package]\nname = \"wanted\"\nversion = \"0.0.0\"\n\n[dependencies]\n{}\n\n[workspace]\n",
            self.wanted.join("\n")
        );
        fs::write(source.join("Cargo.toml"), manifest)?;
        let mut command = cargo();
        command.current_dir(&source).args(["build", "--quiet", "--release", "--target-dir"]).arg(&build);
        // The module is a dependency here, so that cargo would leave the standard library out of it, and the server finds it
        // only where cargo started the server.
        run(command.env("RUSTFLAGS", "-C prefer-dynamic=no"))?;
        let stem = self.proof.trim_end_matches(".so");
        for built in fs::read_dir(build.join("release/deps"))? {
            let built = built?.path();
            let is_named = built.file_name().is_some_and(|name| name.to_string_lossy().starts_with(stem));
            if is_named && built.extension().is_some_and(|extension| extension == "so") {
                fs::copy(&built, folder.join(self.proof))?;
            }
        }
        Ok(fs::remove_dir_all(build)?)
    }
}
