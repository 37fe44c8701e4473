//! The `store` block: where the states of keys are kept, and how long it is waited for.

use std::fmt;
use std::time::Duration;

use super::secret::{Hidden, Secret, hidden};
use crate::store::CircuitBreakerBuilder;

/// The `store` block of a configuration. `Debug` shows no text of it, which may be a secret in the wrong place.
///
/// ```
/// use std::time::Duration;
/// use throttlekit::config::{Config, StoreBackend, StoreKind};
///
/// let text = "
/// store:
///   postgres: { url: 'postgres://limits@db.internal/limits', poolSize: 8 }
///   timeout: 150ms
/// limiters: {}
/// ";
/// let store = Config::from_yaml(text)?.store;
/// assert_eq!((store.kind(), store.timeout), (StoreKind::Postgres, Duration::from_millis(150)));
/// let StoreBackend::Postgres(postgres) = &store.backend else { panic!("it says postgres") };
/// assert_eq!((postgres.pool_size, postgres.table.as_str()), (8, "throttlekit"));
/// assert!(!format!("{store:?}").contains("db.internal"));
/// # Ok::<(), throttlekit::config::ConfigErrors>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct StoreSpec {
    /// Which store, and how to reach it.
    pub backend: StoreBackend,
    /// How long one call may take, 1 ms to 60 s. A store that has not answered by then counts as unavailable.
    pub timeout: Duration,
    /// After how many failures in a row the store is asked no more, 1 to 1000.
    pub failures: u32,
    /// How long after a failure an unavailable store is asked again, by one call, 1 ms to 60 s.
    pub probe_interval: Duration,
    /// Whether a store that cannot be reached at the start is an error. Otherwise it is a warning, and the fail mode
    /// applies.
    pub require_at_start: bool,
}

impl StoreSpec {
    /// This store, with the default limits of time.
    pub fn new(backend: StoreBackend) -> Self {
        Self {
            backend,
            timeout: CircuitBreakerBuilder::DEFAULT_TIMEOUT,
            failures: CircuitBreakerBuilder::DEFAULT_FAILURES,
            probe_interval: CircuitBreakerBuilder::DEFAULT_PROBE_INTERVAL,
            require_at_start: false,
        }
    }

    /// Which kind of store it is.
    pub fn kind(&self) -> StoreKind {
        match self.backend {
            StoreBackend::Memory => StoreKind::Memory,
            StoreBackend::Redis(_) => StoreKind::Redis,
            StoreBackend::Postgres(_) => StoreKind::Postgres,
            StoreBackend::DynamoDb(_) => StoreKind::DynamoDb,
        }
    }

    /// How long connecting may take; no time for memory.
    pub fn connect_timeout(&self) -> Duration {
        match &self.backend {
            StoreBackend::Memory => Duration::ZERO,
            StoreBackend::Redis(redis) => redis.connect_timeout,
            StoreBackend::Postgres(postgres) => postgres.connect_timeout,
            StoreBackend::DynamoDb(dynamodb) => dynamodb.connect_timeout,
        }
    }
}

impl Default for StoreSpec {
    /// Memory.
    fn default() -> Self {
        Self::new(StoreBackend::default())
    }
}

/// The kinds of stores that a configuration can name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum StoreKind {
    /// The memory of the process.
    Memory,
    /// Redis, or a server that speaks its protocol.
    Redis,
    /// `PostgreSQL`.
    Postgres,
    /// Amazon `DynamoDB`, or a server that speaks its protocol.
    DynamoDb,
}

impl StoreKind {
    /// The name in configuration: `memory`, `redis`, `postgres` or `dynamodb`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Redis => "redis",
            Self::Postgres => "postgres",
            Self::DynamoDb => "dynamodb",
        }
    }
}

/// A store and what it takes to reach it.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub enum StoreBackend {
    /// The memory of the process: a table for each limiter.
    #[default]
    Memory,
    /// `redis: { ... }`
    Redis(RedisSpec),
    /// `postgres: { ... }`
    Postgres(PostgresSpec),
    /// `dynamodb: { ... }`
    DynamoDb(DynamoDbSpec),
}

