//! How a registry gets from the `store` block of a file to a store.

use std::sync::Arc;

use crate::config::{StoreKind, StoreSpec};
use crate::error::BuildError;
use crate::runtime::Runtime;
use crate::store::DynStore;

/// Opens stores of one kind from a configuration. Each store's crate has one.
///
/// ```
/// use std::sync::Arc;
/// use throttlekit::config::{StoreKind, StoreSpec};
/// use throttlekit::policy::{Connect, LoadOptions};
/// use throttlekit::store::{Call, DynStore, Store};
/// use throttlekit::{BuildError, Error, Runtime};
///
/// struct Redis;
///
/// impl Store for Redis {
///     async fn run(&self, _call: &mut Call) -> Result<(), Error> {
///         Err(Error::store_unavailable("connects to nothing"))
///     }
/// }
///
/// /// Takes the runtime in whose context the server runs.
/// struct Connector(Arc<dyn Runtime>);
///
/// impl Connect for Connector {
///     fn kind(&self) -> StoreKind {
///         StoreKind::Redis
///     }
///     fn open(&self, _spec: &StoreSpec) -> Result<Arc<dyn DynStore>, BuildError> {
///         Ok(Arc::new(Redis))
///     }
///     fn runtime(&self) -> Arc<dyn Runtime> {
///         Arc::clone(&self.0)
///     }
/// }
/// # fn options(runtime: Arc<dyn Runtime>) -> LoadOptions {
/// LoadOptions::new().connector(Connector(runtime))
/// # }
/// # let _ = options;
/// ```
pub trait Connect: Send + Sync + 'static {
    /// The kind of store that it opens.
    fn kind(&self) -> StoreKind;

    /// The store that `spec` describes, whose kind is [`kind`](Self::kind).
    ///
    /// It waits for nothing and needs no server: a store connects when it is first called. It needs no runtime to be
    /// current either. A call may be dropped when [`StoreSpec::timeout`] is over, and what it has begun to connect must
    /// not be lost with it: otherwise a server that takes longer than that is never reached.
    ///
    /// # Errors
    ///
    /// What is wrong with the options, as `owner.option` in the words of the file, such as `redis.urls`. A value that may
    /// hold a secret must not be shown.
    fn open(&self, spec: &StoreSpec) -> Result<Arc<dyn DynStore>, BuildError>;

    /// Where the calls of the store are polled. Its timer bounds them.
    fn runtime(&self) -> Arc<dyn Runtime>;
}
