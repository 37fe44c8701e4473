//! Which servers, and how to reach them.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use redis::{IntoConnectionInfo, ProtocolVersion, RedisConnectionInfo};
use throttlekit::BuildError;

use crate::link::{Address, Cluster, Dial, Link, Node, Sentinels, Target, Timing};
#[cfg(feature = "tls")]
use crate::tls::Tls;

/// Which servers to use, and how to reach them.
///
/// Servers are named by URL: `redis://user:password@host:port/database`, `rediss://` for TLS, `unix:///path` for a
/// socket. User, password and database may be left out; the port is then 6379. `?protocol=resp3` speaks the newer
/// protocol. After `rediss://host#insecure` any certificate is accepted.
///
/// Nothing is connected yet: a store made with options of a server that is down works as soon as the server does.
///
/// ```
/// use std::time::Duration;
/// use throttlekit_redis::RedisOptions;
///
/// let options = RedisOptions::single("redis://:secret@cache.internal:6379/2")?
///     .response_timeout(Duration::from_millis(100))?;
/// assert!(!format!("{options:?}").contains("secret"));
///
/// let error = RedisOptions::single("http://:secret@cache.internal").unwrap_err();
/// assert_eq!(error.option(), "redis.url");
/// assert!(!error.to_string().contains("secret"));
/// # Ok::<(), throttlekit::BuildError>(())
/// ```
#[derive(Clone)]
pub struct RedisOptions {
    servers: Servers,
    addresses: Vec<Address>,
    login: RedisConnectionInfo,
    /// How the sentinels know us; the servers' own log-in is `login`.
    sentinel_login: RedisConnectionInfo,
    timing: Timing,
    encrypted: bool,
    #[cfg(feature = "tls")]
    tls: Tls,
}

#[derive(Clone, Debug)]
enum Servers {
    Single,
    Cluster,
    Sentinel(String),
}

/// The longest time to wait for anything.
const LONGEST: Duration = Duration::from_secs(60);

impl RedisOptions {
    /// One server.
    ///
    /// # Errors
    ///
    /// If the URL does not parse, or asks for TLS and the feature `tls` is off.
    pub fn single(url: impl AsRef<str>) -> Result<Self, BuildError> {
        Self::parse(Servers::Single, &[url])
    }

    /// A cluster, by some of its nodes: the others are found through them. All keys of one call have to be in one slot;
    /// a common part in braces (`{tenant}:a`, `{tenant}:b`) puts them there.
    ///
    /// User and password are those of the first URL.
    ///
    /// # Errors
    ///
    /// As [`single`](Self::single), if there is no URL or some with TLS and some without, and for a database other than
    /// 0, which a cluster does not have.
    pub fn cluster(urls: &[impl AsRef<str>]) -> Result<Self, BuildError> {
        let options = Self::parse(Servers::Cluster, urls)?;
        options.check_database(options.login.db())?;
        Ok(options)
    }

    /// The master that these sentinels know by `name`, whichever server that is at the time.
    ///
    /// User and password of the first URL are for all sentinels; the servers' own are set by
    /// [`username`](Self::username), [`password`](Self::password) and [`database`](Self::database).
    ///
    /// # Errors
    ///
    /// As [`single`](Self::single), for an empty name, and if there is no URL or some with TLS and some without.
    pub fn sentinel(name: &str, urls: &[impl AsRef<str>]) -> Result<Self, BuildError> {
        if name.is_empty() {
            return Err(BuildError::new("redis.sentinel", "\"\"", "must be the name of a master"));
        }
        Self::parse(Servers::Sentinel(name.to_owned()), urls)
    }

