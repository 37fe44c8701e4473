//! The golden vectors that every member of the family passes. They come from a published package, never from this
//! repository.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::Error;
use crate::process::run;

/// The source package on the Python package index that carries the vectors, and what it must hash to.
const PACKAGE: &str = "throttlekit-py";
const VERSION: &str = "0.5.1";
const SHA256: &str = "ffda9165cab6ff534d543c4709f5e673cdef756f643ac4893b020616a2adfb98";
/// The file inside the package, below its top folder.
const MEMBER: &str = "contract/golden-vectors.json";

/// Fetches the vectors into the target folder unless they are there, and returns where they are.
pub(crate) fn fetch(target: &Path) -> Result<PathBuf, Error> {
    let folder = target.join("contract");
    let vectors = folder.join("golden-vectors.json");
    if vectors.exists() && suites(&vectors).is_ok() {
        return Ok(vectors);
    }
    fs::create_dir_all(&folder)?;
    let wanted = folder.join("requirements.txt");
    fs::write(&wanted, format!("{PACKAGE}=={VERSION} --hash=sha256:{SHA256}\n"))?;
    // Only this package as source: a plain `:all:` would also compile the tools that read its metadata.
    let options = ["--quiet", "--no-deps", "--require-hashes", "--no-binary", PACKAGE];
    run(Command::new("python3")
        .args(["-m", "pip", "download"])
        .args(options)
        .args(["--dest"])
        .arg(&folder)
        .arg("-r")
        .arg(&wanted))?;
    let stem = format!("{}-{VERSION}", PACKAGE.replace('-', "_"));
    run(Command::new("tar")
        .args(["--extract", "--gzip", "--strip-components=2", "--file"])
        .arg(folder.join(format!("{stem}.tar.gz")))
        .arg("--directory")
        .arg(&folder)
        .arg(format!("{stem}/{MEMBER}")))?;
    let count = suites(&vectors)?;
    eprintln!("fetched {count} suites of golden vectors");
    Ok(vectors)
}

/// How many suites the file holds; an error if it is no such file.
fn suites(vectors: &Path) -> Result<usize, Error> {
    let document: Value = serde_json::from_str(&fs::read_to_string(vectors)?)?;
    match document["suites"].as_array() {
        Some(suites) if !suites.is_empty() => Ok(suites.len()),
        _ => Err(format!("{} holds no suites", vectors.display()).into()),
    }
}
