//! The store from a configuration file.

use std::sync::Arc;

use throttlekit::config::{PostgresMode, PostgresSpec, StoreBackend, StoreKind, StoreSpec};
use throttlekit::policy::Connect;
use throttlekit::store::DynStore;
use throttlekit::{BuildError, Runtime, TokioRuntime};

use crate::{Mode, PostgresStore};

/// Opens [`PostgresStore`]s from `store: { postgres: { ... } }`, on the tokio runtime that is current at each call.
///
/// ```
/// use throttlekit::policy::LoadOptions;
/// use throttlekit_postgres::PostgresConnector;
///
/// let options = LoadOptions::new().connector(PostgresConnector::new());
/// # let _ = options;
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct PostgresConnector(());

impl PostgresConnector {
    /// There is nothing to choose.
    pub fn new() -> Self {
        Self::default()
    }
}

impl Connect for PostgresConnector {
    fn kind(&self) -> StoreKind {
        StoreKind::Postgres
    }

    /// # Errors
    ///
    /// As [`build`](crate::PostgresStoreBuilder::build); a file of certificates that cannot be read.
    fn open(&self, spec: &StoreSpec) -> Result<Arc<dyn DynStore>, BuildError> {
        let StoreBackend::Postgres(postgres) = &spec.backend else {
            return Err(BuildError::new("store", spec.kind().as_str(), "must be postgres"));
        };
        let mode = match postgres.mode {
            PostgresMode::Fast => Mode::Fast,
            _ => Mode::Shared,
        };
        let mut builder = PostgresStore::builder(postgres.url.expose())
            .mode(mode)
            .table(&postgres.table)
            .auto_create(postgres.auto_create)
            .sweep_interval(postgres.sweep_interval)
            .server_time(postgres.server_time)
            .pool_size(usize::try_from(postgres.pool_size).unwrap_or(usize::MAX))
            .timeout(spec.timeout)
            .statement_timeout(spec.timeout)
            .acquire_timeout(spec.timeout)
            .connect_timeout(postgres.connect_timeout);
        if let Some(password) = &postgres.password {
            builder = builder.password(password.expose());
        }
        let store = secure(builder, postgres)?.build()?;
        Ok(Arc::new(store))
    }

    fn runtime(&self) -> Arc<dyn Runtime> {
        Arc::new(TokioRuntime)
    }
}

#[cfg(feature = "tls")]
fn secure(
    mut builder: crate::PostgresStoreBuilder,
    spec: &PostgresSpec,
) -> Result<crate::PostgresStoreBuilder, BuildError> {
    let read = |option, path: &str| {
        std::fs::read(path)
            .map_err(|error| BuildError::new(option, path, format!("must be a file that can be read: {error}")))
    };
    if let Some(path) = &spec.tls.ca_file {
        builder = builder.root_certificates(read("postgres.tls.caFile", path)?);
    }
    match (&spec.tls.cert_file, &spec.tls.key_file) {
        (Some(certificate), Some(key)) => {
            let certificate = read("postgres.tls.certFile", certificate)?;
            builder = builder.client_certificate(certificate, read("postgres.tls.keyFile", key)?);
        }
        (Some(path), None) => {
            return Err(BuildError::new("postgres.tls.certFile", path, "must have a keyFile beside it"));
        }
        (None, Some(path)) => {
            return Err(BuildError::new("postgres.tls.keyFile", path, "must have a certFile beside it"));
        }
        (None, None) => {}
    }
    Ok(builder)
}

#[cfg(not(feature = "tls"))]
fn secure(
    builder: crate::PostgresStoreBuilder,
    spec: &PostgresSpec,
) -> Result<crate::PostgresStoreBuilder, BuildError> {
    if spec.tls == throttlekit::config::TlsSpec::default() {
        return Ok(builder);
    }
    Err(BuildError::new("postgres.tls", "(given)", "needs the feature `tls` of throttlekit-postgres"))
}
