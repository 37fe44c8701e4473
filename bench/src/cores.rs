//! Which core runs what.

use std::ffi::OsStr;
use std::process::Command;

fn is_there(core: usize) -> bool {
    core < std::thread::available_parallelism().map_or(1, usize::from)
}

/// A program that is on one core from the start, where there are two: a process that is put there later leaves behind the
/// threads that it had.
pub fn on(core: usize, program: impl AsRef<OsStr>) -> Command {
    if !is_there(core) {
        return Command::new(program);
    }
    let mut command = Command::new("taskset");
    command.args(["--cpu-list", &core.to_string()]).arg(program);
    command
}

/// Puts a thread on one core, where there are two; that of a process is its first. It hands its core down to what it starts.
pub fn pin(thread: &str, core: usize) {
    if is_there(core) {
        let _ = Command::new("taskset").args(["--pid", "--cpu-list", &core.to_string(), thread]).output();
    }
}
