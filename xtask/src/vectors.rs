//! The golden vectors that every member of the family passes. They come from a published package, never from this
//! repository.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use sha2::{Digest, Sha256};

use crate::Error;
use crate::process::run;

/// The source package on the Python package index that carries the vectors, and what it must hash to.
const PACKAGE: &str = "throttlekit-py";
const VERSION: &str = "0.5.1";
const PACKAGE_SHA256: &str = "ffda9165cab6ff534d543c4709f5e673cdef756f643ac4893b020616a2adfb98";
/// The file inside the package, below its top folder, and what it must hash to.
const MEMBER: &str = "contract/golden-vectors.json";
const MEMBER_SHA256: &str = "549ff52932ce55960903f076b2cc87479f37c0f08d01ab72ed60503baf5b39ab";

/// Fetches the vectors into the target folder unless they are there as they were published, and returns where they are.
pub(crate) fn fetch(target: &Path) -> Result<PathBuf, Error> {
    let folder = target.join("contract");
    let vectors = folder.join("golden-vectors.json");
    if check(&vectors).is_ok() {
        return Ok(vectors);
    }
    fs::create_dir_all(&folder)?;
    let wanted = folder.join("requirements.txt");
    fs::write(&wanted, format!("{PACKAGE}=={VERSION} --hash=sha256:{PACKAGE_SHA256}\n"))?;
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
    check(&vectors)?;
    eprintln!("fetched the golden vectors");
    Ok(vectors)
}

/// An error if the file is not there, or another one: tests that compare nothing would pass.
fn check(vectors: &Path) -> Result<(), Error> {
    let found = digest(&fs::read(vectors)?);
    if found == MEMBER_SHA256 { Ok(()) } else { Err(format!("{} has the digest {found}", vectors.display()).into()) }
}

fn digest(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().fold(String::new(), |digits, byte| digits + &format!("{byte:02x}"))
}

#[cfg(test)]
mod tests {
    use super::digest;

    #[test]
    fn a_digest_is_written_as_those_of_the_index_are() {
        assert_eq!(digest(b"abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    }
}