/// How to reach a Redis.
#[derive(Clone, PartialEq)]
#[non_exhaustive]
pub struct RedisSpec {
    /// `url` or `urls`: the server, or some nodes of the cluster, or the sentinels; at least one. As
    /// `redis://[user:password@]host[:port][/database]`, or `rediss://` for TLS.
    pub urls: Vec<Secret>,
    /// What is behind the URLs.
    pub topology: RedisTopology,
    /// Who logs in, in place of what the URL says.
    pub username: Option<String>,
    /// The password, in place of what the URL says.
    pub password: Option<Secret>,
    /// How TLS is checked, for `rediss://`.
    pub tls: TlsSpec,
    /// Whether the connection speaks RESP3 and not RESP2.
    pub resp3: bool,
    /// How long connecting may take.
    pub connect_timeout: Duration,
    /// `useServerTime`: whether the server's clock decides and not that of this process.
    pub server_time: bool,
    /// `ttlFloor`: the least time that a key lives.
    pub ttl_floor: Duration,
    /// How often a lost race is tried again.
    pub max_retries: u32,
}

impl RedisSpec {
    /// One server, with the defaults.
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            urls: vec![Secret::new(url)],
            topology: RedisTopology::Single,
            username: None,
            password: None,
            tls: TlsSpec::default(),
            resp3: false,
            connect_timeout: Duration::from_millis(500),
            server_time: true,
            ttl_floor: Duration::ZERO,
            max_retries: 5,
        }
    }
}

impl fmt::Debug for RedisSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisSpec")
            .field("urls", &self.urls)
            .field("topology", &self.topology)
            .field("username", &hidden(self.username.as_ref()))
            .field("password", &self.password)
            .field("tls", &self.tls)
            .field("resp3", &self.resp3)
            .field("connect_timeout", &self.connect_timeout)
            .field("server_time", &self.server_time)
            .field("ttl_floor", &self.ttl_floor)
            .field("max_retries", &self.max_retries)
            .finish()
    }
}

/// What is behind the URLs of a [`RedisSpec`].
#[derive(Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum RedisTopology {
    /// One server.
    #[default]
    Single,
    /// `cluster: true`: nodes of a cluster.
    Cluster,
    /// `sentinel: { master, username, password }`: sentinels, which know the server.
    Sentinel {
        /// The name by which the sentinels know the server.
        master: String,
        /// Who logs in at the sentinels.
        username: Option<String>,
        /// The password for the sentinels.
        password: Option<Secret>,
    },
}

impl fmt::Debug for RedisTopology {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Single => f.write_str("Single"),
            Self::Cluster => f.write_str("Cluster"),
            Self::Sentinel { master: _, username, password } => f
                .debug_struct("Sentinel")
                .field("master", &Hidden)
                .field("username", &hidden(username.as_ref()))
                .field("password", password)
                .finish(),
        }
    }
}

/// How to reach a `PostgreSQL`.
#[derive(Clone, PartialEq)]
#[non_exhaustive]
pub struct PostgresSpec {
    /// Where the server is, as `postgres://[user[:password]@]host[:port]/database[?sslmode=...]`.
    pub url: Secret,
    /// The password, in place of what the URL says.
    pub password: Option<Secret>,
    /// How TLS is checked, if the URL asks for it.
    pub tls: TlsSpec,
    /// The table, possibly as `schema.table`.
    pub table: String,
    /// Which table layout and which statements are used.
    pub mode: PostgresMode,
    /// Whether the table is made if it is not there.
    pub auto_create: bool,
    /// How often expired rows are deleted; zero for never.
    pub sweep_interval: Duration,
    /// `useServerTime`: whether the server's clock decides and not that of this process.
    pub server_time: bool,
    /// How many connections are used at most, 1 to 1024.
    pub pool_size: u32,
    /// How long connecting may take.
    pub connect_timeout: Duration,
}

