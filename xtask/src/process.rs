//! Running programs: shown as they start, an error if they fail.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Command, Stdio};

use crate::Error;

/// The cargo that runs this program, so that every step uses one toolchain.
pub(crate) fn cargo() -> Command {
    // Set by `cargo run`; a copy of the program started by hand falls back to the one on the path.
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    // A build script's or a test's environment must not leak into the builds that this program starts.
    for (name, _) in std::env::vars_os() {
        let name = name.to_string_lossy();
        if name.starts_with("CARGO_PKG_") || name == "CARGO_MANIFEST_DIR" {
            command.env_remove(&*name);
        }
    }
    command
}

/// Cargo of another toolchain, which has to go through rustup's own launcher.
pub(crate) fn cargo_of(toolchain: &str) -> Command {
    let mut command = Command::new("cargo");
    command.arg(format!("+{toolchain}")).env_remove("CARGO").env_remove("RUSTUP_TOOLCHAIN").env_remove("RUSTC");
    command
}

/// The full name of a toolchain of `channel`, such as `1.85` or `nightly`, that has `components`. What is missing of it is
/// installed; `None` without rustup, or where rustup cannot fetch it, which it says itself.
pub(crate) fn toolchain(channel: &str, components: &[&str]) -> Option<String> {
    let of_channel = || toolchains().into_iter().filter(|name| is_of(channel, name));
    if let Some(complete) = of_channel().find(|name| has(name, components)) {
        return Some(complete);
    }
    // Not installed anew, which would move a nightly that is there to another day.
    if let Some(name) = of_channel().next() {
        return add(&name, components).then_some(name);
    }
    let mut install = Command::new("rustup");
    install.args(["toolchain", "install", channel, "--profile", "minimal", "--no-self-update"]);
    if !components.is_empty() {
        install.args(["--component", &components.join(",")]);
    }
    run(&mut install).ok().and_then(|()| of_channel().next())
}

/// Whether the toolchain called `name` is of `channel`: `1.8` is not that of `1.85.1-x86_64-unknown-linux-gnu`.
fn is_of(channel: &str, name: &str) -> bool {
    name.strip_prefix(channel).is_some_and(|rest| rest.starts_with(['.', '-']))
}

fn has(toolchain: &str, components: &[&str]) -> bool {
    if components.is_empty() {
        return true;
    }
    let mut list = Command::new("rustup");
    let listed = output(list.args(["component", "list", "--installed", "--toolchain", toolchain])).unwrap_or_default();
    components.iter().all(|wanted| listed.lines().any(|line| line.starts_with(wanted)))
}

fn add(toolchain: &str, components: &[&str]) -> bool {
    run(Command::new("rustup").args(["component", "add", "--toolchain", toolchain]).args(components)).is_ok()
}

/// The toolchains that rustup has, by their full names; none without rustup.
fn toolchains() -> Vec<String> {
    let listed = Command::new("rustup").args(["toolchain", "list"]).stderr(Stdio::null()).output();
    let text = listed.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
    text.lines().filter_map(|line| line.split_whitespace().next()).map(str::to_owned).collect()
}

/// Runs `command`, which inherits standard output and error.
pub(crate) fn run(command: &mut Command) -> Result<(), Error> {
    show(command);
    let status = command.stdin(Stdio::null()).status().map_err(|error| failed_to_start(command, &error))?;
    if status.success() { Ok(()) } else { Err(format!("{} failed: {status}", name(command)).into()) }
}

/// Runs `command` and returns its standard output.
pub(crate) fn output(command: &mut Command) -> Result<String, Error> {
    let output = command.stdin(Stdio::null()).output().map_err(|error| failed_to_start(command, &error))?;
    if output.status.success() {
        return Ok(String::from_utf8(output.stdout)?);
    }
    let stderr = String::from_utf8_lossy(&output.stderr);
    Err(format!("{} failed: {}\n{stderr}", name(command), output.status).into())
}

/// Whether `command` can be started and succeeds.
pub(crate) fn succeeds(command: &mut Command) -> bool {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

/// Runs tests, passes their output on, and returns how many passed.
///
/// No test at all is an error: a filter or a `cfg` that matches nothing must not look like success.
pub(crate) fn run_tests(command: &mut Command) -> Result<u64, Error> {
    show(command);
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|error| failed_to_start(command, &error))?;
    let passed = match child.stdout.take() {
        Some(stdout) => pass_on(stdout)?,
        None => 0,
    };
    let status = child.wait()?;
    if !status.success() {
        return Err(format!("{} failed: {status}", name(command)).into());
    }
    if passed == 0 {
        return Err(format!("{} ran no test", name(command)).into());
    }
    Ok(passed)
}

fn pass_on(stdout: impl Read) -> Result<u64, Error> {
    let mut passed = 0;
    let mut out = std::io::stdout().lock();
    for line in BufReader::new(stdout).split(b'\n') {
        let line = line?;
        out.write_all(&line)?;
        out.write_all(b"\n")?;
        passed += passed_in(&String::from_utf8_lossy(&line));
    }
    Ok(passed)
}

/// The count in a line like `test result: ok. 3 passed; 0 failed; ...`; 0 for any other line.
fn passed_in(line: &str) -> u64 {
    let count = || line.strip_prefix("test result: ")?.split_once(". ")?.1.split_once(" passed")?.0.parse().ok();
    count().unwrap_or(0)
}

fn show(command: &Command) {
    let set = |(variable, value): (&OsStr, Option<&OsStr>)| {
        value.map(|value| format!("{}={:?} ", variable.to_string_lossy(), value.to_string_lossy()))
    };
    eprintln!("$ {}{}", command.get_envs().filter_map(set).collect::<String>(), name(command));
}

fn name(command: &Command) -> String {
    let program = std::path::Path::new(command.get_program());
    let program = program.file_name().unwrap_or(command.get_program());
    let words = std::iter::once(program).chain(command.get_args());
    words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
}

fn failed_to_start(command: &Command, error: &std::io::Error) -> Error {
    format!("cannot start {:?}: {error}", command.get_program()).into()
}

#[cfg(test)]
mod tests {
    use super::{is_of, passed_in};

    #[test]
    fn tells_whose_channel_a_toolchain_is() {
        for name in ["1.85-x86_64-unknown-linux-gnu", "1.85.1-x86_64-unknown-linux-gnu"] {
            assert!(is_of("1.85", name) && !is_of("1.8", name) && !is_of("1.85.0", name), "{name}");
        }
        assert!(is_of("nightly", "nightly-2026-11-01-x86_64-unknown-linux-gnu"));
        assert!(!is_of("nightly", "stable-x86_64-unknown-linux-gnu"));
    }

    #[test]
    fn reads_the_count_of_a_result_line() {
        assert_eq!(passed_in("test result: ok. 12 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out"), 12);
        assert_eq!(passed_in("test result: FAILED. 3 passed; 1 failed; 0 ignored"), 3);
        assert_eq!(passed_in("test passed_in ... ok"), 0);
        assert_eq!(passed_in("test result: "), 0);
    }
}
