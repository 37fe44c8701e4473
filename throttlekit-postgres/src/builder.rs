//! Options of a store.

use std::fmt;
use std::str::FromStr;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use deadpool_postgres::{Hook, HookError, Manager, ManagerConfig, Pool, RecyclingMethod, Runtime};
use throttlekit::BuildError;
use tokio::time::timeout;
use tokio_postgres::config::SslMode;
use tokio_postgres::{Config, NoTls};

use crate::PostgresStore;
use crate::core::{Core, Counters, Limits, Sweeps};
use crate::hints::Hints;
use crate::table::Table;
#[cfg(feature = "tls")]
use crate::tls::Tls;

/// How states are kept. The decisions are the same.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Mode {
    /// In the table that processes in other languages share, written only under the lock that they take too. GCRA is one
    /// exchange with the server, which computes it; anything else is two for a call that writes, one for a denial or a
    /// read.
    #[default]
    Shared,
    /// In a table of its own, named like the shared one with `_fast` appended. GCRA is one statement that the server
    /// computes; everything else is read, stepped here, and written if nobody was faster.
    Fast,
}

/// Builds a [`PostgresStore`].
#[must_use = "a builder does nothing until `build`"]
pub struct PostgresStoreBuilder {
    target: Target,
    #[cfg(feature = "tls")]
    tls: Tls,
    mode: Mode,
    table: String,
    prefix: String,
    auto_create: bool,
    server_time: bool,
    sweep_interval: Duration,
    pool_size: Option<usize>,
    max_waiting: usize,
    limits: Limits,
}

/// Where connections come from.
enum Target {
    /// The parsed connection string; none if it does not parse.
    Config(Option<Box<Config>>),
    Pool(Pool),
}

impl PostgresStoreBuilder {
    pub(crate) fn from_url(url: &str) -> Self {
        Self::new(Target::Config(Config::from_str(url).ok().map(Box::new)))
    }

    pub(crate) fn from_pool(pool: Pool) -> Self {
        Self::new(Target::Pool(pool))
    }

    fn new(target: Target) -> Self {
        Self {
            target,
            #[cfg(feature = "tls")]
            tls: Tls::default(),
            mode: Mode::default(),
            table: "throttlekit".to_owned(),
            prefix: String::new(),
            auto_create: true,
            server_time: true,
            sweep_interval: Duration::from_secs(60),
            pool_size: None,
            max_waiting: 4_096,
            limits: Limits {
                call: Duration::from_millis(500),
                statement: Duration::from_millis(250),
                connect: Duration::from_millis(500),
                acquire: Duration::from_millis(250),
            },
        }
    }

    /// How states are kept. Defaults to [`Mode::Shared`].
    pub fn mode(mut self, mode: Mode) -> Self {
        self.mode = mode;
        self
    }

    /// The table, as `table` or `schema.table`; letters, digits and `_` only, at most 51 bytes in all, or 58 each in
    /// [`Mode::Fast`]. Defaults to `throttlekit`.
    pub fn table(mut self, table: impl Into<String>) -> Self {
        self.table = table.into();
        self
    }

    /// Put before every key, with a colon between them. Defaults to none.
    pub fn prefix(mut self, prefix: impl Into<String>) -> Self {
        self.prefix = prefix.into();
        self
    }

    /// Whether the first call creates a table that is not there. Defaults to true. Without, run
    /// [`PostgresStore::ddl`] beforehand.
    pub fn auto_create(mut self, auto_create: bool) -> Self {
        self.auto_create = auto_create;
        self
    }

    /// Whether the server's clock judges. Defaults to true. Otherwise each process judges by its limiter's clock, and
    /// clocks that differ give windows back. All processes must do the same.
    pub fn server_time(mut self, server_time: bool) -> Self {
        self.server_time = server_time;
        self
    }

    /// How often expired rows are deleted, by a call that comes after that time; 0 for never. Defaults to 60 s.
    pub fn sweep_interval(mut self, sweep_interval: Duration) -> Self {
        self.sweep_interval = sweep_interval;
        self
    }

    /// The most connections that calls use at a time, 1 to 1,024. Defaults to 4, or to what a given pool has if that is
    /// less. Only as many are opened as calls are under way at the same time.
    ///
    /// Calls that wait for a connection go to the server together, which costs it less than one by one, so few are
    /// enough.
    pub fn pool_size(mut self, pool_size: usize) -> Self {
        self.pool_size = Some(pool_size);
        self
    }