    fn parse(servers: Servers, urls: &[impl AsRef<str>]) -> Result<Self, BuildError> {
        let mut parsed = urls.iter().map(|url| parse_url(url.as_ref()));
        let first = parsed.next().ok_or_else(|| BuildError::missing("redis.url"))??;
        let mut addresses = vec![first.address];
        for other in parsed {
            let other = other?;
            if other.encrypted != first.encrypted || other.insecure != first.insecure {
                return Err(BuildError::new("redis.url", "a mixture", "must be all with TLS or all without"));
            }
            addresses.push(other.address);
        }
        let (login, sentinel_login) = match servers {
            Servers::Sentinel(_) => {
                (RedisConnectionInfo::default().set_protocol(first.login.protocol()), first.login.set_db(0))
            }
            Servers::Single | Servers::Cluster => (first.login, RedisConnectionInfo::default()),
        };
        Ok(Self {
            servers,
            addresses,
            login: named(login),
            sentinel_login: named(sentinel_login),
            timing: Timing { connect: Duration::from_millis(500), response: Duration::from_millis(250) },
            encrypted: first.encrypted,
            #[cfg(feature = "tls")]
            tls: if first.insecure { Tls::new().danger_accept_any_certificate() } else { Tls::new() },
        })
    }

    /// Who logs in to the servers; without it the servers' default user.
    #[must_use]
    pub fn username(mut self, username: impl AsRef<str>) -> Self {
        self.login = self.login.set_username(username);
        self
    }

    /// The password for the servers.
    #[must_use]
    pub fn password(mut self, password: impl AsRef<str>) -> Self {
        self.login = self.login.set_password(password);
        self
    }

    /// Who logs in to the sentinels.
    #[must_use]
    pub fn sentinel_username(mut self, username: impl AsRef<str>) -> Self {
        self.sentinel_login = self.sentinel_login.set_username(username);
        self
    }

    /// The password for the sentinels.
    #[must_use]
    pub fn sentinel_password(mut self, password: impl AsRef<str>) -> Self {
        self.sentinel_login = self.sentinel_login.set_password(password);
        self
    }

    /// The number of the database; 0 by default.
    ///
    /// # Errors
    ///
    /// For any other than 0 in a cluster.
    pub fn database(mut self, database: u32) -> Result<Self, BuildError> {
        self.check_database(database.into())?;
        self.login = self.login.set_db(database.into());
        Ok(self)
    }

    /// Speaks RESP3 instead of RESP2, with servers since version 6.
    #[must_use]
    pub fn resp3(mut self) -> Self {
        self.login = self.login.set_protocol(ProtocolVersion::RESP3);
        self
    }

    /// How long to wait for a connection, log-in included; 500 ms by default.
    ///
    /// # Errors
    ///
    /// Unless it is between 1 ms and 60 s.
    pub fn connect_timeout(mut self, timeout: Duration) -> Result<Self, BuildError> {
        self.timing.connect = checked("redis.connectTimeout", timeout)?;
        Ok(self)
    }

    /// How long to wait for an answer; 250 ms by default. Then the store is unavailable: whether the check was charged
    /// is unknown, and it is not repeated.
    ///
    /// # Errors
    ///
    /// Unless it is between 1 ms and 60 s.
    pub fn response_timeout(mut self, timeout: Duration) -> Result<Self, BuildError> {
        self.timing.response = checked("redis.responseTimeout", timeout)?;
        Ok(self)
    }

    /// Whom to trust, with `rediss://`.
    ///
    /// # Errors
    ///
    /// If a certificate or key does not parse, and with URLs that do not ask for TLS: nothing would be encrypted.
    #[cfg(feature = "tls")]
    #[cfg_attr(docsrs, doc(cfg(feature = "tls")))]
    pub fn tls(mut self, tls: Tls) -> Result<Self, BuildError> {
        self.check_encrypted()?;
        tls.connector()?;
        self.tls = tls;
        Ok(self)
    }

    /// Whether the URLs ask for TLS.
    #[cfg(feature = "tls")]
    pub(crate) fn check_encrypted(&self) -> Result<(), BuildError> {
        if self.encrypted {
            return Ok(());
        }
        Err(BuildError::new("redis.tls", "given", "must be with rediss:// in place of redis://"))
    }