impl PostgresSpec {
    /// The server at `url`, with the defaults.
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            url: Secret::new(url),
            password: None,
            tls: TlsSpec::default(),
            table: "throttlekit".to_owned(),
            mode: PostgresMode::Shared,
            auto_create: true,
            sweep_interval: Duration::from_secs(60),
            server_time: true,
            pool_size: 4,
            connect_timeout: Duration::from_secs(1),
        }
    }
}

impl fmt::Debug for PostgresSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresSpec")
            .field("url", &self.url)
            .field("password", &self.password)
            .field("tls", &self.tls)
            .field("table", &Hidden)
            .field("mode", &self.mode)
            .field("auto_create", &self.auto_create)
            .field("sweep_interval", &self.sweep_interval)
            .field("server_time", &self.server_time)
            .field("pool_size", &self.pool_size)
            .field("connect_timeout", &self.connect_timeout)
            .finish()
    }
}

/// How states are kept in a `PostgreSQL`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum PostgresMode {
    /// `shared`: the table and the locks that every member of the family uses.
    #[default]
    Shared,
    /// `fast`: a table of its own, without those locks.
    Fast,
}

impl PostgresMode {
    /// The name in configuration: `shared` or `fast`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Shared => "shared",
            Self::Fast => "fast",
        }
    }
}

/// How to reach a `DynamoDB` table.
#[derive(Clone, PartialEq)]
#[non_exhaustive]
pub struct DynamoDbSpec {
    /// The name of the table.
    pub table: String,
    /// The region; what the environment says if it is not given.
    pub region: Option<String>,
    /// The URL of a server that is not Amazon's.
    pub endpoint: Option<String>,
    /// The credentials; what the environment says if they are not given.
    pub credentials: Option<DynamoDbCredentials>,
    /// The attribute that is the partition key.
    pub hash_key: String,
    /// Whether the table is made if it is not there.
    pub auto_create: bool,
    /// How often a lost race is tried again.
    pub max_retries: u32,
    /// How long connecting may take.
    pub connect_timeout: Duration,
}

impl DynamoDbSpec {
    /// This table, with the defaults.
    pub fn new(table: impl Into<String>) -> Self {
        Self {
            table: table.into(),
            region: None,
            endpoint: None,
            credentials: None,
            hash_key: "pk".to_owned(),
            auto_create: false,
            max_retries: 16,
            connect_timeout: Duration::from_secs(1),
        }
    }
}

impl fmt::Debug for DynamoDbSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DynamoDbSpec")
            .field("table", &Hidden)
            .field("region", &hidden(self.region.as_ref()))
            .field("endpoint", &hidden(self.endpoint.as_ref()))
            .field("credentials", &self.credentials)
            .field("hash_key", &Hidden)
            .field("auto_create", &self.auto_create)
            .field("max_retries", &self.max_retries)
            .field("connect_timeout", &self.connect_timeout)
            .finish()
    }
}

/// `credentials: { accessKeyId, secretAccessKey, sessionToken }`.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct DynamoDbCredentials {
    /// The name of the key.
    pub access_key_id: Secret,
    /// The key.
    pub secret_access_key: Secret,
    /// The token of a temporary key.
    pub session_token: Option<Secret>,
}

impl DynamoDbCredentials {
    /// A key that is not temporary.
    pub fn new(access_key_id: impl Into<String>, secret_access_key: impl Into<String>) -> Self {
        Self {
            access_key_id: Secret::new(access_key_id),
            secret_access_key: Secret::new(secret_access_key),
            session_token: None,
        }
    }
}

/// `tls: { caFile, certFile, keyFile }`: files in PEM form.
#[derive(Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct TlsSpec {
    /// Who may sign the server's certificate; the usual authorities if it is not given.
    pub ca_file: Option<String>,
    /// The certificate that this process shows.
    pub cert_file: Option<String>,
    /// The key to that certificate.
    pub key_file: Option<String>,
}

impl fmt::Debug for TlsSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsSpec")
            .field("ca_file", &hidden(self.ca_file.as_ref()))
            .field("cert_file", &hidden(self.cert_file.as_ref()))
            .field("key_file", &hidden(self.key_file.as_ref()))
            .finish()
    }
}
