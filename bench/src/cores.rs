//! Which core runs what.

use std::ffi::OsStr;
use std::process::Command;
use std::sync::OnceLock;

/// How many cores this process had before it was put on one of them: the system counts those that the asking thread may run
/// on, which is one from then on.
pub fn count() -> usize {
    static COUNT: OnceLock<usize> = OnceLock::new();
    *COUNT.get_or_init(|| std::thread::available_parallelism().map_or(1, usize::from))
}

fn is_there(core: usize) -> bool {
    core < count()
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
    if !is_there(core) {
        return;
    }
    let pinned = Command::new("taskset").args(["--pid", "--cpu-list", &core.to_string(), thread]).output();
    if !pinned.is_ok_and(|output| output.status.success()) {
        eprintln!("{thread} was not put on core {core}");
    }
}