    /// The most calls that may wait for one connection, at least 1; those beyond fail with `store_unavailable` at once.
    /// Defaults to 4,096.
    pub fn max_waiting(mut self, max_waiting: usize) -> Self {
        self.max_waiting = max_waiting;
        self
    }

    /// How long a call may take in all, waiting and connecting included; at least 1 ms. Defaults to 500 ms.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.limits.call = timeout;
        self
    }

    /// How long one exchange with the server may take, locks included; at least 1 ms. Defaults to 250 ms.
    ///
    /// The server is told, too, and ends a transaction that hears nothing for twice as long: a process that stops in
    /// the middle of one does not hold its locks for longer.
    pub fn statement_timeout(mut self, statement_timeout: Duration) -> Self {
        self.limits.statement = statement_timeout;
        self
    }

    /// How long connecting may take, TLS and log-in included; at least 1 ms. Defaults to 500 ms. A given pool has its own.
    pub fn connect_timeout(mut self, connect_timeout: Duration) -> Self {
        self.limits.connect = connect_timeout;
        self
    }

    /// How long to wait for a connection of the pool; at least 1 ms. Defaults to 250 ms. A given pool has its own.
    pub fn acquire_timeout(mut self, acquire_timeout: Duration) -> Self {
        self.limits.acquire = acquire_timeout;
        self
    }

    /// The password, in place of what the connection string says. A given pool has its own.
    pub fn password(mut self, password: impl AsRef<[u8]>) -> Self {
        if let Target::Config(Some(config)) = &mut self.target {
            config.password(password);
        }
        self
    }

    /// Trusts the certificates in `pem`, and nobody else. Connections must then be encrypted.
    #[cfg(feature = "tls")]
    #[cfg_attr(docsrs, doc(cfg(feature = "tls")))]
    pub fn root_certificates(mut self, pem: impl Into<Vec<u8>>) -> Self {
        self.tls.roots = Some(pem.into());
        self
    }

    /// Shows the server a certificate of the client, or a chain of them, with its key; both as PEM. Connections must then
    /// be encrypted.
    #[cfg(feature = "tls")]
    #[cfg_attr(docsrs, doc(cfg(feature = "tls")))]
    pub fn client_certificate(mut self, pem: impl Into<Vec<u8>>, key: impl Into<Vec<u8>>) -> Self {
        self.tls.client = Some((pem.into(), key.into()));
        self
    }

    /// Encrypts as `config` says, in place of certificates. Connections must then be encrypted.
    #[cfg(feature = "tls")]
    #[cfg_attr(docsrs, doc(cfg(feature = "tls")))]
    pub fn tls(mut self, config: rustls::ClientConfig) -> Self {
        self.tls.config = Some(Box::new(config));
        self
    }

    /// The store. Nothing is sent: the first call connects.
    ///
    /// Without certificates given, the connection string decides on encryption: `sslmode=require` encrypts and verifies
    /// the server's name and certificate by what the system trusts. Otherwise nothing is encrypted.
    ///
    /// # Errors
    ///
    /// An option that is out of range, a text that is no connection string, certificates that cannot be read, TLS
    /// without the feature `tls`, or certificates beside a given pool.
    pub fn build(self) -> Result<PostgresStore, BuildError> {
        let table = Table::new(&self.table, self.mode)?;
        if self.prefix.contains('\0') {
            return Err(BuildError::new(
                "postgres.prefix",
                format!("{:?}", self.prefix),
                "must not have a NUL character",
            ));
        }
        let times = [
            ("postgres.timeoutMs", self.limits.call),
            ("postgres.statementTimeoutMs", self.limits.statement),
            ("postgres.connectTimeoutMs", self.limits.connect),
            ("postgres.acquireTimeoutMs", self.limits.acquire),
        ];
        for (option, time) in times {
            // The server takes them as 32 bits.
            if !(1..=86_400_000).contains(&time.as_millis()) {
                return Err(BuildError::new(option, time.as_millis(), "must be from 1 to 86400000"));
            }
        }
        if self.max_waiting == 0 {
            return Err(BuildError::new("postgres.maxWaiting", 0, "must be at least 1"));
        }
        let most = match &self.target {
            Target::Config(_) => None,
            #[cfg(feature = "tls")]
            Target::Pool(_) if self.tls.is_said() => {
                let allowed = "must not be given beside a pool, whose connections are encrypted as it was made to";
                return Err(BuildError::new("postgres.tls", "(given)", allowed));
            }
            Target::Pool(pool) => Some(pool.status().max_size),
        };
        let pool_size = self.pool_size.unwrap_or_else(|| most.unwrap_or(4).clamp(1, 4));
        if !(1..=1_024).contains(&pool_size) {
            return Err(BuildError::new("postgres.poolSize", pool_size, "must be from 1 to 1024"));
        }
        let pool = match self.target {
            Target::Pool(pool) => pool,
            Target::Config(config) => {
                let config = config.ok_or_else(not_a_url)?;
                #[cfg(feature = "tls")]
                let tls = self.tls;
                connect(
                    *config,
                    pool_size,
                    self.limits,
                    #[cfg(feature = "tls")]
                    tls,
                )?
            }
        };
        let core = Core {
            pool,
            table,
            prefix: self.prefix,
            server_time: self.server_time,
            auto_create: self.auto_create,
            complete: AtomicBool::new(false),
            limits: self.limits,
            counters: Counters::default(),
            hints: Hints::new(),
            sweeps: Sweeps::every((!self.sweep_interval.is_zero()).then_some(self.sweep_interval)),
        };
        Ok(PostgresStore::start(core, self.mode, pool_size, self.max_waiting))
    }
}

