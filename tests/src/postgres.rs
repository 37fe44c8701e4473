//! A PostgreSQL server of a test's own.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use rustix::process::geteuid;

use crate::folder::Folder;
use crate::port::Port;
use crate::process::Process;

/// A server with an empty database cluster, for one test or [shared](crate::shared::Shared) by several.
///
/// Anybody may log in as `postgres` without a password; the user `app` needs the [password](Self::PASSWORD). On an encrypted
/// connection the user `certified` needs a certificate for that name.
#[derive(Debug)]
pub struct Postgres {
    // Killed before its folder goes.
    process: Process,
    port: Port,
    folder: Folder,
}

impl Postgres {
    /// The password of the user `app`.
    pub const PASSWORD: &str = "open-sesame-1001";

    /// Starts one. What was committed outlives a kill of the server, not of the machine.
    ///
    /// # Panics
    ///
    /// If it cannot be started.
    pub fn start() -> Self {
        Self::start_with(&["fsync=off"], &[])
    }

    /// Starts one that waits for the disk, as in service.
    ///
    /// # Panics
    ///
    /// If it cannot be started.
    pub fn start_durable() -> Self {
        Self::start_with(&[], &[])
    }

    /// Starts one with `settings` as `name=value`, and with `files` by name, readable by the server alone. Settings find
    /// them in the folder above, as `../name`.
    ///
    /// # Panics
    ///
    /// If it cannot be started.
    pub fn start_with(settings: &[&str], files: &[(&str, &str)]) -> Self {
        let (folder, port) = (Folder::new("postgres"), Port::free());
        for (name, text) in files {
            write(&folder.join(name), text);
        }
        if is_root() {
            // The server refuses to run as root.
            done(Command::new("chown").args(["-R", "postgres"]).arg(folder.path()));
        }
        let data = folder.join("data");
        let mut init = as_user(&program("initdb"));
        done(
            init.args(["--no-sync", "--auth=trust", "--username=postgres", "--encoding=UTF8", "--locale=C"]).arg(&data),
        );
        let rules = "hostssl all certified all cert\nhost all app all scram-sha-256\nhost all all all trust\n";
        write(&data.join("pg_hba.conf"), rules);
        let mut server = as_user(&program("postgres"));
        server.arg("-D").arg(&data).arg("-k").arg(folder.path()).arg("-p").arg(port.number().to_string());
        server.args(["-h", "127.0.0.1", "-c", "max_connections=100"]);
        for setting in settings {
            server.args(["-c", setting]);
        }
        let log = folder.join("log");
        let mut postgres = Self { process: Process::start(server, log), port, folder };
        postgres.wait_until_ready();
        postgres.sql(&format!("CREATE ROLE app LOGIN PASSWORD '{}'", Self::PASSWORD));
        postgres.sql("CREATE ROLE certified LOGIN");
        postgres.sql("GRANT ALL ON SCHEMA public TO app, certified");
        postgres
    }

    /// Its port on the loopback address.
    pub fn port(&self) -> u16 {
        self.port.number()
    }

    /// The folder of its files.
    pub fn folder(&self) -> &Folder {
        &self.folder
    }

    /// A connection string for the administrator.
    pub fn url(&self) -> String {
        format!("postgres://postgres@127.0.0.1:{}/postgres", self.port())
    }

    /// Runs `sql` as the administrator; what `psql` prints of it, without titles.
    ///
    /// # Panics
    ///
    /// If it fails.
    pub fn sql(&self, sql: &str) -> String {
        let mut psql = Command::new(program("psql"));
        psql.args(["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-d", &self.url(), "-c", sql]);
        done(&mut psql)
    }

    /// Kills it, as a crash would.
    pub fn kill(&mut self) {
        self.process.kill();
    }

    /// Starts it again and waits until it answers. It is killed first if it runs.
    pub fn restart(&mut self) {
        self.process.restart();
        self.wait_until_ready();
    }

    /// Stops it in its tracks: connections stay open and get no answer.
    pub fn pause(&mut self) {
        self.process.pause();
    }

    /// Lets it go on.
    pub fn resume(&mut self) {
        self.process.resume();
    }

    fn wait_until_ready(&mut self) {
        let (probe, port) = (program("pg_isready"), self.port().to_string());
        self.process.wait_until(|| {
            let mut probe = Command::new(&probe);
            probe.args(["-q", "-h", "127.0.0.1", "-U", "postgres", "-p", &port]).stdout(Stdio::null());
            probe.status().is_ok_and(|status| status.success())
        });
    }
}

/// Where the newest installed version keeps `name`; Debian does not put servers on the path.
fn program(name: &str) -> PathBuf {
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let newest = versions.filter_map(|entry| {
        let version: u32 = entry.file_name().to_str()?.parse().ok()?;
        let path = entry.path().join("bin").join(name);
        path.exists().then_some((version, path))
    });
    newest.max().map_or_else(|| PathBuf::from(name), |(_, path)| path)
}

fn is_root() -> bool {
    geteuid().is_root()
}

/// `program`, but not as root.
fn as_user(program: &PathBuf) -> Command {
    if !is_root() {
        return Command::new(program);
    }
    let mut command = Command::new("setpriv");
    command.args(["--reuid=postgres", "--regid=postgres", "--clear-groups"]).arg(program);
    command
}

/// Runs a program to its end; what it printed.
fn done(command: &mut Command) -> String {
    let name = command.get_program().to_owned();
    // A folder that the other user may enter.
    let output = command.stdin(Stdio::null()).current_dir("/").output();
    let output = output.unwrap_or_else(|error| panic!("cannot start {name:?}: {error}; run `cargo xtask services`"));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{name:?} failed: {said}; if it is missing, run `cargo xtask services`");
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

fn write(path: &PathBuf, text: &str) {
    use std::os::unix::fs::PermissionsExt as _;

    let written = fs::write(path, text).and_then(|()| fs::set_permissions(path, fs::Permissions::from_mode(0o600)));
    written.unwrap_or_else(|error| panic!("cannot write {}: {error}", path.display()));
}
