//! What it takes to take a slot and give it back, on one thread, beside tokio's semaphore and tower's concurrency limit; and
//! what a slot and a rate cost together.
//!
//! Each candidate gets a slice in each of the rounds; the figure is the median over the rounds. A slice is made of stretches
//! of 1,024, of which the median counts.

use std::convert::Infallible;
use std::error::Error;
use std::future::{Future as _, Ready, ready};
use std::hint::black_box;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bench::args::Args;
use bench::gauge::{FLOOR, Gauge, Goals};
use bench::report::{self, Claims, Table, one};
use bench::turns::{Figures, Turn};
use serde_json::json;
use throttlekit::{
    Admit, Algorithm, Ask, BoxFuture, Clock, Consume, Gcra, Guard, KeyedGuard, Limiter, Outcome, Queue, Runtime,
    SystemClock, TaskHandle, TokenBucket, Unified,
};
use tokio::sync::Semaphore;
use tower::limit::ConcurrencyLimit;
use tower::{Service, service_fn};

const FIXED: &str = "Guard::acquire, fixed";
const CLOCK: &str = "clock, monotonic";

/// Slots, more than are ever in flight.
const SLOTS: u32 = 100;

/// Takes and gives back by the guard itself.
fn acquire(name: &'static str, guard: Guard) -> Turn {
    Turn::new(name, move || {
        let mut permit = black_box(&guard).acquire();
        let held = permit.is_held();
        black_box(&mut permit).settle(Outcome::Completed);
        held
    })
}

/// For a queue in which no deadline comes.
struct Patient;

impl Runtime for Patient {
    fn spawn(&self, _task: BoxFuture<()>) -> TaskHandle {
        TaskHandle::new(|| ())
    }

    fn sleep(&self, _span: Duration) -> BoxFuture<()> {
        Box::pin(std::future::pending())
    }
}

/// Takes and gives back for one of a hundred tenants.
fn acquire_keyed(name: &'static str, guard: KeyedGuard) -> Turn {
    let keys: Vec<_> = (0..100).map(|key| format!("tenant-{key}")).collect();
    let mut next = 0;
    Turn::new(name, move || {
        next = (next + 1) % keys.len();
        let mut permit = black_box(&guard).acquire(&keys[next]);
        let held = permit.is_held();
        black_box(&mut permit).settle(Outcome::Completed);
        held
    })
}

/// Waits for the one slot, gets it handed over, and goes on with it.
fn hand_over(name: &'static str, guard: impl Admit) -> Turn {
    let ask = Ask::new("tenant-1");
    let mut context = Context::from_waker(Waker::noop());
    let mut held = guard.admit(&ask).now().ok().and_then(Result::ok);
    Turn::new(name, move || {
        let mut waiting = black_box(&guard).admit(&ask);
        let early = Pin::new(&mut waiting).poll(&mut context).is_ready();
        drop(held.take());
        if let Poll::Ready(Ok(admission)) = Pin::new(&mut waiting).poll(&mut context) {
            held = Some(admission);
        }
        !early && held.is_some()
    })
}

/// Takes and gives back by what a door asks.
fn admit(name: &'static str, admit: impl Admit) -> Turn {
    let ask = Ask::new("tenant-1");
    Turn::new(name, move || match black_box(&admit).admit(&ask).now() {
        Ok(Ok(mut admission)) => {
            black_box(&mut admission).permit.settle(Outcome::Completed);
            admission.decision.allowed
        }
        _ => false,
    })
}

fn rate(clock: &SystemClock) -> Result<Limiter<Gcra>, Box<dyn Error>> {
    let gcra = Gcra::builder().limit(1e7).period_ms(1e6).burst(1e9).build()?;
    Ok(Limiter::builder(gcra).clock(clock.clone()).build())
}