/// The text may hold a password, so it is not shown.
fn not_a_url() -> BuildError {
    let allowed = "must be a connection string such as `postgres://user@host/database`";
    BuildError::new("postgres.url", "(not shown)", allowed)
}

/// A pool of sessions that are set up for the store's statements.
fn connect(
    mut config: Config,
    size: usize,
    limits: Limits,
    #[cfg(feature = "tls")] tls: Tls,
) -> Result<Pool, BuildError> {
    if config.get_hosts().is_empty() && config.get_hostaddrs().is_empty() {
        return Err(not_a_url());
    }
    config.connect_timeout(limits.connect);
    if config.get_application_name().is_none() {
        config.application_name("throttlekit");
    }
    let settings = ManagerConfig { recycling_method: RecyclingMethod::Fast };
    #[cfg(feature = "tls")]
    let manager = if tls.is_said() || config.get_ssl_mode() == SslMode::Require {
        // Certificates say that encryption is wanted, so there is no way around it.
        config.ssl_mode(SslMode::Require);
        Manager::from_config(config, tls.connector()?, settings)
    } else {
        Manager::from_config(config, NoTls, settings)
    };
    #[cfg(not(feature = "tls"))]
    let manager = match config.get_ssl_mode() {
        SslMode::Require => {
            let allowed = "needs the feature `tls` of throttlekit-postgres";
            return Err(BuildError::new("postgres.url", "sslmode=require", allowed));
        }
        _ => Manager::from_config(config, NoTls, settings),
    };
    let session = session(limits.statement);
    let set_up = Hook::async_fn(move |client, _| {
        let session = session.clone();
        Box::pin(async move {
            match timeout(limits.connect, client.batch_execute(&session)).await {
                Ok(result) => result.map_err(HookError::Backend),
                Err(_) => Err(HookError::message("the server took too long")),
            }
        })
    });
    let pool = Pool::builder(manager)
        .max_size(size)
        .wait_timeout(Some(limits.acquire))
        .create_timeout(Some(limits.connect))
        .recycle_timeout(Some(limits.connect))
        .runtime(Runtime::Tokio1)
        .post_create(set_up)
        .build();
    pool.map_err(|_| BuildError::new("postgres.poolSize", size, "makes no pool"))
}

/// What each session is told. Plans are made once, for an index, since statistics of a young table say that it is small;
/// floats are written in full; a transaction that nobody goes on with ends.
fn session(statement: Duration) -> String {
    let ms = statement.as_millis();
    format!(
        "SET statement_timeout = {ms}; SET idle_in_transaction_session_timeout = {idle}; \
         SET default_transaction_isolation = 'read committed'; SET plan_cache_mode = force_generic_plan; \
         SET enable_seqscan = off; SET jit = off; SET extra_float_digits = 1; SET client_min_messages = error",
        idle = ms * 2,
    )
}

impl fmt::Debug for PostgresStoreBuilder {
    /// Shows neither the connection string nor certificates.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresStoreBuilder")
            .field("mode", &self.mode)
            .field("table", &self.table)
            .field("prefix", &self.prefix)
            .field("auto_create", &self.auto_create)
            .field("server_time", &self.server_time)
            .field("sweep_interval", &self.sweep_interval)
            .field("pool_size", &self.pool_size)
            .field("max_waiting", &self.max_waiting)
            .field("limits", &self.limits)
            .finish_non_exhaustive()
    }
}
