//! From the `store` block of a file to a store.

#[cfg(feature = "tls")]
use std::fs;
use std::sync::Arc;

use throttlekit::config::{RedisSpec, RedisTopology, Secret, StoreBackend, StoreKind, StoreSpec};
use throttlekit::policy::Connect;
use throttlekit::store::DynStore;
use throttlekit::{BuildError, Runtime, TokioRuntime};

use crate::{RedisOptions, RedisStore};

/// Opens a [`RedisStore`] for files that say `store: { redis: ... }`.
///
/// ```
/// use throttlekit::policy::{LoadOptions, Policies};
/// use throttlekit_redis::RedisConnector;
///
/// let text = "
/// store:
///   redis: { url: 'redis://cache.internal' }
/// limiters:
///   api: { strategy: gcra, limit: 100, period: 1m }
/// ";
/// // Nothing is connected before the first check.
/// let policies = Policies::load(text, LoadOptions::new().connector(RedisConnector))?;
/// assert!(policies.get("api").is_some());
/// # Ok::<(), throttlekit::config::ConfigErrors>(())
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct RedisConnector;

impl Connect for RedisConnector {
    fn kind(&self) -> StoreKind {
        StoreKind::Redis
    }

    fn open(&self, spec: &StoreSpec) -> Result<Arc<dyn DynStore>, BuildError> {
        let StoreBackend::Redis(redis) = &spec.backend else {
            return Err(BuildError::new("store", spec.kind().as_str(), "must be redis for this connector"));
        };
        // Who asks waits no longer than this; a connection that is silent for as long is replaced.
        let options = options(redis)?.response_timeout(spec.timeout)?;
        let store = RedisStore::builder(&options)
            .server_time(redis.server_time)
            .ttl_floor(redis.ttl_floor)
            .max_retries(redis.max_retries)
            .build()?;
        Ok(Arc::new(store))
    }

    /// The tokio runtime that is current when a call is polled.
    fn runtime(&self) -> Arc<dyn Runtime> {
        Arc::new(TokioRuntime)
    }
}

fn options(spec: &RedisSpec) -> Result<RedisOptions, BuildError> {
    let urls: Vec<&str> = spec.urls.iter().map(Secret::expose).collect();
    let mut options = match &spec.topology {
        RedisTopology::Single => match urls.as_slice() {
            [url] => RedisOptions::single(url)?,
            [] => return Err(BuildError::missing("redis.url")),
            _ => return Err(BuildError::new("redis.urls", urls.len(), "must be one, or be with cluster or sentinel")),
        },
        RedisTopology::Cluster => RedisOptions::cluster(&urls)?,
        RedisTopology::Sentinel { master, username, password } => {
            let mut options = RedisOptions::sentinel(master, &urls)?;
            if let Some(username) = username {
                options = options.sentinel_username(username);
            }
            if let Some(password) = password {
                options = options.sentinel_password(password.expose());
            }
            options
        }
        _ => return Err(BuildError::new("redis", "another topology", "must be one server, a cluster or sentinels")),
    };
    if let Some(username) = &spec.username {
        options = options.username(username);
    }
    if let Some(password) = &spec.password {
        options = options.password(password.expose());
    }
    if spec.resp3 {
        options = options.resp3();
    }
    with_tls(options.connect_timeout(spec.connect_timeout)?, spec)
}

#[cfg(feature = "tls")]
fn with_tls(options: RedisOptions, spec: &RedisSpec) -> Result<RedisOptions, BuildError> {
    let files = &spec.tls;
    if files.ca_file.is_none() && files.cert_file.is_none() && files.key_file.is_none() {
        return Ok(options);
    }
    options.check_encrypted()?;
    let read = |path: &str, what: &str| {
        let unread = |error| BuildError::new("redis.tls", format!("{what} {path}"), format!("cannot be read: {error}"));
        fs::read(path).map_err(unread)
    };
    let mut tls = crate::Tls::new();
    if let Some(path) = &files.ca_file {
        tls = tls.authority(read(path, "caFile")?);
    }
    match (&files.cert_file, &files.key_file) {
        (Some(chain), Some(key)) => tls = tls.identity(read(chain, "certFile")?, read(key, "keyFile")?),
        (None, None) => {}
        _ => return Err(BuildError::new("redis.tls", "one of them", "must have both certFile and keyFile")),
    }
    let in_words_of_the_file = |error: BuildError| {
        let file = if error.option().ends_with("authority") { "caFile" } else { "certFile and keyFile" };
        BuildError::new("redis.tls", file, error.allowed().to_owned())
    };
    options.tls(tls).map_err(in_words_of_the_file)
}

#[cfg(not(feature = "tls"))]
fn with_tls(options: RedisOptions, spec: &RedisSpec) -> Result<RedisOptions, BuildError> {
    if spec.tls != throttlekit::config::TlsSpec::default() {
        let allowed = "must not be given unless the feature `tls` of throttlekit-redis is on";
        return Err(BuildError::new("redis.tls", "given", allowed));
    }
    Ok(options)
}