    fn check_database(&self, database: i64) -> Result<(), BuildError> {
        match self.servers {
            Servers::Cluster if database != 0 => {
                Err(BuildError::new("redis.database", database, "must be 0 in a cluster"))
            }
            _ => Ok(()),
        }
    }

    /// The connections that these options describe.
    pub(crate) fn link(&self) -> Result<Link, BuildError> {
        #[cfg(feature = "tls")]
        let tls = if self.encrypted { Some(self.tls.connector()?) } else { None };
        let dial = |login: &RedisConnectionInfo| {
            Arc::new(Dial {
                login: login.clone(),
                timing: self.timing,
                #[cfg(feature = "tls")]
                tls: tls.clone(),
            })
        };
        let servers = dial(&self.login);
        Ok(match &self.servers {
            Servers::Cluster => Link::Cluster(Cluster::new(servers, self.addresses.clone())),
            Servers::Sentinel(name) => {
                let sentinels = dial(&self.sentinel_login);
                let sentinels = Sentinels::new(sentinels, name.clone(), self.addresses.clone());
                Link::Single(Node::new(servers, Target::Watched(sentinels)))
            }
            Servers::Single => {
                let address = self.addresses.first().ok_or_else(|| BuildError::missing("redis.url"))?;
                Link::Single(Node::new(servers, Target::Fixed(address.clone())))
            }
        })
    }
}

impl fmt::Debug for RedisOptions {
    /// Shows neither user nor password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisOptions")
            .field("servers", &self.servers)
            .field("addresses", &self.addresses)
            .field("database", &self.login.db())
            .field("timing", &self.timing)
            .field("encrypted", &self.encrypted)
            .finish_non_exhaustive()
    }
}

/// What one URL says.
struct Parsed {
    address: Address,
    login: RedisConnectionInfo,
    encrypted: bool,
    insecure: bool,
}

fn parse_url(url: &str) -> Result<Parsed, BuildError> {
    let invalid = |allowed: &'static str| BuildError::new("redis.url", shown(url), allowed);
    // TLS is ours to do, so that the rest of the URL is read as one without it.
    let (plain, encrypted) = match url.split_once("://") {
        Some(("rediss", rest)) => (format!("redis://{rest}"), true),
        Some(("valkeys", rest)) => (format!("valkey://{rest}"), true),
        _ => (url.to_owned(), false),
    };
    if encrypted && cfg!(not(feature = "tls")) {
        return Err(invalid("must be without TLS unless the feature `tls` of throttlekit-redis is on"));
    }
    let (plain, insecure) = match plain.split_once('#') {
        Some((plain, "insecure")) if encrypted => (plain.to_owned(), true),
        Some(_) => return Err(invalid("must have no part after #, or #insecure with TLS")),
        None => (plain, false),
    };
    let info = plain
        .as_str()
        .into_connection_info()
        .map_err(|_| invalid("must be redis://host, rediss://host or unix:///path, with a database number"))?;
    Ok(Parsed { address: Address::of(info.addr()), login: info.redis_settings().clone(), encrypted, insecure })
}

/// What of a URL certainly is no secret: its scheme. Where a password with a strange character ends is anybody's guess.
fn shown(url: &str) -> String {
    match url.split_once("://") {
        Some((scheme, _)) if scheme.len() <= 12 => format!("{scheme}://***"),
        _ => "a text that is no URL".to_owned(),
    }
}

/// The log-in under the name that operators see in the server's list of clients.
fn named(login: RedisConnectionInfo) -> RedisConnectionInfo {
    login.set_lib_name("throttlekit", env!("CARGO_PKG_VERSION"))
}

fn checked(option: &'static str, timeout: Duration) -> Result<Duration, BuildError> {
    if timeout < Duration::from_millis(1) || timeout > LONGEST {
        let value = format!("{} ms", timeout.as_secs_f64() * 1_000.0);
        return Err(BuildError::new(option, value, "must be between 1 ms and 60 s"));
    }
    Ok(timeout)
}
