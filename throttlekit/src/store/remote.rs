//! Stores behind a network: erased, since states of any type share them.

use std::fmt;
use std::future::Future;
use std::sync::Arc;

use crate::error::Error;
use crate::program::{Program, State};
use crate::run::{BoxFuture, Run};
use crate::store::call::{Call, Rule};
use crate::store::{Keyspace, prefixed};

/// What the author of a store writes: run a [`Call`] atomically.
///
/// `async fn run(&self, call: &mut Call) -> Result<(), Error>` is accepted. The states of all keys of the call are read,
/// [`Call::step`] is called with them, and its writes are made, so that no other call sees anything in between; a store
/// without transactions makes the writes conditional on what it read and starts again when it lost.
///
/// A store that has a clock reads it while nobody else can write, and steps at that instant. One that has none steps at
/// [`Call::now_ms`], as that below. This was read before the call came here, so calls that overtake one another count as those of
/// callers whose clocks disagree: a limit then holds as far as they agree, since a window that was left is opened again.
///
/// ```
/// use std::collections::HashMap;
/// use std::sync::Mutex;
/// use throttlekit::store::{Call, Store};
/// use throttlekit::Error;
///
/// /// Text by key, with a deadline.
/// #[derive(Default)]
/// struct Texts(Mutex<HashMap<String, (String, f64)>>);
///
/// impl Store for Texts {
///     async fn run(&self, call: &mut Call) -> Result<(), Error> {
///         let now_ms = call.now_ms();
///         let mut texts = self.0.lock().map_err(|_| Error::store_unavailable("poisoned"))?;
///         let live = |key| texts.get(key).filter(|(_, until): &&(String, f64)| *until > now_ms);
///         let states: Vec<_> = call.keys().iter().map(|key| live(key).map(|(text, _)| text.clone())).collect();
///         for write in call.step(&states, now_ms)? {
///             let key = call.keys()[write.key].clone();
///             match write.state {
///                 Some((text, ttl_ms)) => texts.insert(key, (text, now_ms + ttl_ms.ceil().max(1.0))),
///                 None => texts.remove(&key),
///             };
///         }
///         Ok(())
///     }
/// }
/// # let _ = Texts::default();
/// ```
pub trait Store: Send + Sync + 'static {
    /// Runs `call`.
    ///
    /// # Errors
    ///
    /// `store_unavailable` if it cannot be known or done, and whatever [`Call::step`] fails with.
    fn run(&self, call: &mut Call) -> impl Future<Output = Result<(), Error>> + Send;
}

/// A [`Store`] behind a pointer. Implemented for every store.
pub trait DynStore: Send + Sync + 'static {
    /// Runs `call` and gives it back with its replies.
    ///
    /// # Errors
    ///
    /// As [`Store::run`].
    fn run_boxed(self: Arc<Self>, call: Call) -> BoxFuture<Result<Call, Error>>;
}

impl<T: Store> DynStore for T {
    fn run_boxed(self: Arc<Self>, mut call: Call) -> BoxFuture<Result<Call, Error>> {
        Box::pin(async move {
            self.run(&mut call).await?;
            Ok(call)
        })
    }
}

/// A [`Keyspace`] of every state type over a [`Store`], below a prefix.
#[derive(Clone)]
pub struct Remote {
    store: Arc<dyn DynStore>,
    prefix: Arc<str>,
}

impl Remote {
    /// All keys of `store`.
    pub fn new(store: impl Store) -> Self {
        Self::from_dyn(Arc::new(store))
    }

    /// All keys of a shared store.
    pub fn from_dyn(store: Arc<dyn DynStore>) -> Self {
        Self { store, prefix: Arc::from("") }
    }

    /// The keys below `prefix`.
    pub(crate) fn below(&self, prefix: &str) -> Self {
        if prefix.is_empty() {
            return self.clone();
        }
        Self { store: Arc::clone(&self.store), prefix: prefixed(&self.prefix, prefix).into() }
    }

    /// The name of `key` in the store.
    pub(crate) fn full_key(&self, key: &str) -> String {
        prefixed(&self.prefix, key)
    }

    /// Whether both are handles to the same store.
    pub(crate) fn same_store(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.store, &other.store)
    }

    /// Runs a call whose keys are [full](Self::full_key).
    pub(crate) fn run_call(&self, call: Call) -> BoxFuture<Result<Call, Error>> {
        Arc::clone(&self.store).run_boxed(call)
    }
}

impl fmt::Debug for Remote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Remote").field("prefix", &self.prefix).finish_non_exhaustive()
    }
}

impl<S: State> Keyspace<S> for Remote {
    fn scoped(&self, prefix: &str) -> Self {
        self.below(prefix)
    }

    fn run<P: Program<State = S>>(
        &self,
        key: &str,
        now_ms: f64,
        program: &P,
        request: &P::Request,
    ) -> Run<Result<P::Reply, Error>> {
        let mut call = Call::new(now_ms, Rule::Each);
        call.push(self.full_key(key), program.clone(), request.clone());
        let running = self.run_call(call);
        Run::wait(async move { running.await?.into_reply() })
    }

    fn run_many<P: Program<State = S>>(
        &self,
        keys: &[&str],
        now_ms: f64,
        program: &P,
        request: &P::Request,
    ) -> Run<Result<Vec<P::Reply>, Error>> {
        if keys.is_empty() {
            return Run::ready(Ok(Vec::new()));
        }
        let mut call = Call::new(now_ms, Rule::Each);
        for key in keys {
            call.push(self.full_key(key), program.clone(), request.clone());
        }
        let running = self.run_call(call);
        Run::wait(async move { running.await?.into_replies() })
    }
}