fn turns() -> Result<Vec<Turn>, Box<dyn Error>> {
    let clock = SystemClock::new();
    let fixed = || Guard::builder().fixed(SLOTS).build();
    let queued = |limit| Guard::builder().fixed(limit).queue(Queue::new(100, 1_000.0), Patient);
    let adaptive = |algorithm| Guard::builder().algorithm(algorithm).build();
    let bucket = TokenBucket::builder().capacity(1e12).refill_per_sec(1e9).build()?;
    let cost = Limiter::builder(bucket).clock(clock.clone()).build();
    let unified =
        || Unified::builder().concurrency(fixed()?).rate(rate(&clock)?).build().map_err(Box::<dyn Error>::from);
    let three = |consume| -> Result<_, Box<dyn Error>> {
        let builder = Unified::builder().concurrency(fixed()?).rate(rate(&clock)?).cost(cost.clone());
        Ok(builder.consume(consume).clock(clock.clone()).build()?)
    };

    let semaphore = Arc::new(Semaphore::new(SLOTS as usize));
    let owned = Arc::clone(&semaphore);
    let respond: fn(()) -> Ready<Result<(), Infallible>> = |()| ready(Ok(()));
    let mut bare = service_fn(respond);
    let mut limited = ConcurrencyLimit::new(service_fn(respond), SLOTS as usize);
    let mut context = Context::from_waker(Waker::noop());
    let mut bare_context = Context::from_waker(Waker::noop());
    let (monotonic, wall) = (clock.clone(), clock.clone());
    Ok(vec![
        Gauge::new().turn(),
        Turn::new(CLOCK, move || black_box(&monotonic).monotonic_ns() > 0),
        Turn::new("clock, wall", move || black_box(&wall).now_ms() > 0.0),
        acquire(FIXED, fixed()?),
        acquire("Guard::acquire, steady", adaptive(Algorithm::Steady)?),
        acquire("Guard::acquire, gradient2", adaptive(Algorithm::Gradient2)?),
        acquire("Guard::acquire, aimd", adaptive(Algorithm::Aimd)?),
        acquire("Guard::acquire, fixed, with a queue", queued(SLOTS).build()?),
        acquire_keyed(
            "KeyedGuard::acquire, fixed, 100 tenants",
            KeyedGuard::builder(Guard::builder().fixed(SLOTS)).build()?,
        ),
        acquire_keyed("KeyedGuard::acquire, with a queue", KeyedGuard::builder(queued(SLOTS)).build()?),
        hand_over("admit: guard, a slot handed over", queued(1).build()?),
        hand_over("admit: keyed guard, a slot handed over", KeyedGuard::builder(queued(1)).build()?),
        Turn::new("tokio Semaphore::try_acquire", move || black_box(&semaphore).try_acquire().is_ok()),
        Turn::new("tokio Semaphore::try_acquire_owned", move || {
            Arc::clone(black_box(&owned)).try_acquire_owned().is_ok()
        }),
        Turn::new("tower service, bare", move || {
            bare.poll_ready(&mut bare_context).is_ready()
                && Pin::new(&mut bare.call(())).poll(&mut bare_context).is_ready()
        }),
        Turn::new("tower ConcurrencyLimit", move || {
            let ready = limited.poll_ready(&mut context).is_ready();
            let mut call = std::pin::pin!(limited.call(()));
            ready && matches!(call.as_mut().poll(&mut context), Poll::Ready(Ok(())))
        }),
        admit("admit: guard, fixed", fixed()?),
        admit("admit: guard, steady", adaptive(Algorithm::Steady)?),
        admit("admit: limiter", rate(&clock)?),
        admit("admit: unified, guard and rate", unified()?),
        admit("admit: unified, guard, rate and cost, all or nothing", three(Consume::AllOrNothing)?),
        admit("admit: unified, guard, rate and cost, per axis", three(Consume::PerAxis)?),
    ])
}

fn main() -> Result<(), Box<dyn Error>> {
    let args = Args::from_env();
    report::header("Concurrency");
    let figures = Figures::measure(turns()?, args.quick);
    let mut table = Table::new(["take and give back", "ns"]);
    for (name, ns) in figures.iter() {
        table.row([name.to_owned(), one(ns)]);
    }
    table.print();

    let goals = Goals::at(figures.of(FLOOR));
    println!("{goals}\n");
    let mut claims = Claims::default();
    claims.at_most("fixed limit, ns", figures.of(FIXED), goals.ns(25.0));
    for name in ["Guard::acquire, steady", "Guard::acquire, gradient2", "Guard::acquire, aimd"] {
        let over = figures.beyond(name, &[FIXED, CLOCK, CLOCK]);
        claims.at_most(format!("{name}: ns over fixed and two clock readings"), over, goals.ns(20.0));
    }
    let unified = figures.times("admit: unified, guard and rate", &["admit: guard, fixed", "admit: limiter"]);
    claims.at_most("unified guard and rate, by the sum of its parts", unified, 1.3);
    claims.print();
    let saved: Vec<_> = figures.iter().map(|(name, ns)| json!({ "name": name, "ns": ns })).collect();
    report::save("concurrency", json!({ "figures": saved, "claims": claims.json() }));
    Ok(())
}
