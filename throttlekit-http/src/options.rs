//! The options of a middleware that are those of its limits.

/// Writes the methods of a framework's middleware that only set an option of the [`Limits`](crate::Limits) in its field
/// `shared`. It goes into the `impl` of a type that is made `From` limits.
///
/// What is special about the framework goes behind their documentation: how a response is made, and where services find
/// what is left for them.
#[doc(hidden)]
#[macro_export]
macro_rules! options_of_limits {
    (
        $door:ty, head: $head:ty, limited: $limited:ty, failure: $failure:ty;
        $(#[$reject:meta])* reject;
        $(#[$share:meta])* share;
        $(#[$hold_upgrades:meta])* hold_upgrades;
    ) => {
        /// Leaves requests alone for which `skip` says true: no store is asked, no header field written, no hook called.
        /// If it panics the request is limited.
        #[must_use]
        pub fn skip(self, skip: impl Fn(&$head) -> bool + Send + Sync + 'static) -> Self {
            self.shared.skip(skip).into()
        }

        /// Calls `hook` for every denial, before its response is made. A panic in it is swallowed.
        #[must_use]
        pub fn on_limited(self, hook: impl Fn(&$limited) + Send + Sync + 'static) -> Self {
            self.shared.on_limited(hook).into()
        }

        /// Calls `hook` for every request that could not be decided, before the fail mode applies, and for one without the
        /// key that a shadow demands; and once in the life of the middleware for a request whose peer is needed and not
        /// known, which is on standard error where there is no hook. A panic in it is swallowed.
        #[must_use]
        pub fn on_error(self, hook: impl Fn(&$failure) + Send + Sync + 'static) -> Self {
            self.shared.on_error(hook).into()
        }

        /// Lets `reject` make the responses to requests that are not passed on.
        $(#[$reject])*
        #[must_use]
        pub fn reject(self, reject: impl $crate::Reject<$door>) -> Self {
            self.shared.reject(reject).into()
        }

        /// Lets the inner service know how a request was admitted: the decision, and the limits under its key, to count more
        /// on them. Costs allocations, so it is off by default.
        ///
        /// Where a fail mode lets a request pass, the decision is one without a limit; where a shadow does, it is the denial. Only a
        /// request that is not limited carries nothing: one that is skipped or has no rule.
        $(#[$share])*
        #[must_use]
        pub fn share(self, share: bool) -> Self {
            self.shared.share(share).into()
        }

        /// Lets the slot of a request outlive a response that switches protocols, as to a WebSocket, for as long as somebody
        /// keeps it. By default a slot goes back with the handshake. Whoever keeps it keeps the slots of other layers around this one
        /// that were told so too.
        $(#[$hold_upgrades])*
        #[must_use]
        pub fn hold_upgrades(self, hold: bool) -> Self {
            self.shared.hold_upgrades(hold).into()
        }

        /// Tells `observer` of every decision, wait, lease and admission of the limits, as if each had been built with it, and
        /// of clients that go away while they wait for a decision or hold a slot. Rules that are loaded anew keep it. It also
        /// [gets](::throttlekit::Observer::attach) their guards and tables to read, for as long as they are there.
        ///
        /// Limits that have an observer of their own keep that one, also those of a file that was loaded with one: what they
        /// decide is told once, to it. What else asks a limit is told to nobody by this: the limit itself goes on as it
        /// was built. Of several calls the last one counts. A limit of your own says by
        /// [`Admit::observed`](::throttlekit::Admit::observed) and
        /// [`DynLimiter::observed_limiter`](::throttlekit::DynLimiter::observed_limiter) how it tells somebody.
        #[must_use]
        pub fn observer(self, observer: impl ::throttlekit::Observer) -> Self {
            self.shared.observer(observer).into()
        }
    };
}
