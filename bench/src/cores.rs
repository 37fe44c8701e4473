//! Which core runs what.

use std::process::Command;

/// Puts a process on one core, where there are two. A pinned process hands its core down to what it starts.
pub fn pin(process: &str, core: usize) {
    let there = std::thread::available_parallelism().map_or(1, usize::from);
    if core < there {
        let _ = Command::new("taskset").args(["--pid", "--cpu-list", &core.to_string(), process]).output();
    }
}
