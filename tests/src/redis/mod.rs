//! Redis: one server, a cluster, a master that sentinels watch.

mod cluster;
mod sentinel;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;

use crate::folder::Folder;
use crate::port::Port;
use crate::process::Process;

pub use cluster::Cluster;
pub use sentinel::{MASTER, Watched};

/// What a server is asked to be; the default is one without password, in the clear, that keeps nothing on disk.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// The password of the default user.
    pub password: Option<String>,
    /// Whether it listens for TLS only, with a certificate of an authority made for it.
    pub tls: bool,
    /// Whether what it has answered survives its end: every write is on disk before its answer.
    pub durable: bool,
    /// Further arguments for `redis-server`.
    pub arguments: Vec<String>,
}

/// A Redis server of its own. It ends with this value.
///
/// ```
/// use tests::redis::Redis;
///
/// let mut server = Redis::start();
/// assert_eq!(server.cli(&["SET", "k", "v"]), "OK");
/// assert_eq!(server.cli(&["GET", "k"]), "v");
/// server.kill();
/// server.restart();
/// assert_eq!(server.cli(&["GET", "k"]), "");
/// ```
#[derive(Debug)]
pub struct Redis {
    process: Process,
    port: Port,
    settings: Settings,
    // Last, so that the server ends before its folder goes.
    folder: Folder,
}

impl Redis {
    /// Starts one with the default settings.
    ///
    /// # Panics
    ///
    /// If the program is missing or does not get ready.
    pub fn start() -> Self {
        Self::with(Settings::default())
    }

    /// Starts one.
    ///
    /// # Panics
    ///
    /// As [`start`](Self::start).
    pub fn with(settings: Settings) -> Self {
        let (folder, port) = (Folder::new("redis"), Port::free());
        let mut command = Command::new("redis-server");
        let number = port.number().to_string();
        let mut set = |words: &[&str]| {
            command.args(words);
        };
        set(&["--bind", "127.0.0.1", "--dir", &folder.path().display().to_string(), "--save", ""]);
        if settings.tls {
            let certificates = Certificates::make(&folder);
            set(&["--port", "0", "--tls-port", &number, "--tls-auth-clients", "no"]);
            set(&["--tls-ca-cert-file", &certificates.authority.display().to_string()]);
            set(&["--tls-cert-file", &certificates.chain.display().to_string()]);
            set(&["--tls-key-file", &certificates.key.display().to_string()]);
        } else {
            set(&["--port", &number]);
        }
        if let Some(password) = &settings.password {
            set(&["--requirepass", password]);
        }
        if settings.durable {
            set(&["--appendonly", "yes", "--appendfsync", "always"]);
        }
        command.args(&settings.arguments);
        let process = Process::start(command, folder.join("log"));
        let mut server = Self { process, port, settings, folder };
        server.wait_until_ready();
        server
    }

    fn wait_until_ready(&mut self) {
        let cli = self.cli_command();
        self.process.wait_until(|| output(&cli, &["PING"]) == "PONG");
    }

    /// Its port on `127.0.0.1`.
    pub fn port(&self) -> u16 {
        self.port.number()
    }

    /// Its address.
    pub fn address(&self) -> SocketAddr {
        self.port.address()
    }

    /// How clients name it, password included.
    pub fn url(&self) -> String {
        let scheme = if self.settings.tls { "rediss" } else { "redis" };
        match &self.settings.password {
            Some(password) => format!("{scheme}://:{password}@127.0.0.1:{}", self.port()),
            None => format!("{scheme}://127.0.0.1:{}", self.port()),
        }
    }

    /// Where its files are.
    pub fn folder(&self) -> &Folder {
        &self.folder
    }

    /// The authority that its certificate is from, in PEM form, if it speaks TLS.
    ///
    /// # Panics
    ///
    /// If it does not.
    pub fn authority(&self) -> Vec<u8> {
        std::fs::read(self.folder.join("authority.pem")).unwrap_or_else(|_| panic!("the server does not speak TLS"))
    }

    /// What a command answers, as text without the final line end.
    ///
    /// # Panics
    ///
    /// If `redis-cli` cannot be started.
    pub fn cli(&self, command: &[&str]) -> String {
        output(&self.cli_command(), command)
    }

    fn cli_command(&self) -> Vec<String> {
        let mut words = vec!["-p".to_owned(), self.port().to_string()];
        if self.settings.tls {
            let authority = self.folder.join("authority.pem").display().to_string();
            words.extend(["--tls".to_owned(), "--cacert".to_owned(), authority]);
        }
        if let Some(password) = &self.settings.password {
            words.extend(["--no-auth-warning".to_owned(), "-a".to_owned(), password.clone()]);
        }
        words
    }

    /// Kills it, as a crash would.
    pub fn kill(&mut self) {
        self.process.kill();
    }

    /// Starts it again, killing it first if it runs, and waits until it answers.
    ///
    /// # Panics
    ///
    /// As [`start`](Self::start).
    pub fn restart(&mut self) {
        self.process.restart();
        self.wait_until_ready();
    }

    /// Stops it in its tracks: it accepts connections and answers nothing.
    pub fn pause(&mut self) {
        self.process.pause();
    }

    /// Lets it go on.
    pub fn resume(&mut self) {
        self.process.resume();
    }
}

/// What `redis-cli` prints for a command; empty if the server does not answer.
///
/// # Panics
///
/// If it cannot be started.
fn output(connection: &[String], command: &[&str]) -> String {
    let result = Command::new("redis-cli").args(connection).args(command).output();
    let result = result.unwrap_or_else(|error| panic!("cannot start redis-cli: {error}; run `cargo xtask services`"));
    String::from_utf8_lossy(&result.stdout).trim_end().to_owned()
}

/// An authority, and a certificate of it for this machine.
struct Certificates {
    authority: PathBuf,
    chain: PathBuf,
    key: PathBuf,
}

impl Certificates {
    fn make(folder: &Folder) -> Self {
        let made = || -> Result<(String, String, String), rcgen::Error> {
            let authority_key = rcgen::KeyPair::generate()?;
            let mut authority = rcgen::CertificateParams::new(Vec::new())?;
            authority.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
            // Names that differ: otherwise the server's certificate looks like one that vouches for itself.
            authority.distinguished_name.push(rcgen::DnType::CommonName, "authority of a test");
            let authority_pem = authority.self_signed(&authority_key)?.pem();
            let issuer = rcgen::Issuer::new(authority, authority_key);
            let key = rcgen::KeyPair::generate()?;
            let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
            let chain = rcgen::CertificateParams::new(names)?.signed_by(&key, &issuer)?.pem();
            Ok((authority_pem, chain, key.serialize_pem()))
        };
        let (authority, chain, key) = made().unwrap_or_else(|error| panic!("cannot make certificates: {error}"));
        let write = |name: &str, text: String| {
            let path = folder.join(name);
            std::fs::write(&path, text).unwrap_or_else(|error| panic!("cannot write {}: {error}", path.display()));
            path
        };
        Self {
            authority: write("authority.pem", authority),
            chain: write("server.pem", chain),
            key: write("server.key", key),
        }
    }
}
