//! What public types can do: cross threads, be shown, be boxed.

use std::fmt::Debug;

use throttlekit::store::memory::Table;
use throttlekit::store::{Call, Remote};
use throttlekit::{
    Admission, Admit, Ask, BuildError, Clock, Decision, Departure, Dimension, DynLimiter, Error, Forecast, Gcra,
    LeakyBucket, Limiter, LimiterBuilder, ManualClock, Meter, Multi, MultiBuilder, Observer, ParseDurationError,
    Permit, Reservation, Run, Runtime, Shaper, ShaperBuilder, SystemClock, TaskHandle,
};

fn travels<T: Send + Debug>() {}
fn shared<T: Send + Sync + Debug>() {}
fn sent<T: Send>(value: T) -> T {
    value
}

#[test]
fn types_cross_threads_and_can_be_shown() {
    shared::<Limiter<Gcra>>();
    shared::<Limiter<Gcra, Remote>>();
    shared::<LimiterBuilder<Gcra>>();
    shared::<Multi>();
    shared::<Multi<Remote>>();
    shared::<MultiBuilder<Remote>>();
    shared::<Dimension>();
    shared::<Shaper>();
    shared::<ShaperBuilder>();
    shared::<LeakyBucket>();
    shared::<Departure>();
    shared::<Reservation>();
    shared::<Table<Departure>>();
    shared::<Remote>();
    shared::<SystemClock>();
    shared::<ManualClock>();
    shared::<Decision>();
    shared::<Forecast>();
    shared::<Error>();
    shared::<BuildError>();
    shared::<ParseDurationError>();
    shared::<Ask<'static>>();
    shared::<Permit>();
    travels::<Admission>();
    travels::<Run<Decision>>();
    travels::<Call>();
    travels::<TaskHandle>();
}

#[test]
fn contracts_can_be_boxed() {
    fn boxed<T: ?Sized>(_: Option<&T>) {}
    boxed::<dyn Admit>(None);
    boxed::<dyn Meter>(None);
    boxed::<dyn DynLimiter>(None);
    boxed::<dyn Clock>(None);
    boxed::<dyn Observer>(None);
    boxed::<dyn Runtime>(None);
}

#[test]
fn futures_over_a_store_can_be_spawned() {
    struct Nothing;
    impl throttlekit::store::Store for Nothing {
        async fn run(&self, _call: &mut Call) -> Result<(), Error> {
            Ok(())
        }
    }
    let gcra = Gcra::per_second(1).unwrap();
    let store = Remote::new(Nothing);
    let limiter = Limiter::builder(gcra).keyspace(store.clone()).build();
    drop(sent(limiter.check("k")));
    drop(sent(limiter.check_many(&["k"], 1.0)));
    drop(sent(limiter.peek("k")));
    drop(sent(limiter.forecast("k", 1.0)));
    drop(sent(limiter.reset("k")));
    drop(sent(limiter.admit(&Ask::new("k"))));
    let multi = Multi::all().dimension("a", gcra, 1.0).store(store.clone()).build().unwrap();
    drop(sent(multi.check(&["k"])));
    let bucket = LeakyBucket::builder().rate_per_sec(1.0).max_queue_ms(0.0).build().unwrap();
    let shaper = Shaper::builder(bucket).keyspace(store).build();
    drop(sent(shaper.reserve("k", 1.0)));
}
