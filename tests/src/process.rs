//! Programs that a test starts and that end with it.

use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

/// How long a server may take to answer, or to end. Generous: the machine may be busy, and it ends the wait of a broken
/// test only.
const PATIENCE: Duration = Duration::from_secs(60);

/// A running program. Dropping it kills it and whatever it started.
///
/// ```
/// use std::process::Command;
/// use tests::folder::Folder;
/// use tests::process::Process;
///
/// let folder = Folder::new("example");
/// let mut command = Command::new("sleep");
/// command.arg("600");
/// let mut sleeper = Process::start(command, folder.join("log"));
/// sleeper.kill();
/// assert!(!sleeper.is_running());
/// sleeper.restart();
/// assert!(sleeper.is_running());
/// ```
pub struct Process {
    command: Command,
    log: PathBuf,
    child: Option<Child>,
    paused: bool,
}

impl Process {
    /// Starts `command`, which writes what it says to the file `log`.
    ///
    /// # Panics
    ///
    /// If it cannot be started: a test does without no server that it needs.
    pub fn start(mut command: Command, log: impl Into<PathBuf>) -> Self {
        command.stdin(Stdio::null());
        let mut process = Self { command, log: log.into(), child: None, paused: false };
        process.spawn();
        process
    }

    fn spawn(&mut self) {
        let log = OpenOptions::new().create(true).append(true).open(&self.log);
        let log = log.unwrap_or_else(|error| panic!("cannot write {}: {error}", self.log.display()));
        let twin = |log: &File| log.try_clone().unwrap_or_else(|error| panic!("cannot share a log: {error}"));
        self.command.stdout(twin(&log)).stderr(log);
        match self.command.spawn() {
            Ok(child) => self.child = Some(child),
            Err(error) => panic!("cannot start {}: {error}; run `cargo xtask services`", self.name()),
        }
    }

    /// The program's name.
    pub fn name(&self) -> String {
        Path::new(self.command.get_program()).display().to_string()
    }

    /// Its number, if it was not killed.
    pub fn id(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    /// Whether it was neither killed nor has ended by itself. A paused one runs.
    pub fn is_running(&mut self) -> bool {
        self.child.as_mut().is_some_and(|child| matches!(child.try_wait(), Ok(None)))
    }

    /// Waits until `ready` says so: until the server answers.
    ///
    /// # Panics
    ///
    /// If the program ends before that, or it takes a minute; the message has the end of the log.
    pub fn wait_until(&mut self, mut ready: impl FnMut() -> bool) {
        let done = wait(|| !self.is_running() || ready());
        if !done || !self.is_running() {
            let why = if self.is_running() { "did not get ready" } else { "ended" };
            let log = self.log();
            let tail: Vec<_> = log.lines().rev().take(30).collect();
            let tail = tail.into_iter().rev().collect::<Vec<_>>().join("\n");
            panic!("{} {why}; it said:\n{tail}", self.name());
        }
    }

    /// What it has said so far, on standard output and standard error.
    pub fn log(&self) -> String {
        fs::read(&self.log).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
    }

    /// Kills it and whatever it started, as a crash would (`SIGKILL`), and waits until it is gone.
    pub fn kill(&mut self) {
        let Some(mut child) = self.child.take() else { return };
        // The parent first, so that it starts nothing more; they are found before it is gone.
        let others = descendants(child.id());
        let _ = child.kill();
        let _ = child.wait();
        for id in &others {
            signal(*id, Signal::KILL);
        }
        wait(|| others.iter().all(|id| !exists(*id)));
        self.paused = false;
    }

    /// Asks it to end (`SIGTERM`) and waits until it has; kills it if it does not within a minute.
    pub fn stop(&mut self) {
        self.resume();
        if let Some(id) = self.id() {
            signal(id, Signal::TERM);
            wait(|| !self.is_running());
        }
        self.kill();
    }

    /// Starts it again with the same arguments; it is killed first if it runs.
    ///
    /// # Panics
    ///
    /// As [`start`](Self::start).
    pub fn restart(&mut self) {
        self.kill();
        self.spawn();
    }

    /// Stops it and whatever it started in its tracks (`SIGSTOP`): connections stay open and get no answer.
    pub fn pause(&mut self) {
        self.paused = true;
        self.signal_all(Signal::STOP);
    }

    /// Lets it go on after a [`pause`](Self::pause).
    pub fn resume(&mut self) {
        if std::mem::take(&mut self.paused) {
            self.signal_all(Signal::CONT);
        }
    }

    fn signal_all(&self, which: Signal) {
        if let Some(id) = self.id() {
            // Itself first: a parent that is stopped starts nothing more.
            signal(id, which);
            for id in descendants(id) {
                signal(id, which);
            }
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

impl fmt::Debug for Process {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Process").field("command", &self.command).field("id", &self.id()).finish_non_exhaustive()
    }
}

/// Looks at `condition` every few milliseconds until it holds; whether it held within a minute. For what happens outside of
/// this process only: nothing inside needs to be waited for in this way.
#[allow(clippy::disallowed_methods)] // another process has no clock of ours, and its progress cannot be awaited
pub fn wait(mut condition: impl FnMut() -> bool) -> bool {
    let start = Instant::now();
    loop {
        if condition() {
            return true;
        }
        if start.elapsed() > PATIENCE {
            return false;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Sends a signal; a process that is gone by now does not mind.
fn signal(id: u32, which: Signal) {
    if let Some(pid) = i32::try_from(id).ok().and_then(Pid::from_raw) {
        let _ = kill_process(pid, which);
    }
}

/// Whether a process is there and not only waits to be reaped.
fn exists(id: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{id}/stat")).unwrap_or_default();
    // The state follows the name, which is in parentheses and may hold anything.
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with('Z'))
}

/// The processes that `id` started, and those that they did. Not by process group: servers give their children groups of
/// their own.
fn descendants(id: u32) -> Vec<u32> {
    let text = fs::read_to_string(format!("/proc/{id}/task/{id}/children")).unwrap_or_default();
    let children = text.split_whitespace().filter_map(|word| word.parse().ok());
    children.flat_map(|child| std::iter::once(child).chain(descendants(child))).collect()
}
